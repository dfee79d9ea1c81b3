//go:build linux

package integration

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// arrival is one session by where it came from and what it asked.
type arrival struct{ Listener, Client, Local string }

// conns gives the sessions that live, by `ebb conns`.
func (e *ebb) conns(t *testing.T) (list []arrival) {
	t.Helper()
	within(t, e.space, func() {
		code, stdout, stderr := e.verb(t, "conns", "--json", "--admin", e.admin)
		if err := json.Unmarshal([]byte(stdout), &list); code != 0 || err != nil {
			t.Errorf("ebb conns: exit %d, %v: %s%s", code, err, stdout, stderr)
		}
	})
	return list
}

// sameArrivals compares two lists in any order.
func sameArrivals(t *testing.T, what string, got, want []arrival) {
	t.Helper()
	text := func(list []arrival) string {
		var lines []string
		for _, a := range list {
			lines = append(lines, fmt.Sprintf("%+v", a))
		}
		slices.Sort(lines)
		return strings.Join(lines, "\n")
	}
	if got, want := text(got), text(want); got != want {
		t.Errorf("%s:\n%s\nexpected\n%s", what, got, want)
	}
}

// A listener has a range of ports, and ranges and ports of several addresses: each serves, and what was asked is told.
func TestRangeOfPorts(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			space := newSpace(t) // where all ports are free
			listen, to := `"tcp://127.0.0.1:5001-5003", "tcp://127.0.0.3:5002-5003"`, []netip.AddrPort{at(1, 5001), at(1, 5002), at(1, 5003), at(3, 5002), at(3, 5003)}
			var b *backend
			within(t, space, func() {
				b = echo(t, at(2, 7000))
				if hasIPv6() {
					listen, to = listen+`, "tcp://[::1]:5001-5002"`, append(to, netip.MustParseAddrPort("[::1]:5001"), netip.MustParseAddrPort("[::1]:5002"))
				}
			})
			s := setup{
				place: place{space: space}, listen: at(1, 5000), hosts: []string{host(2)}, port: b.addr.Port(),
				top: fmt.Sprintf("[relay]\nengine = %q\n[[listener]]\nname = \"many\"\nlisten = [%s]\npool = \"t\"", engine, listen),
			}
			file := s.write(t)
			e := spawnIn(t, s.place, s.plain, "-c", file)
			e.addr, e.admin = s.addr, s.admin
			e.awaitReady(t)

			var live []client
			var want []arrival
			enter := func() {
				for _, addr := range to {
					within(t, space, func() { live = append(live, dial(t, addr)) })
					c := live[len(live)-1]
					c.echoes(t, []byte(addr.String()))
					want = append(want, arrival{"many", c.LocalAddr().String(), addr.String()})
				}
			}
			enter()
			sameArrivals(t, "ebb conns", e.conns(t), want)
			for _, addr := range to {
				if n := slices.IndexFunc(e.status(t).Listeners, func(l listenerStatus) bool {
					return l.Name == "many" && l.Address == addr.String() && l.Active == 1 && l.Total == 1
				}); n < 0 {
					t.Errorf("no session at %v in %+v", addr, e.status(t).Listeners)
				}
			}

			// A port of a longer range that another process has is named, and the others go on.
			const taken = "listen tcp4 127.0.0.1:5004: bind: address already in use"
			within(t, space, func() {
				fd, err := bound(at(1, 5004))
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { syscall.Close(fd) })
			})
			right, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte(strings.Replace(string(right), "5001-5003", "5001-5005", 1)), 0o600); err != nil {
				t.Fatal(err)
			}
			within(t, space, func() {
				if code, _, stderr := e.verb(t, "reload", "--admin", e.admin); code != 2 || !strings.HasPrefix(stderr, file+":5: listener.listen: "+taken) || strings.Count(stderr, "\n") != 1 {
					t.Errorf("ebb reload: exit %d, %q", code, stderr)
				}
				if _, err := dialFrom(netip.AddrPort{}, at(1, 5005)); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("after a reload that failed, the other new port: %v", err)
				}
			})
			enter()
			for _, c := range live {
				c.Close()
			}
			eventually(t, "their lines", func() bool { return len(e.logs.ended()) == len(want) })
			var ended []arrival
			for _, s := range e.logs.ended() {
				ended = append(ended, arrival{s.Listener, s.Client, s.Local})
			}
			sameArrivals(t, "the log", ended, want)
			oracle(t, e, b)

			// At the start the same is an error that says which.
			e.stop(t)
			e = spawnIn(t, s.place, s.plain, "-c", file)
			if code, said := e.wait(t), e.logs.unstructured(); code != 1 || !strings.HasPrefix(said, "ebb: listener many: "+taken) || strings.Count(said, "\n") != 1 {
				t.Errorf("exit code %d: %q", code, said)
			}
		})
	}
}

