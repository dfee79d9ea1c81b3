package lb

import "sync/atomic"

// limit bounds the sessions of one listener.
type limit struct {
	max  atomic.Int64 // 0 is none
	held atomic.Int64
}

func newLimit(most int) *limit {
	m := new(limit)
	m.max.Store(int64(most))
	return m
}

func (m *limit) take() bool {
	for {
		n, most := m.held.Load(), m.max.Load()
		if most > 0 && n >= most {
			return false
		}
		if m.held.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (m *limit) full() bool {
	most := m.max.Load()
	return most > 0 && m.held.Load() >= most
}

func (m *limit) give() { m.held.Add(-1) }
