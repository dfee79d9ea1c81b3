package dnswatch

import (
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = time.Second
	backoffMax   = 30 * time.Second
	startFails   = 80 // failures of a name without any answer before its back-off begins
	jitterMax    = 5 * time.Second
)

func (w Watch) withDefaults() Watch {
	if w.MinRefresh <= 0 {
		w.MinRefresh = time.Second
	}
	if w.MaxRefresh <= 0 {
		w.MaxRefresh = 5 * time.Minute
	}
	w.MaxRefresh = max(w.MaxRefresh, w.MinRefresh)
	return w
}

// Interval is how long a watch waits after an answer until the name is asked for again: at least, at most. In between it
// is drawn at random, so that names that were asked for together drift apart.
func (w Watch) Interval(a Answer) (least, most time.Duration) {
	w = w.withDefaults()
	var d time.Duration
	switch {
	case a.Kind == KindFailure:
		n := max(a.Streak, 1)
		if a.Unanswered {
			if n <= startFails { // nobody is served yet: within a second of DNS coming up, somebody is
				return backoffFirst * 6 / 10, backoffFirst * 8 / 10
			}
			n -= startFails
		}
		back := backoffMax
		if n < 6 {
			back = min(backoffFirst<<(n-1), backoffMax)
		}
		return max(back*8/10, w.MinRefresh), max(back*12/10, w.MinRefresh)
	case a.Local:
		return a.TTL, a.TTL
	case a.Kind != KindOK:
		d = max(min(a.TTL, maxNegative), w.MinRefresh)
	case w.Refresh > 0:
		d = w.Refresh
	default:
		d = min(max(a.TTL, w.MinRefresh), w.MaxRefresh)
	}
	return d, d + min(d/10, jitterMax)
}

// interval draws one. Where many names may have been asked for at the same moment, at the start or after a change that
// concerns all, it is drawn from a tenth to the whole.
func (w Watch) interval(a Answer, burst bool) time.Duration {
	least, most := w.Interval(a)
	if burst && a.Kind == KindOK && !a.Local {
		least, most = least/10, least
	}
	return least + time.Duration(rand.Float64()*float64(most-least))
}
