package pool

import (
	"net/netip"
	"slices"
	"sync/atomic"
	"time"
)

// epoch is one immutable snapshot of a table. Only its reference counts and its retired mark ever change.
type epoch struct {
	table   *Table
	id      uint64 // these four outlive free: who enters late or asks Serves reads them
	cause   Cause
	born    time.Time
	closed  bool // the last epoch of a closed table: it lists nothing and is never retired
	members []Member
	peers   []*Peer // by member

	tier       int         // the tier that serves: the lowest one with a member that may be picked
	candidates []candidate // the members of that tier that may be picked, in canonical order; none: no tier serves
	heaviest   int64       // the largest weight among them
	sequence   []uint32    // roundrobin: the candidates' turns

	retired atomic.Bool
	refs    counters
}

// candidate is a member that may be picked: it has weight, neither its check nor an operator takes it out, and its tier
// serves.
type candidate struct {
	peer   *Peer
	tally  *tally // the first, and under leastconn the only one, of its peer
	weight int64
	proven bool // no check, or the check has passed
}

// newEpoch builds an epoch. The caller holds t.mu.
func (t *Table) newEpoch(members []Member, cause Cause) *epoch {
	t.lastID++
	e := &epoch{
		table: t, id: t.lastID, cause: cause, born: t.opts.Now(), members: members,
		peers: make([]*Peer, len(members)), refs: make(counters, t.opts.Slots),
	}
	for i, m := range members {
		p := t.peers[m.Addr]
		if p == nil {
			p = &Peer{addr: m.Addr, tallies: make([]tally, t.tallies)}
			p.admin.Store(uint32(t.overrides[m.Addr].Admin))
			t.peers[m.Addr] = p
		}
		p.listings++
		p.newest.Store(e.id)
		e.peers[i] = p
		h, weight := p.Health(), int64(t.weight(m))
		if weight == 0 || h == HealthDown || p.Admin() != AdminReady || (len(e.candidates) > 0 && m.Tier > e.tier) {
			continue
		}
		if m.Tier < e.tier { // what was found so far stands by
			e.candidates, e.heaviest = e.candidates[:0], 0
		}
		e.tier = m.Tier
		e.heaviest = max(e.heaviest, weight)
		e.candidates = append(e.candidates, candidate{p, &p.tallies[0], weight, !t.opts.Checked || h == HealthUp})
	}
	if t.opts.Policy == RoundRobin {
		e.sequence = smooth(e.candidates)
	}
	return e
}

// enter takes a reference on the newest epoch.
func (t *Table) enter(slot int) *epoch {
	for {
		e := t.current.Load()
		e.refs[slot].n.Add(1)
		if !e.retired.Load() {
			return e
		}
		e.leave(slot) // a newer one is published: publication comes before retirement
	}
}

// leave gives a reference back, on the slot that took it. Who brings a slot of a retired epoch to zero wakes the reclaimer.
func (e *epoch) leave(slot int) {
	n := e.refs[slot].n.Add(-1)
	if n < 0 {
		panic("pool: epoch has fewer than zero references")
	}
	if n == 0 && e.retired.Load() {
		e.table.reclaimer.poke()
	}
}

// idle says whether a retired epoch has no reference left; see the package comment for why it may be trusted.
func (e *epoch) idle() bool {
	for i := range e.refs {
		if e.refs[i].n.Load() != 0 {
			return false
		}
	}
	return true
}

// free ends a retired epoch that is idle, and every peer that no other epoch lists. What the epoch held is dropped, so that
// a use after free would be seen at once.
func (e *epoch) free() {
	t := e.table
	var gone []*Peer
	t.mu.Lock()
	t.retired = slices.DeleteFunc(t.retired, func(o *epoch) bool { return o == e })
	t.reclaimed++
	for _, p := range e.peers {
		p.listings--
		if p.listings == 0 {
			delete(t.peers, p.addr)
			gone = append(gone, p)
		}
	}
	e.members, e.peers, e.candidates, e.sequence = nil, nil, nil, nil
	t.mu.Unlock()
	if t.opts.OnGone != nil {
		for _, p := range gone {
			t.opts.OnGone(p)
		}
	}
	if t.opts.OnFreed != nil {
		t.opts.OnFreed(e.id)
	}
}

// lists says whether the epoch lists the address.
func (e *epoch) lists(addr netip.AddrPort) (int, bool) {
	return slices.BinarySearchFunc(e.members, addr, func(m Member, a netip.AddrPort) int { return m.Addr.Compare(a) })
}
