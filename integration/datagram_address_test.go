//go:build linux

package integration

import (
	"fmt"
	"net/netip"
	"os/exec"
	"testing"
)

// UD-5: a reply leaves from the link-local address that was asked, on the interface where that is, whether the listener is bound to
// it or to all addresses.
func TestUD5LinkLocal(t *testing.T) {
	ip := program(t, "ip")
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			space := newSpace(t)
			within(t, space, func() {
				for _, args := range [][]string{
					{"link", "add", "one", "type", "veth", "peer", "name", "two"}, {"link", "set", "one", "up"}, {"link", "set", "two", "up"},
					{"addr", "add", "fe80::1/64", "dev", "one", "nodad"}, {"addr", "add", "fe80::9/64", "dev", "one", "nodad"},
				} {
					if out, err := exec.Command(ip, append([]string{"-6"}, args...)...).CombinedOutput(); err != nil {
						t.Fatalf("ip %v: %v: %s", args, err, out)
					}
				}
			})
			for _, listen := range []string{"fe80::9%one", "::"} {
				var b *udpBackend
				var cl udpClient
				within(t, space, func() {
					b = echoUDP(t, at(2, 0))
					cl = listenUDP(t, netip.MustParseAddrPort("[fe80::1%one]:0"))
				})
				e := start(t, setup{
					place: place{space: space}, network: "udp", listen: netip.AddrPortFrom(netip.MustParseAddr(listen), freePort(t)),
					hosts: []string{host(2)}, port: b.addr.Port(), top: onEngine(engine),
				})
				to := netip.AddrPortFrom(netip.MustParseAddr("fe80::9%one"), e.addr.Port())
				for _, word := range []string{"who", "again"} {
					cl.send(t, []byte(word), to)
					if got, from := cl.recv(t); string(got) != word || from != to {
						t.Errorf("asked %v on %s, %q came from %v", to, listen, got, from)
					}
				}
			}
		})
	}
}

// A reply leaves from the port that was asked, where a listener has a range of them.
func TestUDPRangeOfPorts(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			space := newSpace(t) // where all ports are free
			var b *udpBackend
			var cl udpClient
			within(t, space, func() {
				b = echoUDP(t, at(2, 7000))
				cl = listenUDP(t, at(1, 6000))
			})
			e := start(t, setup{
				place: place{space: space}, network: "udp", listen: at(1, 5000), hosts: []string{host(2)}, port: b.addr.Port(),
				top: fmt.Sprintf("[relay]\nengine = %q\n[[listener]]\nname = \"range\"\nlisten = \"udp://127.0.0.1:5001-5003\"\npool = \"t\"", engine),
			})
			for port := uint16(5003); port >= 5000; port-- {
				cl.send(t, []byte{byte(port)}, at(1, port))
				if got, from := cl.recv(t); len(got) != 1 || got[0] != byte(port) || from != at(1, port) {
					t.Errorf("asked port %d, %q came from %v", port, got, from)
				}
			}
			if n := e.metrics(t).sum("ebb_sessions_active"); n != 4 {
				t.Errorf("%v flows, expected one for each port", n)
			}
		})
	}
}
