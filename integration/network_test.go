//go:build linux

package integration

import (
	"errors"
	"flag"
	"io"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/integration/link"
)

var longHaul = flag.Int("td5", 0, "rounds of 64 MiB each way over a bad network; 0 is one of 4 MiB")

// network is a client, ebb and a server, each in a network namespace of its own, and the links between them.
type network struct {
	client, middle, server *link.Space
	front, back            *link.Link
}

var (
	frontAddr = netip.MustParseAddr("10.1.1.2") // ebb, as the client sees it
	backAddr  = netip.MustParseAddr("10.1.2.2") // the server, as ebb sees it
)

// newSpace makes a network namespace, or skips the test where that is forbidden.
func newSpace(t *testing.T) *link.Space {
	t.Helper()
	space, err := link.NewSpace()
	if errors.Is(err, os.ErrPermission) && os.Getenv("CI") != "true" {
		t.Skip("needs CAP_SYS_ADMIN: ", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { space.Close() })
	return space
}

// newNetwork makes a network whose links have faults, or skips the test where that is forbidden.
func newNetwork(t *testing.T, f link.Faults, seed uint64) *network {
	t.Helper()
	n := &network{client: newSpace(t), middle: newSpace(t), server: newSpace(t)}
	join := func(a, b *link.Space, device, left, right string) *link.Link {
		l, err := link.Join(link.End{Space: a, Device: device, Address: netip.MustParsePrefix(left)},
			link.End{Space: b, Device: device, Address: netip.MustParsePrefix(right)}, f, seed)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(l.Close)
		return l
	}
	n.front = join(n.client, n.middle, "front", "10.1.1.1/30", frontAddr.String()+"/30")
	n.back = join(n.middle, n.server, "back", "10.1.2.1/30", backAddr.String()+"/30")
	return n
}

// within calls f in a namespace.
func within(t *testing.T, s *link.Space, f func()) {
	t.Helper()
	if err := s.Do(func() error { f(); return nil }); err != nil {
		t.Fatal(err)
	}
}

// TestTD5 sends bytes both ways at once through two links that lose, repeat, damage and reorder packets.
func TestTD5(t *testing.T) {
	rounds, size := 1, int64(4<<20)
	if *longHaul > 0 {
		rounds, size = *longHaul, 64<<20
	}
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			n := newNetwork(t, link.Faults{Delay: 5 * time.Millisecond, Jitter: 4 * time.Millisecond, Loss: 0.005, Duplicate: 0.01, Corrupt: 0.005}, 5)
			far := make(chan half, 1)
			var b *backend
			within(t, n.server, func() {
				b = serve(t, netip.AddrPortFrom(backAddr, freePort(t)), func(c peerConn) { far <- bySHA256.trade(c, c.CloseWrite, 1, size) })
			})
			e := start(t, setup{
				place: place{space: n.middle}, listen: netip.AddrPortFrom(frontAddr, freePort(t)), hosts: []string{backAddr.String()}, port: b.addr.Port(),
				top: onEngine(engine), pool: `connect_timeout = "20s"`,
			})
			for range rounds {
				var c client
				within(t, n.client, func() { c = dial(t, e.addr) })
				near := bySHA256.trade(c, c.CloseWrite, 2, size)
				other := <-far
				if err := errors.Join(near.err, other.err); err != nil {
					t.Fatal(err)
				}
				if near.sent != other.got || other.sent != near.got {
					t.Fatal("the bytes that came are not those that were sent")
				}
				c.Close()
			}
			for _, l := range []*link.Link{n.front, n.back} {
				if c := l.Counts(); c.Lost == 0 || c.Duplicated == 0 || c.Corrupted == 0 {
					t.Errorf("the network was good: %+v", c)
				}
			}
			oracle(t, e, b)
		})
	}
}

// TestTO9 takes the cable out on one side of a session, while bytes are on their way there: user_timeout ends both sides.
func TestTO9(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		for _, side := range []string{"client", "server"} {
			t.Run(engine+"/"+side, func(t *testing.T) {
				t.Parallel()
				n := newNetwork(t, link.Faults{}, 9)
				ended := make(chan error, 1)
				var b *backend
				within(t, n.server, func() {
					b = serve(t, netip.AddrPortFrom(backAddr, freePort(t)), func(c peerConn) {
						_, err := io.Copy(struct{ io.Writer }{c}, struct{ io.Reader }{c})
						ended <- err
					})
				})
				e := start(t, setup{
					place: place{space: n.middle}, listen: netip.AddrPortFrom(frontAddr, freePort(t)), hosts: []string{backAddr.String()}, port: b.addr.Port(),
					top:      onEngine(engine),
					listener: `socket.user_timeout = "1s"`, pool: `socket.user_timeout = "1s"`,
				})
				var c client
				within(t, n.client, func() { c = dial(t, e.addr) })
				c.echoes(t, []byte("in"))
				begin := time.Now()
				cable := n.back
				if side == "client" {
					cable = n.front
				}
				cable.Part(true)
				c.send(t, []byte("out"))
				if side == "client" { // what it sends does not come; what is sent to it has to be on its way
					within(t, n.server, func() { b.say("out") })
				}
				s := e.oneSession(t)
				atLeast(t, "the end", time.Since(begin), time.Second)
				if want := map[string]string{"client": "client_reset", "server": "server_reset"}[side]; s.End != want {
					t.Errorf("end %q, want %q", s.End, want)
				}
				if side == "client" {
					if err := <-ended; err == nil {
						t.Error("the server was told a clean end")
					}
				} else {
					c.wantReset(t)
				}
				cable.Part(false)
				c.Close()
				b.close()
				oracle(t, e)
			})
		}
	}
}
