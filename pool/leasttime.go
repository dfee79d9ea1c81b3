package pool

import (
	"math"
	"math/bits"
	"sync/atomic"
	"time"
)

// What a peer's connects take is averaged over time, and what was long ago counts for less: a mean that nothing has been added
// to for a halfLife counts half. So a peer that was slow, and is given nothing, is tried again after some halfLives; and one
// that has just failed to be quick is known at once to be slow, for the next value has a weight of minGain at least.
const (
	halfLife = 10 * time.Second
	minGain  = 0.125
)

// pace is the mean of what connects to a peer took. Its two words are written one after the other: who reads between them
// gets an estimate that is a little older.
type pace struct {
	mean atomic.Int64 // microseconds, at least 1; 0: nothing is known
	at   atomic.Int64 // when the last value came (Table.clock)
}

// took adds a value.
func (p *pace) took(d time.Duration, now int64) {
	value := max(d.Microseconds(), 1)
	if old := p.mean.Load(); old != 0 {
		gain := max(minGain, 1-math.Exp2(-float64(now-p.at.Load())/float64(halfLife)))
		value = max(old+int64(gain*float64(value-old)), 1)
	}
	p.mean.Store(value)
	p.at.Store(now)
}

// took adds a value to what connects take, which a slot knows at once.
func (p *Peer) took(d time.Duration, tally int, now int64) {
	p.pace.took(d, now)
	p.tallies[tally].mean.Store(min(p.pace.faded(now), maxMean))
}

// faded is the mean as it counts now; 0 if nothing is known.
func (p *pace) faded(now int64) int64 {
	mean := p.mean.Load()
	if mean == 0 {
		return 0
	}
	parts, _ := bits.Mul64(uint64(max(now-p.at.Load(), 0)), perAge)
	mean >>= min(parts>>10, 62)
	return max(mean-mean*int64(parts&1023)>>11, 1) // straight between two halfLives
}

// perAge makes parts of a halfLife, 1024 of them, of nanoseconds, by one product whose upper half counts.
const perAge = (1<<63/uint64(halfLife) + 1) << 11

// quickest is the shortest mean among the candidates, or 1 if none is known. It is what a candidate counts with of which
// nothing is known: that is tried soon, and does not get everything meanwhile.
func (e *epoch) quickest(now int64) int64 {
	quickest := int64(math.MaxInt64)
	for i := range e.candidates {
		if mean := e.candidates[i].peer.pace.faded(now); mean != 0 {
			quickest = min(quickest, mean)
		}
	}
	if quickest == math.MaxInt64 {
		return 1
	}
	return quickest
}

// cheapest is leastLoaded's choice for least_time where every candidate is good, in one pass: the cheapest of those of which
// something is known, or the least loaded of the others, which counts with the quickest. What is known is as old as what the slot
// knows of the sessions of others.
func (e *epoch) cheapest(r *asking, start int) *candidate {
	var known, other *candidate
	var cost, load int64
	for half := range 2 { // from start to the end, then up to start
		candidates := e.candidates[start:]
		if half == 1 {
			candidates = e.candidates[:start]
		}
		for i := range candidates {
			c := &candidates[i]
			n := c.load(r.tally)
			switch mean := c.tallies[r.tally].mean.Load(); {
			case mean == 0:
				if other == nil || n*other.weight < load*c.weight {
					other, load = c, n
				}
			case known == nil || n*mean*known.weight < cost*c.weight:
				known, cost = c, n*mean
			}
		}
	}
	if known == nil || other != nil && load*min(e.quickest(int64(r.Now)), maxMean)*known.weight < cost*other.weight {
		return other
	}
	return known
}

// cost is what leastconn and least_time compare, before weights: the load, times what a connect takes where that counts.
func (e *epoch) cost(c *candidate, r *asking) int64 {
	load := c.load(r.tally)
	if e.policy != LeastTime {
		return load
	}
	mean := c.peer.pace.faded(int64(r.Now))
	if mean == 0 {
		mean = r.quickest
	}
	return load * min(mean, maxMean)
}

// maxMean is the largest mean that is told from larger ones, about 67 s: with 2^20 sessions and the largest weight a product
// of cost and weight still fits.
const maxMean = 1 << 26
