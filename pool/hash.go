package pool

import (
	"cmp"
	"math/bits"
	"net/netip"
	"slices"
)

// Key is what hash goes by: requests of one key go to one peer, as long as that can be picked.
type Key uint64

// KeyOf makes a key of an address and a port. It is the same in every process, on every machine.
func KeyOf(addr netip.Addr, port uint16) Key {
	b := addr.Unmap().As16()
	return Key(mix(mix(word(b[:8])) ^ word(b[8:]) + uint64(port)<<48))
}

// KeyOfName makes a key of a name. It is the same in every process, on every machine.
func KeyOfName(name string) Key {
	h := uint64(14695981039346656037) // FNV-1a
	for i := range len(name) {
		h = (h ^ uint64(name[i])) * 1099511628211
	}
	return Key(mix(h))
}

func word(b []byte) (w uint64) {
	for _, c := range b {
		w = w<<8 | uint64(c)
	}
	return w
}

// mix turns every bit of x into a change of half the bits of the result: the finalizer of splitmix64.
func mix(x uint64) uint64 {
	x += 0x9e3779b97f4a7c15
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// draw is the number that a candidate draws for a key. Both are mixed already, so it takes one product of words that are the
// candidate's own, folded so that every bit of the key counts: cheaper than another mix.
func draw(key Key, seed uint64) uint64 {
	hi, lo := bits.Mul64(uint64(key)^seed, bits.RotateLeft64(seed, 32)|1)
	return hi ^ lo
}

// hashed takes the candidate of the best rank that wins the rendezvous over the key: each candidate draws a number from key
// and address alone, and -log(number)/weight is the smallest for the winner. So who wins depends on nothing but the set; who
// leaves loses only what was his, and who is passed over for now loses that only for now. Candidates of equal weight are
// compared by their numbers, and only the best of each weight by logarithms. Among many candidates a table says who wins.
func (e *epoch) hashed(r *asking) *candidate {
	if e.bounded != 0 {
		e.bound(r)
	}
	if e.places != nil {
		if c := e.lookedUp(r); c != nil {
			return c
		}
	}
	plain := e.plain(r) && e.bounded == 0
	if plain && e.weights == 1 {
		c := e.winner(r.Key)
		c.takeFreely(r)
		return c
	}
	for {
		var best, first *candidate // of all weights; of one
		var bestCost, number uint64
		bestRank, firstRank := rankNever, rankNever
		for at, i := range e.sequence {
			c := &e.candidates[i]
			rank := rankGood
			if !plain {
				rank = e.rank(c, r)
			}
			if n := draw(r.Key, e.seeds[at]); rank < firstRank || rank == firstRank && rank < rankNever && n > number {
				first, firstRank, number = c, rank, n
			}
			if at+1 < len(e.sequence) && e.candidates[e.sequence[at+1]].weight == c.weight || first == nil {
				continue
			}
			if firstRank <= bestRank {
				var cost uint64
				if e.weights > 1 {
					cost = logCost(number)
				}
				if firstRank < bestRank || cheaper(cost, first.weight, bestCost, best.weight) {
					best, bestRank, bestCost = first, firstRank, cost
				}
			}
			first, firstRank, number = nil, rankNever, 0
		}
		if best == nil || e.take(best, r) {
			return best
		}
	}
}

// winner is hashed's choice where every candidate is good and all weigh the same.
func (e *epoch) winner(key Key) *candidate {
	const index = rendezvousLimit - 1
	var best uint64
	for i, seed := range e.seeds {
		best = max(best, draw(key, seed)&^index|uint64(i)) // without a branch, which would be guessed wrong
	}
	return &e.candidates[best&index] // where all weigh the same, the sequence is theirs
}

// cheaper compares a/wa with b/wb.
func cheaper(a uint64, wa int64, b uint64, wb int64) bool {
	ahi, alo := bits.Mul64(a, uint64(wb))
	bhi, blo := bits.Mul64(b, uint64(wa))
	return ahi < bhi || ahi == bhi && alo < blo
}

// logCost is -log2(n/2^64) in units of 2^-40. It is made of whole numbers, for those of floating point differ in their last
// bit between processors, and instances must agree.
func logCost(n uint64) uint64 {
	const places = 40
	if n == 0 {
		return 65 << places
	}
	zeros := bits.LeadingZeros64(n)
	m := n << zeros // from 1 to 2, with 63 bits after the point
	var fraction uint64
	for range places {
		hi, lo := bits.Mul64(m, m)
		fraction <<= 1
		if hi>>63 != 0 { // the square is 2 or more
			fraction |= 1
			m = hi
		} else {
			m = hi<<1 | lo>>63
		}
	}
	return uint64(zeros+1)<<places - fraction
}

// byWeight lists candidates with equal weights side by side, with the seeds of their addresses, and counts the weights.
func byWeight(candidates []candidate) (order []uint32, seeds []uint64, weights int) {
	order = inOrder(len(candidates))
	slices.SortStableFunc(order, func(a, b uint32) int { return cmp.Compare(candidates[a].weight, candidates[b].weight) })
	seeds = make([]uint64, len(order))
	for i, at := range order {
		seeds[i] = candidates[at].peer.seed
		if i == 0 || candidates[at].weight != candidates[order[i-1]].weight {
			weights++
		}
	}
	return order, seeds, weights
}

func inOrder(n int) []uint32 {
	order := make([]uint32, n)
	for i := range order {
		order[i] = uint32(i)
	}
	return order
}
