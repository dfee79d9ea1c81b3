//go:build linux

package integration

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

func TestFlagsAlone(t *testing.T) {
	t.Parallel()
	b := echo(t, at(2, freePort(t)))
	addr := netip.AddrPortFrom(loopback, freePort(t))
	e := startFlags(t, addr, "--listen", "tcp://"+addr.String(), "--to", b.addr.String())
	c := dial(t, e.addr)
	c.echoes(t, []byte("hello"))
	c.Close()
	oracle(t, e, b)
	if code := e.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	e.soundLog(t)
}

func TestAddressInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	other := netip.AddrPortFrom(loopback, freePort(t)).String()
	for _, c := range []struct{ name, listen, admin string }{
		{"listener", taken.Addr().String(), other},
		{"admin", other, taken.Addr().String()},
	} {
		t.Run(c.name, func(t *testing.T) {
			code, _, stderr := runEbb(t, "run", "--listen", "tcp://"+c.listen, "--to", "127.0.0.2:9", "--admin", c.admin)
			if code != 1 || !strings.Contains(stderr, taken.Addr().String()) || !strings.Contains(stderr, "address already in use") {
				t.Errorf("exit code %d:\n%s", code, stderr)
			}
		})
	}
}

// All that could not be bound is named at once.
func TestAddressesInUse(t *testing.T) {
	t.Parallel()
	var taken []string
	args := []string{"run", "--to", "127.0.0.2:9", "--admin", "off"}
	for range 2 {
		ln, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		taken = append(taken, ln.Addr().String())
		args = append(args, "--listen", "tcp://"+ln.Addr().String())
	}
	code, _, stderr := runEbb(t, args...)
	if code != 1 {
		t.Errorf("exit code %d", code)
	}
	for _, a := range taken {
		if !strings.Contains(stderr, a) {
			t.Errorf("%s is not named:\n%s", a, stderr)
		}
	}
}

// A name that does not resolve yet is no reason to give up: ebb runs, says what is missing, and serves when it is there.
func TestNameUnknownAtStart(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	b := echo(t, at(2, freePort(t)))
	e := launch(t, setup{hosts: []string{"late.test"}, port: b.addr.Port(), resolver: dns.Addr(), backend: `max_refresh = "1s"`})
	eventually(t, "the reason", func() bool {
		lines := e.logs.find("not ready")
		return len(lines) > 0 && strings.Contains(fmt.Sprint(lines[0]["reason"]), "late.test")
	})
	if code, body, err := e.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "late.test") {
		t.Errorf("readyz: %d %q %v", code, body, err)
	}
	if code, _, err := e.get("/livez"); code != http.StatusOK {
		t.Errorf("livez: %d %v", code, err)
	}
	if e.isReady() {
		t.Error("ready without a peer")
	}
	e.wantRefusal(t)
	if s := e.oneSession(t); s.End != "no_peer" {
		t.Errorf("%+v", s)
	}
	dns.SetA("late.test", 1, host(2))
	e.awaitReady(t)
	c := dial(t, e.addr)
	c.echoes(t, []byte("hello"))
	c.Close()
	oracle(t, e, b)
}
