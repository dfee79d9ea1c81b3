package lb

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// bindings is where a generation listens, so that no name can make it talk to itself. A peer is told from a listener by
// its protocol too: the pool's listeners say which it is reached by.
type bindings struct {
	host   *ownAddresses
	byPort map[uint16][]*listener
	protos map[*livePool]map[string]bool
}

func newBindings(host *ownAddresses, listeners []*listener) *bindings {
	b := &bindings{host: host, byPort: make(map[uint16][]*listener), protos: make(map[*livePool]map[string]bool)}
	for _, l := range listeners {
		n := l.port.addr.Port()
		b.byPort[n] = append(b.byPort[n], l)
		if b.protos[l.pool] == nil {
			b.protos[l.pool] = make(map[string]bool)
		}
		reached := l.port.proto
		if reached == "unix" {
			reached = "tcp"
		}
		b.protos[l.pool][reached] = true
	}
	return b
}

// of gives the test for a pool. For a literal only the listeners of its own pool count: to send to another pool by way of
// its listener is odd, but somebody has written it down.
func (b *bindings) of(p *livePool) ownTest {
	return func(peer netip.AddrPort, literal bool) bool {
		for _, l := range b.byPort[peer.Port()] {
			if (!literal || l.pool == p) && b.protos[p][l.port.proto] && l.port.isAt(b.host, peer.Addr()) {
				return true
			}
		}
		return false
	}
}

// isOwn tells whether who sends datagrams to addr sends them to a listener of the present generation.
func (s *Server) isOwn(addr netip.AddrPort) bool {
	for _, l := range s.running().listeners {
		if at := l.port.addr; l.port.proto == "udp" && at.Port() == addr.Port() && l.port.isAt(&s.own, addr.Addr()) {
			return true
		}
	}
	return false
}

// ownAddresses knows the addresses of this host.
type ownAddresses struct {
	mu     sync.Mutex
	local  map[netip.Addr]bool // of its interfaces
	looked time.Time
}

// localEvery is how old the list of this host's addresses may be.
const localEvery = 5 * time.Second

// covers tells whether who connects to an address reaches a socket that is bound to bound. The wildcard of IPv6 is bound
// for both families.
func (o *ownAddresses) covers(bound, addr netip.Addr) bool {
	switch {
	case bound == addr:
		return true
	case !bound.IsUnspecified() || bound.Is4() && !addr.Is4():
		return false
	}
	return addr.IsLoopback() || o.isLocal(addr)
}

func (o *ownAddresses) isLocal(addr netip.Addr) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.local == nil || time.Since(o.looked) > localEvery {
		o.looked = time.Now()
		list, err := net.InterfaceAddrs()
		if err == nil || o.local == nil { // on an error what was true before is the better guess
			o.local = make(map[netip.Addr]bool, len(list))
		}
		for _, a := range list {
			if prefix, err := netip.ParsePrefix(a.String()); err == nil {
				o.local[prefix.Addr().Unmap()] = true
			}
		}
	}
	return o.local[addr.WithZone("")]
}
