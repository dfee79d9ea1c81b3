//go:build linux

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

const galeraLibrary = "/usr/lib/galera/libgalera_smm.so"

// startGalera makes a cluster of two members. The first begins it; the second has the same data, and is behind by no
// more than its own coming, so that no copy is made.
func startGalera(t *testing.T, port string) (a, b *mariadb) {
	t.Helper()
	if _, err := os.Stat(galeraLibrary); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("%v; make deps installs it", err)
		}
		t.Skipf("%v; make deps installs it", err)
	}
	list := newMariaDBs(t, port, host(2), host(3))
	group, join := fmt.Sprint(freePort(t)), "gcomm://"
	for i, m := range list {
		state := fmt.Sprintf("version: 2.1\nuuid: 6a1f1e2a-0000-11ee-8000-000000000001\nseqno: %d\nsafe_to_bootstrap: 1\n", i)
		if err := os.WriteFile(filepath.Join(m.dir, "grastate.dat"), []byte(state), 0o600); err != nil {
			t.Fatal(err)
		}
		m.more = []string{
			"--read-only=OFF", "--binlog-format=ROW", "--innodb-autoinc-lock-mode=2", "--wsrep-on=ON", "--wsrep-provider=" + galeraLibrary,
			"--wsrep-cluster-name=ebb", "--wsrep-node-address=" + m.host, "--wsrep-sst-method=skip", "--wsrep-cluster-address=" + join,
			fmt.Sprintf("--wsrep-provider-options=gmcast.listen_addr=tcp://%s:%s;ist.recv_addr=%s:%d;gcache.size=1M", m.host, group, m.host, freePort(t)),
		}
		m.begin(t)
		m.awaitInStep(t)
		join += list[0].host + ":" + group
	}
	return list[0], list[1]
}

// awaitInStep waits until a member of a cluster has what the others have.
func (m *mariadb) awaitInStep(t *testing.T) {
	t.Helper()
	eventually(t, m.host+" to be in step with its cluster", func() bool {
		var state string
		return m.root.QueryRow("SHOW GLOBAL STATUS LIKE 'wsrep_local_state_comment'").Scan(new(string), &state) == nil && state == "Synced"
	})
}

// TestServersGalera has the recipe of docs/databases.md: one member of a cluster at a time takes the writes, until it is not in
// step, or leaves; that one is in step again changes nothing.
func TestServersGalera(t *testing.T) {
	port := freePort(t)
	a, b := startGalera(t, fmt.Sprint(port))
	a.must(t, "CREATE DATABASE d", "CREATE TABLE d.written (n INT AUTO_INCREMENT PRIMARY KEY, at VARCHAR(20))",
		"CREATE USER program", "GRANT ALL ON d.* TO program", "CREATE USER checker IDENTIFIED BY 'geheim'")
	e := start(t, setup{
		hosts: []string{a.host, b.host}, port: port, pool: `balance = "sticky"`,
		check: fmt.Sprintf("kind = \"mysql\"\nuser = \"checker\"\npassword_file = %q\ntimeout = \"10s\"", secretFile(t, "geheim")),
	})
	e.awaitState(t, a.addr(), "up", "")
	e.awaitState(t, b.addr(), "up", "")
	writer := openMariaDB(t, "program", e.addr.Addr().String(), fmt.Sprint(e.addr.Port()))
	written := 0
	// write expects that a write of a session that is new, or lives since the last one, is taken, and says where.
	write := func() (at string) {
		t.Helper()
		if err := writer.QueryRow("INSERT INTO d.written (at) VALUES (@@bind_address) RETURNING at").Scan(&at); err != nil {
			t.Fatal(err)
		}
		written++
		return at
	}
	writesAt := func(m *mariadb) {
		t.Helper()
		writer.SetMaxIdleConns(0) // each write finds its own way
		for range 4 {
			if at := write(); at != m.host {
				t.Fatalf("written at %s, expected %s", at, m.host)
			}
		}
	}
	first, second := a, b
	if write() == b.host {
		first, second = b, a
	}
	writesAt(first)
	a.politely(t, 10)
	b.politely(t, 10)

	old, err := writer.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := old.PingContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	first.must(t, "SET GLOBAL wsrep_desync = ON") // as for a backup
	eventually(t, "the session on it to be closed", func() bool { return e.ends()["peer_dead"] == 1 })
	e.awaitState(t, first.addr(), "down", "unready")
	_ = old.Close()
	writesAt(second)
	first.must(t, "SET GLOBAL wsrep_desync = OFF")
	e.awaitState(t, first.addr(), "up", "")
	writesAt(second)

	for _, m := range []*mariadb{a, b} {
		eventually(t, m.host+" to have all", func() bool {
			var n int
			return m.root.QueryRow("SELECT count(*) FROM d.written").Scan(&n) == nil && n == written
		})
	}

	second.end(syscall.SIGTERM)
	e.awaitState(t, second.addr(), "down", "")
	e.awaitState(t, first.addr(), "up", "")
	writesAt(first)
	if err := writer.Close(); err != nil {
		t.Error(err)
	}
	e.keepsSecrets(t, "geheim")
	oracle(t, e)
}
