package gate

import (
	"sync/atomic"
	"time"
)

// Rate lets so many in a second, and as many at once. The zero value has let nobody in yet. All methods may be called by any
// goroutine.
type Rate struct {
	due atomic.Int64 // from when on it owes nothing for those that it has let in, since began
}

var began = time.Now()

// Take lets one more in, if that keeps to a rate from 1 to 1e9; 0 is no limit.
func (r *Rate) Take(rate int) bool { return rate == 0 || r.take(rate, time.Since(began)) }

// Ask says what Take would say, and lets nobody in.
func (r *Rate) Ask(rate int) bool {
	if rate == 0 {
		return true
	}
	_, ok := after(time.Duration(r.due.Load()), time.Since(began), rate)
	return ok
}

func (r *Rate) take(rate int, now time.Duration) bool {
	for {
		was := r.due.Load()
		due, ok := after(time.Duration(was), now, rate)
		if !ok {
			return false
		}
		if r.due.CompareAndSwap(was, int64(due)) {
			return true
		}
	}
}

// after says when who owes nothing from due on does so again after one more, and whether there may be one more now.
func after(due, now time.Duration, rate int) (time.Duration, bool) {
	due = max(due, now) + time.Second/time.Duration(rate)
	return due, due <= now+time.Second
}
