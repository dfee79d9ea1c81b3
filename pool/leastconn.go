package pool

// exactLimit is the number of candidates up to which leastconn compares all of them; above, it draws two.
const exactLimit = 64

// A slot counts its own leases exactly and looks at those of the others when its last look is older than the epoch's
// patience: at least minPatience, and perLine for each count that there is to look at. A look fetches a count from another
// core, which takes about 100 ns, so however fast picks follow each other, looks take at most about 2 % of a core. Among
// thousands of peers, of which each pick sees two, maxPatience is the bound.
const (
	minPatience = 100_000 // nanoseconds
	perLine     = 5_000
	maxPatience = 100_000_000
)

// load is what leastconn compares, before weights: the leases of a candidate as far as the slot knows, and the one that asks.
func (c *candidate) load(tally int) int64 {
	t := &c.tallies[tally]
	return t.active() + t.others.Load() + 1
}

// refresh looks at a candidate if the slot's last look at it is too old.
func (e *epoch) refresh(c *candidate, r *asking, now int64) {
	if now-c.tallies[r.tally].looked.Load() > e.patience {
		c.peer.look(r.tally, now)
	}
}

// better says whether b costs less for its weight than a, of two that were drawn.
func (e *epoch) better(b, a *candidate, r *asking) bool {
	now := e.table.clock(r.Request)
	e.refresh(a, r, now)
	e.refresh(b, r, now)
	return e.cost(b, r)*a.weight < e.cost(a, r)*b.weight
}

// look is refresh for all candidates at once: one question for each pick instead of one for each candidate.
func (e *epoch) look(r *asking) {
	looked := &e.refs[r.Slot].looked
	if now := e.table.clock(r.Request); now-looked.Load() > e.patience {
		looked.Store(now)
		for i := range e.candidates {
			e.candidates[i].peer.look(r.tally, now)
		}
	}
}

// leastLoaded takes the candidate with the smallest cost/weight of the best rank. Ties go round: each slot begins to look
// one further than last time.
func (e *epoch) leastLoaded(r *asking) *candidate {
	n := len(e.candidates)
	if n > exactLimit {
		return e.twoChoices(r)
	}
	e.look(r)
	start := int(r.turn % uint32(n))
	if e.plain(r) {
		var c *candidate
		if e.policy == LeastTime {
			c = e.cheapest(r, start)
		} else {
			c = e.lightest(r.tally, start)
		}
		c.takeFreely(r)
		return c
	}
	if e.policy == LeastTime {
		r.quickest = e.quickest(e.table.clock(r.Request))
	}
	for {
		var best *candidate
		var bestCost, bestWeight int64
		bestRank := rankNever
		at := start
		for range n {
			c := &e.candidates[at]
			if at++; at == n {
				at = 0
			}
			rank := e.rank(c, r)
			if rank == rankNever || rank > bestRank {
				continue
			}
			if cost := e.cost(c, r); rank < bestRank || cost*bestWeight < bestCost*c.weight {
				best, bestRank, bestCost, bestWeight = c, rank, cost, c.weight
			}
		}
		if best == nil || e.take(best, r) {
			return best
		}
	}
}

// lightest is leastLoaded's choice where every candidate is good. Most picks are of that kind, so it does nothing else.
func (e *epoch) lightest(tally, start int) *candidate {
	best := &e.candidates[start]
	bestLoad := best.load(tally)
	for half := range 2 { // from the one after start to the end, then up to start
		candidates := e.candidates[:start]
		if half == 0 {
			candidates = e.candidates[start+1:]
		}
		if bestLoad == 1 && best.weight == e.heaviest {
			break // nothing is less loaded
		}
		for i := range candidates {
			c := &candidates[i]
			if load := c.load(tally); load*best.weight < bestLoad*c.weight {
				if best, bestLoad = c, load; load == 1 && c.weight == e.heaviest {
					break
				}
			}
		}
	}
	return best
}

// twoChoices draws two different candidates and takes the less loaded one. If neither is good, the best rank wins, from
// a random offset.
func (e *epoch) twoChoices(r *asking) *candidate {
	n := uint64(len(e.candidates))
	x := e.table.opts.Rand()
	i := (x >> 32) * n >> 32 // multiply and shift: an even draw without a division
	j := (x & 0xffffffff) * (n - 1) >> 32
	if j >= i {
		j++
	}
	if e.policy == LeastTime {
		e.table.clock(r.Request)
		r.quickest = 1 // whoever is drawn next to one of which nothing is known; it has its share of the draws and no more
	}
	a, b := &e.candidates[i], &e.candidates[j]
	if e.rank(b, r) == rankGood && (e.rank(a, r) != rankGood || e.better(b, a, r)) {
		a = b
	}
	if e.rank(a, r) == rankGood && e.take(a, r) {
		return a
	}
	return e.scan(r, int(i))
}
