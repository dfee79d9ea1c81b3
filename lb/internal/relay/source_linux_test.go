//go:build amd64 || arm64

package relay

import (
	"math/rand/v2"
	"net/netip"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// TestLI6AnotherSourceServesWhenPortsRunOut gives sessions two addresses with a single port each: two are served, from one
// address each, and the director of the third, and no other, is told that there was no port.
func TestLI6AnotherSourceServesWhenPortsRunOut(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		sources := sock.Addresses{netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.10")}
		for range 200 { // until the port was free on both: others use ports too
			port := uint16(33000 + rand.IntN(27000))
			o := Options{Dial: &sock.Options{Source: sock.Source{IPv4: sources, First: port, Last: port}}}
			if missing := o.Dial.Probe(true, false, false); len(missing) > 0 {
				t.Skip(missing[0].Key, ": ", missing[0].Why())
			}
			back := listen(t)
			try := func() (d *director, from netip.AddrPort) {
				front := listen(t)
				client := dialTo(t, front)
				client.SetLinger(0) // leaves no TIME_WAIT for others
				d = &director{addrs: []netip.AddrPort{sock.AddrPort(back.Addr())}, done: make(chan end.Word, 1)}
				c.serve(t, front, func() (*Session, Director) { return &Session{Options: o}, d })
				for {
					d.mu.Lock()
					connected, failed := d.connected, len(d.failed)
					d.mu.Unlock()
					switch {
					case connected > 0:
						server := accept(t, back)
						server.SetLinger(0)
						return d, sock.AddrPort(server.RemoteAddr())
					case failed > 0:
						if w := <-d.done; w != end.NoPeer || sock.Classify(d.failed[0]) != sock.NoSourcePort {
							t.Fatalf("failed %v, end %v", d.failed, w)
						}
						return d, from
					}
					time.Sleep(time.Millisecond)
				}
			}
			_, one := try()
			if !one.IsValid() {
				continue
			}
			d, other := try()
			if !other.IsValid() {
				continue
			}
			if one.Addr() == other.Addr() || len(d.failed) != 0 {
				t.Errorf("from %s, then from %s after %v", one, other, d.failed)
			}
			if d, third := try(); third.IsValid() || len(d.failed) != 1 {
				t.Errorf("the third came from %s, failed %v", third, d.failed)
			}
			return
		}
		t.Fatal("no port was free on both addresses")
	})
}
