package pool

import (
	"slices"
	"sync/atomic"
)

const (
	maxTurns = 1 << 14 // longest sequence; larger sums of weights are scaled down, with one turn at least for each
	maxSteps = 1 << 18 // work that the exact construction may take
)

// dealer deals the turns to all slots from one counter, which survives epochs: each turn exactly once. A slot that comes
// back to the counter within calm takes several at once into its hand and plays those first: then the counter's line moves
// from core to core once for all of them. A slot that comes less often has an empty hand, and the order is exact.
type dealer struct {
	turn  counter // the next one
	hands []hand  // by slot
}

const (
	calm    = 10_000 // nanoseconds: a line that moves once in this time costs 1 % of a core
	several = 8
	dealing = 255 // as the number of turns in a hand: someone fills it
)

// hand holds the turns of a slot.
type hand struct {
	turns atomic.Uint64 // the next one, and in the low 8 bits how many there are
	dealt atomic.Int64  // when the slot last came to the counter (Table.clock)
	_     [112]byte
}

// deal takes n turns and returns the first.
func (d *dealer) deal(n int64) uint64 { return uint64(d.turn.n.Add(n) - n) }

// nextTurn plays a turn. It never waits: while another goroutine of the slot fills the hand, a turn comes from the counter.
func (t *Table) nextTurn(r *asking) uint64 {
	switch {
	case r.dry:
		return t.turnAhead(r)
	case len(t.hands) == 1:
		return t.deal(1)
	}
	h := &t.hands[r.Slot]
	for {
		held := h.turns.Load()
		switch held & 255 {
		case dealing:
			return t.deal(1)
		case 0:
			now := t.clock(r.Request)
			if now-h.dealt.Load() > calm {
				h.dealt.Store(now)
				return t.deal(1)
			}
			if h.turns.CompareAndSwap(held, dealing) {
				first := t.deal(several)
				h.dealt.Store(now)
				h.turns.Store((first+1)<<8 | (several - 1))
				return first
			}
		default:
			if h.turns.CompareAndSwap(held, held+1<<8-1) {
				return held >> 8
			}
		}
	}
}

// turnAhead is the turn that nextTurn would play now.
func (t *Table) turnAhead(r *asking) uint64 {
	if held := t.hands[r.Slot].turns.Load(); held&255 != 0 && held&255 != dealing {
		return held >> 8
	}
	return uint64(t.turn.n.Load())
}

// inTurn takes the candidate whose turn it is. If it cannot be taken, the next one that can is, from an offset that moves
// with every round, so that the share of a peer that is out is spread over all others.
func (e *epoch) inTurn(r *asking) *candidate {
	turn := e.table.nextTurn(r)
	n := uint64(len(e.sequence))
	at := int(e.sequence[turn%n])
	c := &e.candidates[at]
	if e.rank(c, r) == rankGood && e.take(c, r) {
		return c
	}
	others := max(len(e.candidates)-1, 1)
	return e.scan(r, (at+1+int(turn/n%uint64(others)))%len(e.candidates))
}

// smooth builds the sequence of turns: each candidate as often as its weight says, its turns spread out.
//
// The exact construction is the known one: each step adds to every candidate its weight, the largest wins and pays the sum.
// For many candidates of different weights, where that would cost too much, turns are placed at even distances
// ((k+1/2)/weight) and sorted.
func smooth(candidates []candidate) []uint32 {
	n := len(candidates)
	if n == 0 {
		return nil
	}
	weights, sum := turns(candidates)
	sequence := make([]uint32, 0, sum)
	if sum == n { // all equal
		for i := range n {
			sequence = append(sequence, uint32(i))
		}
		return sequence
	}
	if n*sum > maxSteps {
		return spread(weights, sum)
	}
	credit := make([]int, n)
	for range sum {
		best := 0
		for i, w := range weights {
			credit[i] += w
			if credit[i] > credit[best] {
				best = i
			}
		}
		credit[best] -= sum
		sequence = append(sequence, uint32(best))
	}
	return sequence
}

// turns reduces the weights by their greatest common divisor and, if the sum is too large, scales them down.
func turns(candidates []candidate) (weights []int, sum int) {
	weights = make([]int, len(candidates))
	divisor := 0
	for i, c := range candidates {
		weights[i] = int(c.weight)
		for a, b := divisor, weights[i]; ; a, b = b, a%b {
			if b == 0 {
				divisor = a
				break
			}
		}
	}
	for i := range weights {
		weights[i] /= divisor
		sum += weights[i]
	}
	if sum > maxTurns && len(weights) < maxTurns {
		all := sum
		sum = 0
		for i, w := range weights {
			weights[i] = max(w*maxTurns/all, 1)
			sum += weights[i]
		}
	}
	return weights, sum
}

// spread sorts turns by where in the round they fall, and among equals by candidate. Both are one number, to sort fast: 40
// bits of the place, which tell any two fractions of weights apart, and 24 bits of the candidate.
func spread(weights []int, sum int) []uint32 {
	places := make([]uint64, 0, sum)
	for i, w := range weights {
		for k := range w {
			places = append(places, uint64((float64(k)+0.5)/float64(w)*(1<<40))<<24|uint64(i))
		}
	}
	slices.Sort(places)
	sequence := make([]uint32, sum)
	for i, place := range places {
		sequence[i] = uint32(place & (1<<24 - 1))
	}
	return sequence
}