// A listener on all of both families serves IPv4 under its own name: in rules, in the log, in `ebb conns`, for `hash`. With v6only it
// leaves IPv4 alone.
func TestDualStack(t *testing.T) {
	t.Parallel()
	ip := program(t, "ip")
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			space := newSpace(t)
			six := false
			within(t, space, func() {
				six = hasIPv6()
				for _, a := range []string{"fd00::7", "fd00::66"} {
					if out, err := exec.Command(ip, "-6", "addr", "add", a+"/128", "dev", "lo", "nodad").CombinedOutput(); six && err != nil {
						t.Errorf("ip addr add %s: %v: %s", a, err, out)
					}
				}
				for n := byte(2); n <= 4; n++ {
					echo(t, at(n, 7000))
				}
			})
			if !six {
				t.Skip("there is no IPv6 on the loopback interface")
			}
			e := start(t, setup{
				place: place{space: space}, listen: netip.MustParseAddrPort("[::]:5000"), hosts: []string{host(2), host(3), host(4)}, port: 7000,
				top: onEngine(engine) + `
[[listener]]
name = "plain"
listen = "tcp://127.0.0.1:5001"
pool = "t"
[[listener]]
name = "six"
listen = "tcp://[::]:5002"
pool = "t"
socket.v6only = true
[[listener]]
name = "four"
listen = "tcp://0.0.0.0:5002"
pool = "t"
[[listener]]
name = "alone"
listen = "tcp://[::]:5003"
pool = "t"
socket.v6only = true`,
				listener: `allow = ["127.0.0.0/8", "fd00::/64"]` + "\n" + `deny = ["127.0.0.66", "fd00::66"]`,
				pool:     `balance = "hash"`,
			})
			var live []client
			var want []arrival
			enter := func(source, to, listener string) {
				var c client
				var err error
				within(t, space, func() {
					c, err = dialFrom(netip.AddrPortFrom(netip.MustParseAddr(source), 0), netip.MustParseAddrPort(to))
				})
				if err != nil {
					t.Fatalf("from %s to %s: %v", source, to, err)
				}
				t.Cleanup(func() { c.Close() })
				c.echoes(t, []byte(source))
				live = append(live, c)
				want = append(want, arrival{listener, c.LocalAddr().String(), to})
			}
			for n := byte(10); n < 30; n++ {
				enter(host(n), "127.0.0.1:5000", "t")
				enter(host(n), "127.0.0.1:5001", "plain")
			}
			enter("127.0.0.7", "127.0.0.5:5000", "t")
			enter("fd00::7", "[::1]:5000", "t")
			enter("fd00::7", "[fd00::66]:5000", "t")
			enter("fd00::7", "[::1]:5002", "six")
			enter("127.0.0.7", "127.0.0.1:5002", "four")
			enter("fd00::7", "[::1]:5003", "alone")
			sameArrivals(t, "ebb conns", e.conns(t), want)

			within(t, space, func() {
				for _, c := range []struct{ source, to string }{{"127.0.0.66", "127.0.0.1:5000"}, {"fd00::66", "[::1]:5000"}, {"::1", "[::1]:5000"}} {
					wantReset(t, netip.MustParseAddr(c.source), netip.MustParseAddrPort(c.to))
				}
				if _, err := dialFrom(netip.AddrPort{}, at(1, 5003)); !errors.Is(err, syscall.ECONNREFUSED) {
					t.Errorf("IPv4 where v6only is said: %v, expected a refusal", err)
				}
			})
			for _, c := range live {
				c.Close()
			}
			const denied = 3
			eventually(t, "their lines", func() bool { return len(e.logs.ended()) == len(want)+denied })
			var ended []arrival
			peers := make(map[netip.Addr]string)
			for _, s := range e.logs.ended() {
				source := netip.MustParseAddrPort(s.Client).Addr()
				switch first := peers[source]; {
				case s.End == "denied":
					if !source.Is4() && !source.Is6() || source.Is4In6() {
						t.Errorf("denied: %v", source)
					}
					continue
				case first == "":
					peers[source] = s.Peer
				case first != s.Peer:
					t.Errorf("%v is sent to %s, and to %s by %s at %s", source, first, s.Peer, s.Listener, s.Local)
				}
				ended = append(ended, arrival{s.Listener, s.Client, s.Local})
			}
			sameArrivals(t, "the log", ended, want)
			oracle(t, e)
		})
	}
}
