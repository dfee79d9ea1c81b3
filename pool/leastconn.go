package pool

// exactLimit is the number of candidates up to which leastconn compares all of them; above, it draws two.
const exactLimit = 64

// leastLoaded takes the candidate with the smallest (sessions+1)/weight of the best rank. Ties go round: each slot
// begins to look one further than last time.
func (e *epoch) leastLoaded(r Request) *Peer {
	t := e.table
	n := len(e.candidates)
	if n > exactLimit {
		return e.twoChoices(r)
	}
	start := int(uint32(t.ties[r.Slot].n.Add(1)) % uint32(n))
	simple := len(r.Exclude) == 0 && t.opts.MaxConns == 0
	for {
		var best *candidate
		var bestRank int
		var bestLoad int64
		at := start
		for range n {
			c := &e.candidates[at]
			if at++; at == n {
				at = 0
			}
			rank := rankGood
			if !simple || !c.proven || c.peer.until.Load() != 0 {
				rank = e.rank(c, r.Exclude)
			}
			if rank == rankNever || best != nil && rank > bestRank {
				continue
			}
			load := c.tally.active() + 1
			if best == nil || rank < bestRank || load*best.weight < bestLoad*c.weight {
				best, bestRank, bestLoad = c, rank, load
				if load == 1 && rank == rankGood && c.weight == e.heaviest {
					break // nothing is less loaded
				}
			}
		}
		if best == nil {
			return nil
		}
		if best.peer.tally(r.Slot).take(t.opts.MaxConns) {
			return best.peer
		}
	}
}

// twoChoices draws two different candidates and takes the less loaded one. If neither is good, the best rank wins, from
// a random offset.
func (e *epoch) twoChoices(r Request) *Peer {
	n := uint64(len(e.candidates))
	x := e.table.opts.Rand()
	i := (x >> 32) * n >> 32 // multiply and shift: an even draw without a division
	j := (x & 0xffffffff) * (n - 1) >> 32
	if j >= i {
		j++
	}
	a, b := &e.candidates[i], &e.candidates[j]
	if e.rank(b, r.Exclude) == rankGood &&
		(e.rank(a, r.Exclude) != rankGood || (b.peer.Active()+1)*a.weight < (a.peer.Active()+1)*b.weight) {
		a = b
	}
	if e.rank(a, r.Exclude) == rankGood && a.peer.tally(r.Slot).take(e.table.opts.MaxConns) {
		return a.peer
	}
	return e.scan(r, int(i))
}
