//go:build linux && (amd64 || arm64)

package engine

import "sync/atomic"

// Stats counts what an engine does. One goroutine writes; any may read.
type Stats struct {
	Turns       atomic.Uint64 // calls that looked for events
	Waits       atomic.Uint64 // of them, those that were ready to sleep
	Completions atomic.Uint64
	Stale       atomic.Uint64 // completions for a record that has a new generation
	Cancels     atomic.Uint64 // receives stopped for want of room, or at the end
	Missed      atomic.Uint64 // cancels that found nothing to cancel
	Retries     atomic.Uint64 // operations that the kernel gave back undone
	NoBuffers   atomic.Uint64 // receives that ended because no buffer was left
	Spliced     atomic.Uint64 // bytes that were moved without being copied
	Paused      atomic.Uint64 // streams that were left alone, because the sink had not taken what was there
	Resumed     atomic.Uint64 // of them, those of which the sink has taken it, or that have ended
	Overflows   atomic.Uint64 // turns that found the completion queue full
}

// Pause counts a stream that is left alone from now on, and Resume that it is not any more.
func (s *Stats) Pause()  { count(&s.Paused, 1) }
func (s *Stats) Resume() { count(&s.Resumed, 1) }

// count adds n. There is a single writer, so no read-modify-write is needed.
func count(c *atomic.Uint64, n int) { c.Store(c.Load() + uint64(n)) }
