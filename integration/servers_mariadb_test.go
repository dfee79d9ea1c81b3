//go:build linux

package integration

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/go-sql-driver/mysql"
)

// mariadb is a MariaDB server of a test.
type mariadb struct {
	binary, dir, host, port string
	id                      int
	more                    []string // options
	*server
	root *sql.DB // its administrator, who goes there directly
}

// newMariaDBs makes servers with the account root, who has no password. Their ids count from 1.
func newMariaDBs(t *testing.T, port string, hosts ...string) (list []*mariadb) {
	t.Helper()
	install := program(t, "mariadb-install-db")
	for i, host := range hosts {
		m := &mariadb{binary: program(t, "mariadbd"), id: 1 + i, dir: (*account)(nil).folder(t), host: host, port: port}
		list = append(list, m)
		if i > 0 {
			if err := os.CopyFS(m.dir, os.DirFS(list[0].dir)); err != nil {
				t.Fatal(err)
			}
			continue
		}
		must(t, install, "--no-defaults", "--datadir="+m.dir, "--auth-root-authentication-method=normal", "--skip-test-db",
			"--innodb-log-file-size=4M", "--user="+m.user())
	}
	return list
}

// user is who a server is told to run as: it refuses to be root unless that is said.
func (m *mariadb) user() string {
	if os.Getuid() == 0 {
		return "root"
	}
	return os.Getenv("USER")
}

// begin starts the server, be it again: read only, as docs/databases.md has it.
func (m *mariadb) begin(t *testing.T) {
	t.Helper()
	args := []string{
		m.binary, "--no-defaults", "--user=" + m.user(), "--datadir=" + m.dir, "--socket=" + filepath.Join(m.dir, "s"),
		"--bind-address=" + m.host, "--port=" + m.port, fmt.Sprint("--server-id=", m.id), "--log-bin=log", "--log-slave-updates", "--read-only",
		"--innodb-log-file-size=4M", "--innodb-buffer-pool-size=8M", "--innodb-flush-log-at-trx-commit=0",
		"--log-warnings=9", "--max-connect-errors=3",
	}
	m.server = (*account)(nil).run(t, m.dir, append(args, m.more...)...)
	m.root = openMariaDB(t, "root", m.host, m.port)
	awaitServer(t, m.server, func() bool { return m.root.Ping() == nil })
}

// openMariaDB is a client as programs have it: with a pool of connections, which it makes when it needs them.
func openMariaDB(t *testing.T, user, host, port string) *sql.DB {
	t.Helper()
	c := mysql.NewConfig()
	c.User, c.Net, c.Addr, c.Logger = user, "tcp", host+":"+port, &mysql.NopLogger{}
	connector, err := mysql.NewConnector(c)
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	t.Cleanup(func() { db.Close() })
	return db
}

// must has the administrator run statements.
func (m *mariadb) must(t *testing.T, statements ...string) {
	t.Helper()
	for _, s := range statements {
		if _, err := m.root.Exec(s); err != nil {
			t.Fatalf("%s at %s: %v", s, m.host, err)
		}
	}
}

// figure asks for one number of the server's status.
func (m *mariadb) figure(t *testing.T, name string) (n int) {
	t.Helper()
	if err := m.root.QueryRow("SHOW GLOBAL STATUS LIKE '"+name+"'").Scan(new(string), &n); err != nil {
		t.Fatal(err)
	}
	return n
}

// follow makes the server a replica of another.
func (m *mariadb) follow(t *testing.T, primary *mariadb) {
	t.Helper()
	m.must(t, fmt.Sprintf("CHANGE MASTER TO MASTER_HOST='%s', MASTER_PORT=%s, MASTER_USER='follower', MASTER_PASSWORD='fern', MASTER_USE_GTID=slave_pos, MASTER_CONNECT_RETRY=1",
		primary.host, primary.port), "START SLAVE")
}

// awaitAll waits until a replica has all that its primary has now.
func (m *mariadb) awaitAll(t *testing.T, primary *mariadb) {
	t.Helper()
	var at string
	var late int
	err := primary.root.QueryRow("SELECT @@gtid_binlog_pos").Scan(&at)
	if err == nil {
		err = m.root.QueryRow("SELECT MASTER_GTID_WAIT(?, ?)", at, patience.Seconds()).Scan(&late)
	}
	if err != nil || late != 0 {
		t.Fatalf("%s has not got to %s: %d, %v", m.host, at, late, err)
	}
}

func (m *mariadb) addr() string { return m.host + ":" + m.port }

// politely expects that checks have left nothing in the server's log and in its counts of bad clients.
func (m *mariadb) politely(t *testing.T, checks int) {
	t.Helper()
	begin := m.figure(t, "Connections")
	eventually(t, "checks", func() bool { return m.figure(t, "Connections") >= begin+checks })
	for _, name := range []string{"Aborted_clients", "Aborted_connects", "Aborted_connects_preauth", "Access_denied_errors"} {
		if n := m.figure(t, name); n != 0 {
			t.Errorf("%s at %s: %d", name, m.host, n)
		}
	}
	for line := range strings.Lines(m.out.String()) {
		if strings.Contains(line, "Aborted connection") || strings.Contains(line, "Access denied") || strings.Contains(line, "unauthenticated") {
			t.Errorf("%s logged: %s", m.host, line)
		}
	}
}

