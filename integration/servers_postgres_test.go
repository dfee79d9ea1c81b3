//go:build linux

package integration

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// postgres is a PostgreSQL server of a test.
type postgres struct {
	who              *account
	binary, dir      string
	psql, host, port string
	*server
}

func startPostgres(t *testing.T) *postgres {
	t.Helper()
	initdb := program(t, "initdb")
	p := &postgres{binary: program(t, "postgres"), psql: program(t, "psql"), host: host(2), port: fmt.Sprint(freePort(t))}
	p.who = anyone(t, "postgres")
	p.dir = p.who.folder(t)
	data := filepath.Join(p.dir, "data")
	if out, err := p.who.command(p.dir, []string{initdb, "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C"}).CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	p.begin(t)
	return p
}

// begin starts the server, be it again, and waits until it answers.
func (p *postgres) begin(t *testing.T) {
	t.Helper()
	p.server = p.who.run(t, p.dir, p.binary, "-D", filepath.Join(p.dir, "data"), "-p", p.port,
		"-c", "listen_addresses="+p.host, "-c", "unix_socket_directories="+p.dir, "-c", "fsync=off")
	awaitServer(t, p.server, func() bool { out, err := p.ask(t, p.host, p.port, "SELECT 1"); return err == nil && out == "1" })
}

// ask runs one statement through psql.
func (p *postgres) ask(t *testing.T, host, port, sql string) (string, error) {
	t.Helper()
	return try(t, p.psql, "-X", "-A", "-t", "-w", "-h", host, "-p", port, "-U", "postgres", "-c", sql, "postgres")
}

func TestServersPostgreSQL(t *testing.T) {
	pgbench := program(t, "pgbench")
	p := startPostgres(t)
	addr, ip, port := front(t)
	e := startFlags(t, addr, "--listen", "tcp://"+addr.String(), "--to", p.host+":"+p.port)
	want := func(sql, answer string) {
		t.Helper()
		if out, err := p.ask(t, ip, port, sql); err != nil || out != answer {
			t.Errorf("%s: %q, %v, expected %q", sql, out, err, answer)
		}
	}
	want("SELECT 6 * 7", "42")
	want("SELECT length(repeat('x', 10000000))", "10000000")
	want("SELECT inet_server_port()", p.port)
	client := []string{"-h", ip, "-p", port, "-U", "postgres"}
	must(t, append(append([]string{pgbench}, client...), "-i", "-q", "-s", "1", "postgres")...) // the rows go through ebb
	const clients = "8"
	out := must(t, append(append([]string{pgbench}, client...), "-S", "-n", "-c", clients, "-T", "3", "postgres")...)
	if !strings.Contains(out, "number of failed transactions: 0 (0.000%)") || strings.Contains(out, "number of transactions actually processed: 0\n") {
		t.Errorf("pgbench:\n%s", out)
	}
	e.wantEnds(t, "client_fin", "client_reset") // who leaves with bytes unread resets
	p.drains(t, e, ip, port)

	// The server dies under load: immediate shutdown, which cuts without a word.
	load := background(t, append(append([]string{pgbench}, client...), "-S", "-n", "-c", clients, "-T", "60", "postgres")...)
	e.awaitLoad(t, 8)
	before := len(e.logs.ended())
	p.end(syscall.SIGQUIT)
	<-load.exited
	if load.cmd.ProcessState.Success() {
		t.Errorf("pgbench did not notice:\n%s", load.out.String())
	}
	if n := e.allEnded(t) - before; n < 8 {
		t.Errorf("%d sessions ended, expected those of 8 clients", n)
	}
	for _, s := range e.logs.ended()[before:] {
		switch s.End {
		case "server_fin", "server_reset", "client_reset", "client_fin": // whoever notices first
		default:
			t.Errorf("%+v", s)
		}
	}
	before = e.allEnded(t)
	if out, err := p.ask(t, ip, port, "SELECT 1"); err == nil {
		t.Errorf("a dead server says %q", out)
	}
	eventually(t, "the session to end", func() bool { return len(e.logs.ended()) > before })
	if s := e.logs.ended()[before]; s.End != "connect_failed" {
		t.Errorf("%+v", s)
	}
	p.begin(t)
	want("SELECT count(*) FROM pgbench_accounts", "100000")
	e.wantEnds(t, "client_fin", "client_reset", "server_fin", "server_reset", "connect_failed", "drained")
	oracle(t, e)
}

// drains takes the server out and back while one client thinks within a transaction, and another between two.
func (p *postgres) drains(t *testing.T, e *ebb, ip, port string) {
	t.Helper()
	order := func(word string) {
		t.Helper()
		if code, _, stderr := runEbb(t, word, "--admin", e.admin, "default", p.host+":"+p.port); code != 0 {
			t.Fatalf("ebb %s: %d, %s", word, code, stderr)
		}
	}
	said := func(typed io.Writer, s *server, what, answer string) {
		t.Helper()
		if _, err := io.WriteString(typed, what); err != nil {
			t.Fatal(err)
		}
		eventually(t, answer, func() bool { return strings.Contains(s.out.String(), answer) })
	}
	inside, typed := p.open(t, ip, port)
	said(typed, inside, "BEGIN;\nCREATE TABLE kept AS SELECT 'be' || 'gun';\nTABLE kept;\n", "begun")
	between, also := p.open(t, ip, port)
	said(also, between, "SELECT 'id' || 'le';\n", "idle")
	order("drain")
	eventually(t, "the idle session to end", func() bool { return e.ends()["drained"] == 1 })
	said(typed, inside, "SELECT 'still ' || 'there';\n", "still there")
	said(typed, inside, "COMMIT;\n", "COMMIT")
	eventually(t, "the other session to end", func() bool { return e.ends()["drained"] == 2 })
	order("ready")
	if out, err := p.ask(t, ip, port, "TABLE kept"); err != nil || out != "begun" {
		t.Errorf("what was committed while the server drained: %q, %v", out, err)
	}
}

// open starts a psql that is typed to.
func (p *postgres) open(t *testing.T, ip, port string) (*server, io.Writer) {
	t.Helper()
	script := filepath.Join(t.TempDir(), "typed")
	if err := syscall.Mkfifo(script, 0o600); err != nil {
		t.Fatal(err)
	}
	typed, err := os.OpenFile(script, os.O_RDWR, 0) // both, which waits for nobody
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { typed.Close() })
	return background(t, p.psql, "-X", "-A", "-t", "-w", "-h", ip, "-p", port, "-U", "postgres", "-f", script, "postgres"), typed
}
