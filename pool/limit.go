package pool

// Limits on leases are exact, and an exact count is one word that all slots write. So an epoch counts in that way only what
// has a limit, and what it says here holds for its leases until they are given back. When a limit comes while there are leases
// that were counted otherwise, those are on epochs that are not freed yet, and are looked up as long as such epochs live.

// limits is how an epoch counts leases.
type limits struct {
	shared  bool     // of a peer, for all slots at once: there is a MaxConns
	mixed   bool     // epochs that are not freed yet count a peer's leases in the other way
	most    int32    // MaxTotal; 0 is none
	apart   [][]refs // of the epochs that are not freed yet and have no MaxTotal
	limited bool     // MaxConns, or a gate: a candidate may be at a limit
	counted bool     // a release has more to count off than its tally
}

// limit says how an epoch that is made now counts. The caller holds t.mu.
func (e *epoch) limit(t *Table) {
	e.shared, e.most = t.tuning.MaxConns != 0, int32(t.tuning.MaxTotal)
	e.limited = e.shared || e.gated()
	e.counted = e.most != 0 || e.maxConnecting != 0
	before := t.retired
	if now := t.current.Load(); now != nil {
		before = append(before[:len(before):len(before)], now)
	}
	for _, o := range before {
		e.mixed = e.mixed || o.shared != e.shared
		if e.most != 0 && o.most == 0 {
			e.apart = append(e.apart, o.refs)
		}
	}
}

// tally is which of a peer's tallies counts the leases of a slot: the first one is that of all slots.
func (e *epoch) tally(slot int) int {
	if e.shared {
		return 0
	}
	return slot + 1
}

// limitOf is what the tally of a candidate may come to; 0 is no limit.
func (e *epoch) limitOf(c *candidate) int32 {
	if !e.mixed || c.limit == 0 {
		return c.limit
	}
	left := int64(c.limit)
	for i := range c.tallies[1:] {
		left -= c.tallies[1+i].active()
	}
	return atLeastOne(left)
}

// limitOfAll is what the leases of all epochs that count them may come to; 0 is no limit.
func (e *epoch) limitOfAll() int32 {
	if len(e.apart) == 0 {
		return e.most
	}
	left := int64(e.most)
	for _, slots := range e.apart {
		for i := range slots {
			left -= int64(slots[i].held())
		}
	}
	return atLeastOne(left)
}

// atLeastOne keeps a limit that is used up from being none.
func atLeastOne(limit int64) int32 {
	if limit <= 0 {
		return -1
	}
	return int32(limit)
}

// spent says whether the table is at its limit.
func (e *epoch) spent() bool { return e.table.all.full(e.limitOfAll()) }

// uncount takes a lease off what is counted beside its tally.
func (e *epoch) uncount(p *Peer, connects bool) {
	if connects {
		e.connected(p)
	}
	if e.most != 0 {
		e.table.all.give()
	}
}

// pickOfAll is pick where all leases together have a limit. It is spent if that leaves none.
func (e *epoch) pickOfAll(r *asking) (c *candidate, spent bool) {
	all := &e.table.all
	if !all.take(e.limitOfAll()) {
		return nil, true
	}
	if c = e.pick(r); c == nil {
		all.give()
	}
	return c, false
}
