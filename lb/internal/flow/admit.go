package flow

import (
	"net/netip"

	"github.com/ebb-lb/ebb/lb/internal/end"
)

var broadcast = netip.AddrFrom4([4]byte{255, 255, 255, 255})

// admit gets a new flow its director, or says why it may not be. It looks at the source only here: who never had a flow
// costs a datagram nothing.
func (t *Table) admit(f *Flow) (reason string) {
	switch a := f.Client.Addr(); {
	case f.Client.Port() == 0: // cannot be answered (RFC 768)
		return "port_zero"
	case a.IsUnspecified(), a.IsMulticast(), a == broadcast: // RFC 1122, 3.2.1.3: never a source
		return "bad_source"
	case t.owner.IsOwn(f.Client):
		return "own_listener"
	}
	if c := t.crowded(f); c != nil && !t.evict(c) {
		return "max_flows_per_source"
	}
	if f.director, reason = t.owner.Open(f); reason == Full && t.evict(&t.all) {
		f.director, reason = t.owner.Open(f)
	}
	return reason
}

// crowded gives the flows of a new one's source if there may be no more of them.
func (t *Table) crowded(f *Flow) *crowd {
	t.mu.Lock()
	defer t.mu.Unlock()
	if c := t.sources[f.Client.Addr()]; c != nil && f.PerSource > 0 && c.size() >= f.PerSource {
		return c
	}
	return nil
}

// evict ends one flow of a crowd, so that there is room for another; false means that none may go.
func (t *Table) evict(c *crowd) bool {
	t.mu.Lock()
	f := c.least()
	t.mu.Unlock()
	if f == nil {
		return false
	}
	t.carrier.cut(f, end.Evicted)
	return true
}
