//go:build linux

package integration

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// ebbReload runs the verb against a running ebb.
func (e *ebb) verb(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	path, err := raceBinary()
	if err != nil {
		t.Fatal(err)
	}
	var out, errs strings.Builder
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdout, cmd.Stderr = &out, &errs
	return exitCode(cmd.Run()), out.String(), errs.String()
}

// A broken file changes nothing, by whatever way it is read again, and names its place; a right one is taken.
func TestRU2(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	one, two := signed(t, 2, port), signed(t, 3, port)
	s := setup{hosts: []string{host(2)}, port: port}
	file := s.write(t)
	e := spawn(t, false, "-c", file)
	e.addr, e.admin = s.addr, s.admin
	e.awaitListening(t)
	e.awaitReady(t)
	e.base = e.usage(t)
	right, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	broken := string(right) + "wieght = 3\n"
	line := strings.Count(broken, "\n")
	problem := fmt.Sprintf("%s:%d: pool.t.backend.wieght: unknown key", file, line)
	write(broken)
	e.signal(t, syscall.SIGHUP)
	eventually(t, "a line about the failed reload", func() bool {
		l := e.logs.find("reload failed")
		return len(l) == 1 && strings.Contains(fmt.Sprint(l[0]["error"]), problem)
	})
	if code, _, stderr := e.verb(t, "reload", "--admin", e.admin); code != 2 || !strings.HasPrefix(stderr, problem) {
		t.Errorf("ebb reload: exit %d, %q", code, stderr)
	}
	if code, stdout, _ := e.verb(t, "reload", "--json", "--admin", e.admin); code != 2 || !strings.Contains(stdout, "\"text\": \""+problem) {
		t.Errorf("ebb reload --json: exit %d, %s", code, stdout)
	}
	if n, err := servedBy(e.addr); n != 2 || err != nil {
		t.Errorf("served by %d, %v", n, err)
	}
	if n := e.metrics(t).sum("ebb_reloads_total", label("result", "failed")); n != 3 {
		t.Errorf("%v failed reloads are counted", n)
	}
	write(strings.Replace(string(right), host(2), host(3), 1))
	if code, stdout, stderr := e.verb(t, "check", "-c", file, "--against-running"); code != 0 || stdout != "pool t: changed backend\n" {
		t.Errorf("ebb check --against-running: exit %d, %q %q", code, stdout, stderr)
	}
	if n, err := servedBy(e.addr); n != 2 || err != nil {
		t.Errorf("after the plan served by %d, %v", n, err)
	}
	e.signal(t, syscall.SIGHUP)
	eventually(t, "the other backend", func() bool { n, err := servedBy(e.addr); return n == 3 && err == nil })
	if code, stdout, _ := e.verb(t, "reload", "--admin", e.admin); code != 0 || !strings.HasPrefix(stdout, "nothing changes") {
		t.Errorf("ebb reload: exit %d, %q", code, stdout)
	}
	oracle(t, e, one, two)
}

// Questions to a server that does not answer hold up neither a reload nor the end, and leave nothing behind.
func TestDN18(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	dns.Silent("", true)
	var hosts []string
	for i := range 100 {
		hosts = append(hosts, fmt.Sprintf("n%d.test", i))
	}
	s := setup{hosts: hosts, port: freePort(t), resolver: dns.Addr(), dns: "deadline = \"20s\"\nattempt_timeout = \"20s\"\nattempts = 1"}
	file := s.write(t)
	e := spawn(t, false, "-c", file)
	e.addr, e.admin = s.addr, s.admin
	e.awaitListening(t)
	eventually(t, "100 questions", func() bool { return len(dns.Queries()) >= 100 })
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(strings.Replace(string(text), "attempts = 1", "attempts = 2", 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	if code, stdout, stderr := e.verb(t, "reload", "--admin", e.admin); code != 0 || stdout != "resolver default: changed attempts\n" {
		t.Errorf("ebb reload: exit %d, %q %q", code, stdout, stderr)
	}
	eventually(t, "100 questions more", func() bool { return len(dns.Queries()) >= 200 })
	if code := e.stop(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	e.soundLog(t)
}
