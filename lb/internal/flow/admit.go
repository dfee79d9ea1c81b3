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
	if !t.takeOfSource(f) {
		return "max_flows_per_source"
	}
	all := func(t *Table) *crowd { return &t.all }
	if f.director, reason = t.owner.Open(f); reason == Full && t.evict(all) {
		f.director, reason = t.owner.Open(f)
	}
	if reason == Full {
		t.shared.ask(t, all)
	}
	if reason != "" {
		t.giveBack(f)
	}
	return reason
}

// takeOfSource takes a place among the flows of a source, if they have a bound: a free one, or that of another of this table.
func (t *Table) takeOfSource(f *Flow) bool {
	a := f.Client.Addr()
	if f.PerSource == 0 || t.shared.take(a, f.PerSource) {
		return true
	}
	of := func(t *Table) *crowd { return t.sources[a] }
	if t.evict(of) {
		t.shared.replace(a)
		return true
	}
	t.shared.ask(t, of)
	return false
}

// giveBack gives the place back that takeOfSource has taken.
func (t *Table) giveBack(f *Flow) {
	if f.PerSource > 0 {
		t.shared.give(f.Client.Addr())
	}
}

// evict ends one flow of one of the table's crowds, so that there is room for another; false means that none may go.
func (t *Table) evict(of func(*Table) *crowd) bool {
	f := t.least(of)
	if f == nil {
		return false
	}
	t.carrier.cut(f, end.Evicted)
	return true
}

// least gives the flow of a crowd that may go first; nil means that none may, or that there is no such crowd.
func (t *Table) least(of func(*Table) *crowd) *Flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	c := of(t)
	if c == nil {
		return nil
	}
	return c.least()
}
