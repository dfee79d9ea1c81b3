package pool

// lot is one entry of the table that a weighted draw looks into (Vose's alias method): of the numbers that lead here, those
// below keep mean the candidate itself, the others its alias.
type lot struct {
	keep  uint64 // of 1<<32
	alias uint32
}

// lots builds the table, in one pass over the candidates.
func lots(candidates []candidate) []lot {
	n := len(candidates)
	var sum uint64
	for _, c := range candidates {
		sum += uint64(c.weight)
	}
	table, share := make([]lot, n), make([]uint64, n)
	var small, large []uint32 // of the average, or less; more
	for i, c := range candidates {
		if share[i] = uint64(c.weight) * uint64(n); share[i] < sum {
			small = append(small, uint32(i))
		} else {
			large = append(large, uint32(i))
		}
		table[i] = lot{1 << 32, uint32(i)}
	}
	for len(small) > 0 && len(large) > 0 {
		s, l := small[len(small)-1], large[len(large)-1]
		small = small[:len(small)-1]
		table[s] = lot{uint64(float64(share[s]) / float64(sum) * (1 << 32)), l}
		if share[l] -= sum - share[s]; share[l] < sum {
			large, small = large[:len(large)-1], append(small, l)
		}
	}
	return table
}

// draw gives one candidate, each as often as its weight says.
func (e *epoch) draw() *candidate {
	x := e.table.opts.Rand()
	i := (x >> 32) * uint64(len(e.lots)) >> 32 // multiply and shift: an even draw without a division
	if l := e.lots[i]; x&0xffffffff >= l.keep {
		i = uint64(l.alias)
	}
	return &e.candidates[i]
}

// atRandom draws two candidates by weight, which may be the same one, and takes the less loaded. What is drawn and is not
// good does not count; if neither is, the draw is among what is of the best rank.
func (e *epoch) atRandom(r *asking) *candidate {
	a, b := e.draw(), e.draw()
	if a != b && e.rank(b, r) == rankGood && (e.rank(a, r) != rankGood || e.better(b, a, r)) {
		a = b
	}
	if e.rank(a, r) == rankGood && e.take(a, r) {
		return a
	}
	return e.drawn(r)
}

// drawn draws by weight among the candidates of the best rank, in one pass: the n-th of them replaces the one that was drawn
// before with the probability that its weight has in the sum so far. Losing the race for a last place makes a rank "never",
// so the loop ends.
func (e *epoch) drawn(r *asking) *candidate {
	for {
		var best *candidate
		var sum uint64
		bestRank := rankNever
		for i := range e.candidates {
			c := &e.candidates[i]
			rank := e.rank(c, r)
			if rank == rankNever || rank > bestRank {
				continue
			}
			if rank < bestRank {
				bestRank, sum = rank, 0
			}
			sum += uint64(c.weight)
			if (e.table.opts.Rand()>>32)*sum>>32 < uint64(c.weight) {
				best = c
			}
		}
		if best == nil || e.take(best, r) {
			return best
		}
	}
}
