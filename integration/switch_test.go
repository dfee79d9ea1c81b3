//go:build linux

package integration

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestSwitch moves the role under ebb switch, stops the command in the midst, kills it, and lets it run out of time: clients
// that waited are served every time, by the primary.
func TestSwitch(t *testing.T) {
	port, dir := freePort(t), t.TempDir()
	a, b := netip.AddrPortFrom(netip.MustParseAddr(host(2)), port), netip.AddrPortFrom(netip.MustParseAddr(host(3)), port)
	peers := []*backend{greet(t, a, "A"), greet(t, b, "B")}
	is := func(p netip.AddrPort, role string) {
		t.Helper()
		next := filepath.Join(dir, "next")
		if err := os.WriteFile(next, []byte("role="+role+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(next, filepath.Join(dir, p.Addr().String())); err != nil {
			t.Fatal(err)
		}
	}
	is(a, "primary")
	is(b, "replica")
	e := start(t, setup{
		hosts: []string{a.Addr().String(), b.Addr().String()}, port: port,
		check: fmt.Sprintf("kind = \"exec\"\ncommand = [\"/bin/sh\", \"-c\", \"cat %s/$HAPROXY_SERVER_ADDR\"]\nwant = \"primary\"\ntimeout = \"10s\"", dir),
	})
	path, err := raceBinary()
	if err != nil {
		t.Fatal(err)
	}
	// begin gives a command that holds the pool, and a client that waits.
	begin := func(to netip.AddrPort) (*server, client) {
		t.Helper()
		cmd := background(t, path, "switch", "t", "--to", to.String(), "--timeout", "29s", "--admin", e.admin)
		eventually(t, "the hold", func() bool { return strings.Contains(cmd.out.String(), "promote "+to.String()+" now\n") })
		c := dial(t, e.addr)
		eventually(t, "a client that waits", func() bool { return e.poolStatus(t).Waiting == 1 })
		return cmd, c
	}
	servedBy := func(c client, who string) {
		t.Helper()
		if got := string(c.recv(t, 1)); got != who {
			t.Errorf("served by %s, want %s", got, who)
		}
		c.Close()
	}
	ended := func(cmd *server, code int, says string) {
		t.Helper()
		<-cmd.exited
		if got := cmd.cmd.ProcessState.ExitCode(); got != code || !strings.Contains(cmd.out.String(), says) {
			t.Errorf("exit code %d, want %d and %q\n%s", got, code, says, cmd.out.String())
		}
	}

	cmd, c := begin(b)
	is(a, "replica")
	is(b, "primary")
	ended(cmd, 0, "t: released to "+b.String()+" after ")
	servedBy(c, "B")

	cmd, c = begin(a)
	cmd.end(syscall.SIGINT)
	ended(cmd, 1, "ebb: switch: stopped; the pool t is released\n")
	servedBy(c, "B")

	cmd, c = begin(a)
	cmd.end(syscall.SIGKILL)
	servedBy(c, "B")

	late := fmt.Sprintf("ebb: switch: %s did not become the primary within 300ms; the pool is released, to %s\n", a, b)
	if code, out, errs := runEbb(t, "switch", "t", "--to", a.String(), "--timeout", "300ms", "--admin", e.admin); code != 1 || errs != late {
		t.Errorf("too late: %d, %s%s", code, out, errs)
	}
	already := fmt.Sprintf("t: %s: it is the primary already\n", b)
	if code, out, errs := runEbb(t, "switch", "t", "--to", b.String(), "--admin", e.admin); code != 0 || out != already {
		t.Errorf("already: %d, %s%s", code, out, errs)
	}
	for _, tc := range []struct {
		code int
		args string
		says string
	}{
		{1, "t --to 192.0.2.1:1", `pool t has no peer "192.0.2.1:1", expected one of ` + a.String()},
		{1, "web --to 192.0.2.1:1", `no pool is named "web", expected one of t`},
		{1, "t --timeout 10m --to " + a.String(), "expected at most its hold_timeout, 30s"},
		{2, "t", "switch: missing: --to with the ADDRESS:PORT of a peer"},
		{2, "--to " + a.String(), "switch: missing: the name of a pool"},
		{2, "t --to " + a.String() + " now", `switch: unexpected argument "now"`},
		{2, "t --timeout 0s --to " + a.String(), "switch: --timeout: found 0s, expected a duration above 0"},
		{2, "t --timeout 30 --to " + a.String(), "--timeout"},
	} {
		args := append([]string{"switch", "--admin", e.admin}, strings.Fields(tc.args)...)
		if code, out, errs := runEbb(t, args...); code != tc.code || out != "" || !strings.Contains(errs, tc.says) {
			t.Errorf("%s: %d, %s%s", tc.args, code, out, errs)
		}
	}
	oracle(t, e, peers...)
}
