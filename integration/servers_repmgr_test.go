//go:build linux

package integration

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// repmgr gives what runs repmgr for a node: the program of the servers' own version, past the wrapper that asks for a cluster
// of Debian's.
func (p *postgres) repmgr(t *testing.T, id int) (run func(words ...string)) {
	t.Helper()
	program(t, "repmgr") // or there is nothing to test
	binaries := filepath.Dir(program(t, "pg_controldata"))
	conf := filepath.Join(p.dir, "repmgr.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `node_id=%[1]d
node_name='n%[1]d'
conninfo='host=%[2]s port=%[3]s user=postgres dbname=postgres'
data_directory='%[4]s/data'
pg_bindir='%[5]s'
`, id, p.host, p.port, p.dir, binaries), 0o644); err != nil {
		t.Fatal(err)
	}
	return func(words ...string) {
		t.Helper()
		args := append([]string{filepath.Join(binaries, "repmgr"), "-f", conf}, words...)
		if out, err := p.who.command(p.dir, args).CombinedOutput(); err != nil {
			t.Fatalf("repmgr %s: %v\n%s", strings.Join(words, " "), err, out)
		}
	}
}

// TestServersRepmgr has the recipes of docs/databases.md follow a promotion that repmgr makes after the death of the primary: both
// servers named, which is all that is needed, and one name that moves as that of a cloud's database does. The name is late, and
// later wrong: an address that it still gives is not written to when its server is a replica.
func TestServersRepmgr(t *testing.T) {
	program(t, "repmgr")
	a := startPostgres(t)
	b := &postgres{binary: a.binary, psql: a.psql, who: a.who, dir: a.who.folder(t), host: host(3), port: a.port}
	first, second := a.repmgr(t, 1), b.repmgr(t, 2)
	first("primary", "register")
	clone := func(run func(...string), from, to *postgres) {
		t.Helper()
		run("-h", from.host, "-p", from.port, "-U", "postgres", "-d", "postgres", "standby", "clone", "--force", "--fast-checkpoint")
		to.begin(t)
		run("standby", "register", "--force", "--wait-sync=60")
	}
	clone(second, a, b)
	a.must(t, "CREATE ROLE ebb LOGIN", "CREATE ROLE")
	a.must(t, "CREATE TABLE written (at text)", "CREATE TABLE")

	port, err := strconv.ParseUint(a.port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	const check = "kind = \"postgres\"\nuser = \"ebb\"\nwant = \"primary\"\ntimeout = \"10s\"" // a slow answer is not what is tested
	both := start(t, setup{hosts: []string{a.host, b.host}, port: uint16(port), check: check})
	cloud, moving := startDNS(t), "app.rds.test"
	points := func(p *postgres) { cloud.SetA(moving, 0, p.host) }
	points(a)
	s := names(cloud, uint16(port), moving)
	s.dns, s.check = patient, check
	one := start(t, s)

	writes := func(e *ebb, p *postgres) {
		t.Helper()
		e.awaitPeer(t, p, "up", "")
		const write = "WITH row AS (INSERT INTO written VALUES (host(inet_server_addr())) RETURNING at) SELECT at FROM row"
		if out, err := a.ask(t, e.addr.Addr().String(), fmt.Sprint(e.addr.Port()), write); err != nil || out != p.host {
			t.Fatalf("written at %q, %v, expected %s", out, err, p.host)
		}
	}
	refused := func(e *ebb) {
		t.Helper()
		before := e.ends()["no_peer"]
		if out, err := a.ask(t, e.addr.Addr().String(), fmt.Sprint(e.addr.Port()), "SELECT 1"); err == nil {
			t.Errorf("without a primary, somebody says %q", out)
		}
		eventually(t, "the session to be refused", func() bool { return e.ends()["no_peer"] > before })
	}
	// stay opens a session that lives on at p, until say gets a line that ends it.
	stay := func(e *ebb, p *postgres) (say func(line, answer string)) {
		t.Helper()
		session, typed := p.open(t, e.addr.Addr().String(), fmt.Sprint(e.addr.Port()))
		say = func(line, answer string) {
			t.Helper()
			if _, err := io.WriteString(typed, line+"\n"); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the session to say "+answer, func() bool { return strings.Contains(session.out.String(), answer) })
		}
		say("SELECT 'stays at ' || host(inet_server_addr());", "stays at "+p.host)
		return say
	}
	alone := func(e *ebb) {
		t.Helper()
		eventually(t, "the session to end", func() bool { return e.metrics(t).sum("ebb_sessions_active") == 0 })
	}
	both.awaitPeer(t, b, "unwanted", "role")
	for _, e := range []*ebb{both, one} {
		writes(e, a)
		stay(e, a)
	}

	const count = "SELECT count(*) FROM written"
	eventually(t, "the replica to have all", func() bool { out, err := b.ask(t, b.host, b.port, count); return err == nil && out == "2" })
	a.end(syscall.SIGQUIT)
	for _, e := range []*ebb{both, one} {
		alone(e)
		e.awaitPeer(t, a, "down", "")
		refused(e)
	}
	second("standby", "promote")
	writes(both, b)
	refused(one) // until the name moves
	points(b)
	writes(one, b)
	say := stay(one, b)

	a.begin(t) // it was the primary, and still believes so
	both.awaitPeer(t, a, "unwanted", "stale")
	writes(both, b)
	a.must(t, count, "2") // what it had before
	a.end(syscall.SIGQUIT)
	clone(first, b, a)
	both.awaitPeer(t, a, "unwanted", "role")
	writes(both, b)
	points(a) // as an answer that is old
	one.awaitPeer(t, a, "unwanted", "role")
	refused(one)
	say("SELECT 'still at ' || host(inet_server_addr());", "still at "+b.host) // it is the primary
	points(b)
	writes(one, b)
	say(`\q`, "")
	alone(one)
	b.must(t, count+" WHERE at = '"+a.host+"'", "2") // what was written while that was the primary
	for _, e := range []*ebb{both, one} {
		e.wantEnds(t, "client_fin", "client_reset", "server_fin", "server_reset", "peer_dead", "no_peer")
		oracle(t, e)
	}
}
