package pool

import "sync/atomic"

// counter is a count with a pair of cache lines to itself (64-byte lines that the prefetcher fetches in pairs).
type counter struct {
	n atomic.Int64
	_ [120]byte
}

// tally counts leases of a peer: those of one slot, or of all. What has started and what has ended only rise, so that one
// write begins a lease and one ends it.
type tally struct {
	started atomic.Int64 // ever given
	ended   atomic.Int64 // of those, given back
	others  atomic.Int64 // what the other slots had when this one last looked
	looked  atomic.Int64 // when that was (Table.clock)
	mean    atomic.Int64 // least_time: pace.faded then, at most maxMean, or when a lease of this slot last told how long its connect took
	_       [88]byte
}

// active reads what has ended first: what starts and ends meanwhile counts as active, and the result is never negative.
func (c *tally) active() int64 {
	ended := c.ended.Load()
	return c.started.Load() - ended
}

// full says whether the limit is reached. It reads what has started first: then, if it says so, there was such a moment.
func (c *tally) full(limit int32) bool {
	if limit == 0 {
		return false
	}
	started := c.started.Load()
	return started-c.ended.Load() >= int64(limit)
}

// take adds a lease, unless the limit forbids it. The limit holds exactly: if the swap succeeds, nothing has started
// since, and what has ended since only lowers the number.
func (c *tally) take(limit int32) bool {
	if limit == 0 {
		c.started.Add(1)
		return true
	}
	for {
		started := c.started.Load()
		if started-c.ended.Load() >= int64(limit) {
			return false
		}
		if c.started.CompareAndSwap(started, started+1) {
			return true
		}
	}
}

// give takes a lease back.
func (c *tally) give() {
	if c.ended.Add(1) > c.started.Load() {
		panic("pool: peer has fewer than zero leases")
	}
}
