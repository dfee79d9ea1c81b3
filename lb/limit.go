package lb

import "sync/atomic"

// limit bounds the sessions of one listener.
type limit struct {
	max  int64 // 0 is none
	held atomic.Int64
}

func (m *limit) take() bool {
	for {
		n := m.held.Load()
		if m.max > 0 && n >= m.max {
			return false
		}
		if m.held.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (m *limit) give() { m.held.Add(-1) }
