package dnswatch

import (
	"math/rand/v2"
	"time"
)

const (
	backoffFirst = time.Second
	backoffMax   = 30 * time.Second
	jitterMax    = 5 * time.Second
)

// interval is how long a watch waits after an answer until the name is asked for again.
func (w Watch) interval(a Answer) time.Duration {
	switch {
	case a.Kind == KindFailure:
		d := backoffMax
		if a.Streak < 6 {
			d = min(backoffFirst<<(a.Streak-1), backoffMax)
		}
		return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
	case a.Local:
		return a.TTL
	case a.Kind != KindOK:
		return later(min(max(a.TTL, w.MinRefresh), maxNegative, w.MaxRefresh))
	case w.Refresh > 0:
		return a.spread(w.Refresh)
	}
	return a.spread(min(max(a.TTL, w.MinRefresh), w.MaxRefresh))
}

// spread adds jitter. The first interval is drawn from a tenth to the whole, for many names are first asked for at
// the same moment.
func (a Answer) spread(d time.Duration) time.Duration {
	if a.Serial == 1 && a.Streak == 1 {
		return d - time.Duration(0.9*rand.Float64()*float64(d))
	}
	return later(d)
}

// later adds up to 10 %, at most 5 s, so that names that were asked for together drift apart.
func later(d time.Duration) time.Duration {
	return d + time.Duration(rand.Float64()*float64(min(d/10, jitterMax)))
}
