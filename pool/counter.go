package pool

import "sync/atomic"

// counter is a count with a pair of cache lines to itself (64-byte lines that the prefetcher fetches in pairs).
type counter struct {
	n atomic.Int64
	_ [120]byte
}

// counters is a count spread over slots: each slot is written by its own loop.
type counters []counter

// sum adds the slots up. While others count it is an estimate; at rest it is exact.
func (c counters) sum() int64 {
	var s int64
	for i := range c {
		s += c[i].n.Load()
	}
	return s
}
