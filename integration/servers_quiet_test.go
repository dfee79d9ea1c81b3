//go:build linux

package integration

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// secretFile is a file of its own for a password.
func secretFile(t *testing.T, password string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(password+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// keepsSecrets expects a password nowhere in what ebb says of itself.
func (e *ebb) keepsSecrets(t *testing.T, password string) {
	t.Helper()
	for _, path := range []string{"/v1/status", "/metrics", "/readyz"} {
		if _, body, err := e.get(path); err != nil || strings.Contains(body, password) {
			t.Errorf("%s: the password is in it, or %v", path, err)
		}
	}
	if strings.Contains(e.logs.tail(1<<20), password) {
		t.Error("the password is in ebb's log")
	}
}

// TestSE10ServersPostgreSQLChecksAreQuiet has a server checked in each way that its users have: without an account, with one
// that may do nothing else, and by a bare connect. Its log has the connections, for it is told to, and no trouble. What is
// wrong with a password is said in words, without the password, and is nothing to other checks of the same server.
func TestSE10ServersPostgreSQLChecksAreQuiet(t *testing.T) {
	p := startPostgres(t)
	hba := filepath.Join(p.dir, "data", "pg_hba.conf")
	rules, err := os.ReadFile(hba)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(hba, append([]byte("host all ebb 127.0.0.0/8 scram-sha-256\n"), rules...), 0o600); err != nil {
		t.Fatal(err)
	}
	p.must(t, "CREATE ROLE ebb LOGIN PASSWORD 'geheim' CONNECTION LIMIT 10", "CREATE ROLE")
	p.must(t, "ALTER SYSTEM SET log_connections = on", "ALTER SYSTEM")
	p.must(t, "SELECT pg_reload_conf()", "t")
	eventually(t, "the new rules", func() bool {
		_, err := try(t, p.psql, "-X", "-w", "-h", p.host, "-p", p.port, "-U", "ebb", "-c", "SELECT 1", "postgres")
		return err != nil && strings.Contains(p.out.String(), `parameter "log_connections" changed`) // what it said of that has been read
	})
	port, err := strconv.ParseUint(p.port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	run := func(check string) *ebb {
		return start(t, setup{hosts: []string{p.host}, port: uint16(port), check: "timeout = \"10s\"\n" + check})
	}
	account := func(file string) string {
		return "kind = \"postgres\"\nuser = \"ebb\"\npassword_file = \"" + file + "\"\n"
	}
	right := secretFile(t, "geheim")
	before := len(p.out.String())
	said := func() string { return p.out.String()[before:] }
	var all []*ebb
	for check, sign := range map[string]string{
		account(right) + `want = "primary"`: "connection authorized: user=ebb",
		`kind = "postgres"`:                 "connection authorized: user=postgres database=postgres application_name=ebb",
		`kind = "tcp"`:                      "connection received",
	} {
		e := run(check)
		all = append(all, e)
		n := strings.Count(said(), sign)
		eventually(t, "ten checks to be logged as "+sign, func() bool { return strings.Count(said(), sign) >= n+10 })
	}
	for line := range strings.Lines(said()) {
		if strings.HasSuffix(line, "\n") && !strings.Contains(line, "LOG:  connection ") {
			t.Errorf("logged: %s", line)
		}
	}
	wrong := run(account(secretFile(t, "falsch")))
	wrong.awaitState(t, p.host+":"+p.port, "down", "denied")
	if err := os.Chmod(right, 0o640); err != nil { // while ebb runs: before, it refuses to start
		t.Fatal(err)
	}
	cannot := func() (lines []record) {
		for _, e := range all {
			lines = append(lines, e.logs.find("check cannot be tried")...)
		}
		return lines
	}
	eventually(t, "the secret that is none to be said", func() bool { return len(cannot()) > 0 })
	if detail := cannot()[0].text("detail"); !strings.Contains(detail, "its mode is 640") {
		t.Errorf("of a secret that others may read: %q", detail)
	}
	for _, e := range append(all, wrong) {
		e.keepsSecrets(t, "geheim")
		e.keepsSecrets(t, "falsch")
	}
	for _, e := range all {
		e.awaitState(t, p.host+":"+p.port, "up", "")
		oracle(t, e)
	}
}
