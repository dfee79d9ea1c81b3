package lb

import (
	"net"
	"net/netip"
	"sync"
	"time"
)

// ownAddresses knows where this process listens, so that no name can make it talk to itself. A peer is told from a
// listener by its protocol too: the pool's listeners say which it is reached by.
type ownAddresses struct {
	listeners []*listener

	mu     sync.Mutex
	local  map[netip.Addr]bool // of this host's interfaces
	looked time.Time
}

// localEvery is how old the list of this host's addresses may be.
const localEvery = 5 * time.Second

// of gives the test for a pool. For a literal only the listeners of its own pool count: to send to another pool by way of
// its listener is odd, but somebody has written it down.
func (o *ownAddresses) of(p *livePool) func(peer netip.AddrPort, literal bool) bool {
	protos := make(map[string]bool)
	for _, l := range o.listeners {
		if l.pool == p {
			protos[l.proto] = true
		}
	}
	return func(peer netip.AddrPort, literal bool) bool {
		for _, l := range o.listeners {
			if (!literal || l.pool == p) && l.addr.Port() == peer.Port() && protos[l.proto] && o.covers(l.addr.Addr(), peer.Addr()) {
				return true
			}
		}
		return false
	}
}

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
