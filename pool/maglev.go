package pool

import "math/bits"

// Above rendezvousLimit candidates hash looks into a table instead of drawing for each of them.
const rendezvousLimit = 256

// tableSizes are primes: the table has at least 64 places for each candidate, so that a share is right within 2 %.
var tableSizes = [...]uint64{16411, 32771, 65537, 131101, 262147, 524309, 1048583, 2097169, 4194319}

// maxProbes is how often hash looks into the table again, with the key mixed once more each time, when the candidate that it
// finds there is not good. After that it draws for all of them.
const maxProbes = 8

// maglev fills a table of lookups as Maglev does (Eisenbud et al., NSDI 2016, section 3.4): the candidates take places in turn,
// each the next free one of a walk of its own that depends on its address and the size alone. So the table is the same
// wherever the set is. A candidate of half the largest weight takes a place in every second round.
func maglev(candidates []candidate, heaviest int64) []uint32 {
	size := tableSizes[len(tableSizes)-1]
	for _, s := range tableSizes {
		if s >= 64*uint64(len(candidates)) {
			size = s
			break
		}
	}
	type walk struct {
		at, step uint64
		share    int64 // of heaviest, carried from round to round
	}
	walks := make([]walk, len(candidates))
	for i, c := range candidates {
		a := mix(c.peer.seed)
		walks[i] = walk{at: a % size, step: 1 + mix(a)%(size-1)}
	}
	const free = ^uint32(0)
	table := make([]uint32, size)
	for i := range table {
		table[i] = free
	}
	for left := size; ; {
		for i := range walks {
			w := &walks[i]
			if w.share += candidates[i].weight; w.share < heaviest {
				continue
			}
			w.share -= heaviest
			for table[w.at] != free {
				if w.at += w.step; w.at >= size {
					w.at -= size
				}
			}
			table[w.at] = uint32(i)
			if left--; left == 0 {
				return table
			}
		}
	}
}

// lookedUp takes the candidate that the table has for the key, or for what further mixing makes of it, if it is good.
func (e *epoch) lookedUp(r *asking) *candidate {
	x := uint64(r.Key)
	for range maxProbes {
		x = mix(x)
		at, _ := bits.Mul64(x, uint64(len(e.places)))
		c := &e.candidates[e.places[at]]
		if e.rank(c, r) == rankGood && e.take(c, r) {
			return c
		}
	}
	return nil
}