// TestServersMariaDB hands the right to write from a server to its replica. A program's pool of connections finds the new
// primary, the old sessions are closed, and who goes on taking writes gets none. Until then checks, with an account that has
// no more than its documented grant and without one, are nothing that the servers' logs and counters know of.
func TestServersMariaDB(t *testing.T) {
	port := freePort(t)
	servers := newMariaDBs(t, fmt.Sprint(port), host(2), host(3))
	a, b := servers[0], servers[1]
	a.begin(t)
	b.begin(t)
	a.must(t, "SET GLOBAL read_only=OFF", "CREATE DATABASE d", "CREATE TABLE d.written (at INT)",
		"CREATE USER follower IDENTIFIED BY 'fern'", "GRANT REPLICATION SLAVE ON *.* TO follower",
		"CREATE USER program", "GRANT ALL ON d.* TO program",
		"CREATE USER ebb", // who is asked for where no account is given
		"CREATE USER checker IDENTIFIED BY 'geheim'", "GRANT SLAVE MONITOR ON *.* TO checker")
	b.follow(t, a)
	b.awaitAll(t, a)
	nobody := start(t, setup{hosts: []string{a.host, b.host}, port: port, check: "kind = \"mysql\"\ntimeout = \"10s\""})
	nobody.awaitState(t, b.addr(), "up", "")
	a.politely(t, 10)
	nobody.stop(t)
	a.politely(t, 0)
	secret := secretFile(t, "geheim")
	run := func(check string) *ebb {
		return start(t, setup{
			hosts: []string{a.host, b.host}, port: port,
			check: "kind = \"mysql\"\nuser = \"checker\"\npassword_file = \"" + secret + "\"\ntimeout = \"10s\"\n" + check,
		})
	}
	writers, readers := run(`want = "primary"`), run("want = \"replica\"\nmax_lag = \"5s\"")
	program := func(e *ebb) *sql.DB {
		return openMariaDB(t, "program", e.addr.Addr().String(), fmt.Sprint(e.addr.Port()))
	}
	writer, reader := program(writers), program(readers)
	writes := func(m *mariadb) {
		t.Helper()
		for range 4 {
			var at int
			if err := writer.QueryRow("INSERT INTO d.written VALUES (@@server_id) RETURNING at").Scan(&at); err != nil || at != m.id {
				t.Fatalf("written at %d, %v, expected %d", at, err, m.id)
			}
		}
	}
	rows := func(db *sql.DB) (n int) {
		t.Helper()
		if err := db.QueryRow("SELECT count(*) FROM d.written").Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n
	}
	reads := func(m *mariadb) {
		t.Helper()
		readers.awaitState(t, m.addr(), "up", "")
		eventually(t, "the replica to serve readers", func() bool {
			var at int
			return reader.QueryRow("SELECT @@server_id").Scan(&at) == nil && at == m.id
		})
	}
	writers.awaitState(t, b.addr(), "unwanted", "role")
	readers.awaitState(t, a.addr(), "unwanted", "role")
	reads(b)
	writes(a)
	eventually(t, "the replica to have all", func() bool { return rows(reader) == 4 })
	a.politely(t, 10)
	b.politely(t, 10)

	old, err := writer.Conn(t.Context()) // of a program that holds on to what it has
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	a.must(t, "SET GLOBAL read_only=ON")
	eventually(t, "the session to be closed", func() bool { return writers.ends()["role_lost"] > 0 })
	if err := old.PingContext(context.Background()); err == nil || errors.As(err, new(*mysql.MySQLError)) {
		t.Errorf("on the old primary: %v, expected that the connection is gone", err)
	}
	b.must(t, "STOP SLAVE", "RESET SLAVE ALL", "SET GLOBAL read_only=OFF")
	writers.awaitState(t, b.addr(), "up", "")
	writes(b)
	a.follow(t, b)
	reads(a)
	eventually(t, "the new replica to have all", func() bool { return rows(reader) == 8 })

	a.must(t, "SET GLOBAL read_only=OFF") // by mistake
	writers.awaitState(t, a.addr(), "unwanted", "rival")
	writes(b)
	eventually(t, "two primaries in the metrics", func() bool { return writers.metrics(t).sum("ebb_pool_primaries") == 2 })
	b.end(syscall.SIGKILL)
	writers.awaitState(t, b.addr(), "down", "")
	writers.awaitState(t, a.addr(), "up", "")
	writes(a)
	b.begin(t) // as a replica, until somebody decides
	writers.awaitState(t, b.addr(), "unwanted", "role")
	writes(a)
	for _, db := range []*sql.DB{writer, reader} {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}
	for _, e := range []*ebb{writers, readers} {
		e.keepsSecrets(t, "geheim")
		oracle(t, e)
	}
}
