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

	tier       int         // the tier that serves
	candidates []candidate // the members of that tier that may be picked, in canonical order; none: no tier serves
	parts      int64       // into which each weight is divided
	policy     Policy      // Tuning, and those that follow
	bounded    float64     // of hash
	limits
	maxConnecting int64
	interval      int64    // between leases of one peer, in nanoseconds; 0: as they come
	heaviest      int64    // the largest weight among them
	unproven      bool     // one of them is
	patience      int64    // how long a slot goes by what it last saw of the others, in nanoseconds
	sequence      []uint32 // roundrobin: the candidates' turns; hash: the candidates by weight
	seeds         []uint64 // hash: of the addresses in sequence
	weights       int      // hash: how many different ones there are
	sum           int64    // hash: of the weights
	places        []uint32 // hash: the candidates' places in a table, where there are many candidates
	lots          []lot    // random

	retired atomic.Bool
	refs    []refs // by slot
}

// candidate is a member that may be picked: it has weight, neither its check nor an operator takes it out, and its tier
// serves.
type candidate struct {
	peer    *Peer
	tallies []tally // of the peer
	weight  int64   // in parts
	limit   int32   // leases, across all epochs; 0 is none
	proven  bool    // no check, or the check has passed
}

// newEpoch builds an epoch. The caller holds t.mu.
func (t *Table) newEpoch(members []Member, cause Cause) *epoch {
	t.lastID++
	t.due = 0
	e := &epoch{
		table: t, id: t.lastID, cause: cause, born: t.opts.Now(), members: members,
		peers: make([]*Peer, len(members)), refs: make([]refs, t.opts.Slots),
	}
	steps := make([]int64, len(members)) // of warmSteps; 0: barred
	fits := make(fit)
	t.rouse()
	for i, m := range members {
		p := t.peers[m.Addr]
		if p == nil {
			p = newPeer(m.Addr, t.opts.Slots, t.opts.Fresh())
			p.admin.Store(uint32(t.overrides[m.Addr].Admin))
			t.peers[m.Addr] = p
		}
		p.listings++
		if steps[i] = t.warm(p, e.id-1, t.barred(m, p) == StandingGood); steps[i] > 0 {
			fits[m.Tier]++
		}
		p.newest.Store(e.id)
		e.peers[i] = p
	}
	e.tier = t.choose(fits)
	e.tune(t)
	e.gather(steps)
	n := len(e.candidates)
	for slot := range e.refs {
		e.refs[slot].from = uint32(e.id) + uint32(slot*n/len(e.refs))
	}
	e.patience = min(max(minPatience, int64(n*(t.opts.Slots-1))*perLine), maxPatience)
	switch e.policy {
	case RoundRobin:
		e.sequence = smooth(e.candidates)
	case Random:
		e.lots = lots(e.candidates)
	case Hash:
		e.sequence, e.seeds, e.weights = byWeight(e.candidates)
		for _, c := range e.candidates {
			e.sum += c.weight
		}
		if len(e.candidates) > rendezvousLimit {
			e.places = maglev(e.candidates, e.heaviest)
		}
	case LeastConn, First, Sticky, LeastTime:
	}
	return e
}

// gather lists the members of the tier that serves and that nothing bars. While one of them gets its weight in steps, or
// another percentage of it than 100, all weights are in such parts, unless that would make one larger than policies can
// count with.
func (e *epoch) gather(steps []int64) {
	t := e.table
	serves := func(i int) bool { return steps[i] > 0 && e.members[i].Tier == e.tier }
	var largest int64
	parts := int64(1)
	for i, m := range e.members {
		if serves(i) {
			percent := e.peers[i].share()
			largest = max(largest, int64(t.weight(m))*percent)
			switch {
			case percent != whole:
				parts = whole
			case steps[i] < warmSteps:
				parts = max(parts, warmSteps)
			}
		}
	}
	e.parts = 1
	if largest*parts <= MaxWeight*whole {
		e.parts = parts
	}
	for i, m := range e.members {
		if !serves(i) {
			continue
		}
		p := e.peers[i]
		weight := min(max(int64(t.weight(m))*p.share()*steps[i]*e.parts/(warmSteps*whole), 1), MaxWeight)
		proven := t.proven(p)
		e.heaviest = max(e.heaviest, weight)
		e.unproven = e.unproven || !proven
		e.candidates = append(e.candidates, candidate{p, p.tallies, weight, warmLimit(t.tuning.MaxConns, steps[i]), proven})
	}
}

// enter takes a reference on the newest epoch. The turn goes on by one with each.
func (t *Table) enter(slot int) (e *epoch, turn uint32) {
	for {
		e = t.current.Load()
		turn = e.refs[slot].take()
		if !e.retired.Load() {
			return e, turn
		}
		e.leave(slot) // a newer one is published: publication comes before retirement
	}
}

// leave gives a reference back, on the slot that took it. Who brings a slot of a retired epoch to zero wakes the reclaimer.
func (e *epoch) leave(slot int) {
	n := e.refs[slot].give()
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
		if e.refs[i].held() != 0 {
			return false
		}
	}
	return true
}

// sessions adds up what is held. While others acquire and release it is an estimate; at rest it is exact.
func (e *epoch) sessions() (n int64) {
	for i := range e.refs {
		n += int64(e.refs[i].held())
	}
	return n
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
	e.members, e.peers, e.candidates, e.sequence, e.seeds, e.places, e.lots = nil, nil, nil, nil, nil, nil, nil
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
