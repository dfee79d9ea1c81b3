//go:build amd64 || arm64

package flow

import (
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// newRigOfTwo has two sockets at one address.
func newRigOfTwo(t *testing.T, o Options) (r *rig, peer endpoint) {
	t.Helper()
	if carried == "portable" {
		t.Skip("the portable carrier has one socket")
	}
	shared := *sock.Default
	shared.Listening.ReusePort = true
	one, err := sock.ListenUDP(t.Context(), localhost, &shared)
	if err != nil {
		t.Fatal(err)
	}
	two, err := sock.ListenUDP(t.Context(), sock.AddrPort(one.LocalAddr()), &shared)
	if err != nil {
		t.Fatal(err)
	}
	peer = bind(t, localhost)
	r = newRigOnAll(t, []*sock.PacketConn{one, two}, o, peer.addr)
	r.run()
	return r, peer
}

// live is how many flows each table has.
func (r *rig) live() (n [2]int) {
	for i, table := range r.group.shared.tables {
		table.mu.Lock()
		n[i] = table.all.size()
		table.mu.Unlock()
	}
	return n
}

// Each client stays on one of the sockets, and both have some of 64; the odds against that are 2 to the 63rd to one.
func TestGroupSpreadsClients(t *testing.T) {
	const clients = 64
	r, peer := newRigOfTwo(t, Options{IdleTimeout: time.Minute})
	all := make([]endpoint, clients)
	for i := range all {
		all[i] = bind(t, localhost)
	}
	for range 3 {
		for i, c := range all {
			c.send(r.addr, []byte{byte(i)})
			peer.send(peer.recv([]byte{byte(i)}), []byte{byte(i)})
			c.recv([]byte{byte(i)})
		}
	}
	if n := len(r.opened()); n != clients {
		t.Errorf("%d flows, expected %d", n, clients)
	}
	if n := r.live(); n[0]+n[1] != clients || n[0] == 0 || n[1] == 0 {
		t.Errorf("%v live flows, expected %d on both", n, clients)
	}
}

// A bound of a source holds for both tables together, and at a limit each makes room for the other's clients.
func TestGroupSharesBounds(t *testing.T) {
	const clients, most = 32, 4
	for name, o := range map[string]Options{"source": {PerSource: most}, "all": {}} {
		t.Run(name, func(t *testing.T) {
			o.IdleTimeout = time.Minute
			r, _ := newRigOfTwo(t, o)
			if o.PerSource == 0 {
				r.most.Store(most)
			}
			for i := range clients {
				c := bind(t, localhost)
				r.await("a flow", func() bool { // a client whose table has nobody who may go waits until the other's has gone
					before, dropped := len(r.opened()), len(r.drops())
					c.send(r.addr, []byte{byte(i)})
					r.await("its datagram", func() bool { return len(r.opened()) > before || len(r.drops()) > dropped })
					return len(r.opened()) > before
				})
			}
			r.await("the last to go", func() bool { n := r.live(); return n[0]+n[1] == most })
			r.await("ends", func() bool {
				n := 0
				for _, d := range r.opened() {
					d.mu.Lock()
					if len(d.ended) == 1 && d.ended[0] == end.Evicted {
						n++
					}
					d.mu.Unlock()
				}
				return n == clients-most
			})
			s := r.group.shared
			s.mu.Lock()
			defer s.mu.Unlock()
			if n := s.held[localhost.Addr()]; n != o.PerSource {
				t.Errorf("%d places are held, expected %d", n, o.PerSource)
			}
		})
	}
}
