package pool

import (
	"math"
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

// faded is the mean as it counts now; 0 if nothing is known.
func (p *pace) faded(now int64) int64 {
	mean := p.mean.Load()
	if mean == 0 {
		return 0
	}
	age := max(now-p.at.Load(), 0)
	mean >>= min(age/int64(halfLife), 62)
	return max(mean-mean*(age%int64(halfLife)/int64(time.Millisecond))/(2*int64(halfLife/time.Millisecond)), 1)
}

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
