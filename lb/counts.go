package lb

import (
	"sync"
	"sync/atomic"
)

// counts counts by a key from a small set: a reason, a server.
type counts[K comparable] struct{ m sync.Map }

// add counts one and returns the sum.
func (c *counts[K]) add(k K) uint64 { return c.addN(k, 1) }

func (c *counts[K]) addN(k K, by uint64) uint64 {
	n, ok := c.m.Load(k)
	if !ok {
		n, _ = c.m.LoadOrStore(k, new(atomic.Uint64))
	}
	return n.(*atomic.Uint64).Add(by)
}

func (c *counts[K]) all() map[K]uint64 {
	out := make(map[K]uint64)
	c.m.Range(func(k, n any) bool {
		out[k.(K)] = n.(*atomic.Uint64).Load()
		return true
	})
	return out
}

// queryKey labels one kind of DNS query.
type queryKey struct{ resolver, server, result string }

// refusedKey labels addresses that did not become peers.
type refusedKey struct{ pool, reason string }
