//go:build linux

package integration

import (
	"fmt"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
)

// replica copies a running server to another address, and starts the copy as its replica.
func (p *postgres) replica(t *testing.T, host string) *postgres {
	t.Helper()
	r := &postgres{binary: p.binary, psql: p.psql, who: p.who, host: host, port: p.port}
	r.dir = r.who.folder(t)
	copying := []string{program(t, "pg_basebackup"), "-h", p.host, "-p", p.port, "-U", "postgres", "-D", filepath.Join(r.dir, "data"),
		"-R", "-X", "stream", "-c", "fast", "--no-sync"}
	if out, err := r.who.command(r.dir, copying).CombinedOutput(); err != nil {
		t.Fatalf("pg_basebackup: %v\n%s", err, out)
	}
	r.begin(t)
	return r
}

// must runs one statement on the server itself.
func (p *postgres) must(t *testing.T, sql, answer string) {
	t.Helper()
	if out, err := p.ask(t, p.host, p.port, sql); err != nil || out != answer {
		t.Fatalf("%s at %s: %q, %v, expected %q", sql, p.host, out, err, answer)
	}
}

// awaitState waits until a peer is in a state, and if it is unwanted, for a reason.
func (e *ebb) awaitState(t *testing.T, addr, state, reason string) {
	t.Helper()
	eventually(t, addr+" to be "+state+" "+reason, func() bool {
		peer, ok := e.poolStatus(t).peer(addr)
		return ok && peer.State == state && (reason == "" || peer.Reason == reason)
	})
}

func (e *ebb) awaitPeer(t *testing.T, p *postgres, state, reason string) {
	t.Helper()
	e.awaitState(t, p.host+":"+p.port, state, reason)
}

// TestServersPostgreSQLRoles promotes the replica of a pair, twice: while the old primary lives on, and after its death. New
// sessions find one primary, the right one; readers find the replica, unless it is far behind.
func TestServersPostgreSQLRoles(t *testing.T) {
	a := startPostgres(t)
	a.must(t, "CREATE ROLE ebb LOGIN", "CREATE ROLE")
	a.must(t, "CREATE TABLE written (at text)", "CREATE TABLE")
	b := a.replica(t, host(3))
	port, err := strconv.ParseUint(a.port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	run := func(check string) *ebb {
		return start(t, setup{
			hosts: []string{a.host, b.host}, port: uint16(port),
			check: "kind = \"postgres\"\nuser = \"ebb\"\ntimeout = \"10s\"\n" + check, // a slow answer is not what is tested
		})
	}
	writers, readers := run("want = \"primary\""), run("want = \"replica\"\nmax_lag = \"1s\"")
	through := func(e *ebb, sql string) (string, error) {
		return a.ask(t, e.addr.Addr().String(), fmt.Sprint(e.addr.Port()), sql)
	}
	// writes expects that new sessions write at p, all of them.
	writes := func(p *postgres) {
		t.Helper()
		for range 4 {
			const write = "WITH row AS (INSERT INTO written VALUES (host(inet_server_addr())) RETURNING at) SELECT at FROM row"
			if out, err := through(writers, write); err != nil || out != p.host {
				t.Fatalf("written at %q, %v, expected %s", out, err, p.host)
			}
		}
	}
	writers.awaitPeer(t, b, "unwanted", "role")
	writes(a)

	readers.awaitPeer(t, a, "unwanted", "role")
	reads := func() {
		t.Helper()
		eventually(t, "the replica to serve readers", func() bool { // it may fall behind for a moment more
			out, err := through(readers, "SELECT host(inet_server_addr()), pg_is_in_recovery()")
			if err == nil && out != b.host+"|t" {
				t.Fatalf("read at %q, expected the replica", out)
			}
			return err == nil
		})
	}
	reads()
	b.must(t, "SELECT pg_wal_replay_pause()", "")
	writes(a)
	readers.awaitPeer(t, b, "unwanted", "lag")
	b.must(t, "SELECT pg_wal_replay_resume()", "")
	reads()
	count := "SELECT count(*) FROM written"
	eventually(t, "the replica to have all", func() bool { out, err := b.ask(t, b.host, b.port, count); return err == nil && out == "8" })

	b.must(t, "SELECT pg_promote()", "t") // and nobody tells the old one
	writers.awaitPeer(t, b, "up", "")
	writers.awaitPeer(t, a, "unwanted", "stale")
	writes(b)
	a.must(t, count, "8")
	eventually(t, "the alarm", func() bool { return len(writers.logs.find("several primaries")) == 1 })
	eventually(t, "two primaries in the metrics", func() bool { return writers.metrics(t).sum("ebb_pool_primaries") == 2 })

	a.end(syscall.SIGQUIT)
	again := b.replica(t, a.host)
	writers.awaitPeer(t, again, "unwanted", "role")
	writes(b)
	b.end(syscall.SIGQUIT)
	writers.awaitPeer(t, b, "down", "")
	if out, err := through(writers, "SELECT 1"); err == nil {
		t.Errorf("without a primary, somebody says %q", out)
	}
	again.must(t, "SELECT pg_promote()", "t")
	writers.awaitPeer(t, again, "up", "")
	writes(again)
	b.begin(t) // it was the primary, and still believes so
	writers.awaitPeer(t, b, "unwanted", "stale")
	writes(again)
	b.must(t, count, "16") // what it had before
	oracle(t, writers)
	oracle(t, readers)
}
