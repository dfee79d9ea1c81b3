package main

import (
	"strconv"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
)

// topSample is one look at a running ebb.
type topSample struct {
	admin.Status
	conns   []admin.Conn
	matched int // sessions, listed or not
	at      time.Time
}

func (s *topSample) state() string {
	switch {
	case s.Stopping:
		return "stopping"
	case !s.Ready:
		return "not-ready"
	}
	return "ready"
}

// topTotals are sums over all of it.
type topTotals struct {
	active, waiting           int64
	selectable, peers, epochs int
	total                     uint64
	in, out                   int64
}

func (s *topSample) totals() (t topTotals) {
	for _, l := range s.Listeners {
		t.active += l.Active
		t.total += l.Total
		t.in, t.out = t.in+l.In, t.out+l.Out
	}
	for _, p := range s.Pools {
		t.waiting += p.Waiting
		t.selectable += p.Selectable
		t.peers += len(p.Peers)
		t.epochs += len(p.Epochs)
	}
	return t
}

// topRates are per second.
type topRates struct{ sessions, in, out float64 }

// since says how fast things went from one look to the next.
func (s *topSample) since(before *topSample) topRates {
	now, was := s.totals(), before.totals()
	return topRates{
		sessions: s.rate(before, float64(now.total), float64(was.total)),
		in:       s.rate(before, float64(now.in), float64(was.in)), out: s.rate(before, float64(now.out), float64(was.out)),
	}
}

// rate is how fast a count grew. Where ebb was started again, or a part of it has gone, counts fall: nothing is known then.
func (s *topSample) rate(before *topSample, now, was float64) float64 {
	took := s.at.Sub(before.at).Seconds()
	if before.PID != s.PID || now < was || took <= 0 {
		return 0
	}
	return (now - was) / took
}

// perSecond has one digit after the point where that says something.
func perSecond(f float64) string {
	if f >= 100 || f == 0 {
		return strconv.FormatFloat(f, 'f', 0, 64)
	}
	return strconv.FormatFloat(f, 'f', 1, 64)
}
