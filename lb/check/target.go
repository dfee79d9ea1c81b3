package check

import (
	"math/rand/v2"
	"time"
)

// target is the rise and fall of one target: a state machine without clock, socket or lock.
type target struct {
	options Options
	state   State
}

// observe takes one result in.
func (t *target) observe(r Result) {
	s := &t.state
	s.Last, s.Blind = r, r.Reason == Local
	switch {
	case r.Reason == Local:
	case !s.Known, r.Alive != s.Up && s.Streak+t.worth(r) >= t.needed(r):
		s.Known, s.Up, s.Since, s.Streak = true, r.Alive, r.At, 0
	case r.Alive == s.Up:
		s.Streak = 0
	default:
		s.Streak++
	}
	switch {
	case !s.Up:
		s.Role, s.Timeline, s.Full, s.Draining, s.Percent = RoleUnknown, 0, false, false, 0
	case r.Alive:
		t.learn(r)
	}
}

// learn takes in what a target that is up says of itself. A full one may be too full to tell its role: it keeps that.
func (t *target) learn(r Result) {
	s := &t.state
	s.Full, s.Draining, s.Percent = r.Full, r.Draining, r.Percent
	if r.Role == RoleUnknown {
		return
	}
	if s.Role != RoleUnknown && s.Role != r.Role {
		s.Since = r.At
	}
	s.Role, s.Timeline = r.Role, r.Timeline
}

// worth is how many results r counts for.
func (t *target) worth(r Result) int {
	if r.Reason == Refused && t.options.RefusedIsDown {
		return t.options.Fall
	}
	return 1
}

// needed is how many results in a row like r change the state.
func (t *target) needed(r Result) int {
	if r.Alive {
		return t.options.Rise
	}
	return t.options.Fall
}

// interval is the time from the last probe's start to the next one's. It counts from start to start so that a silent
// death, which costs a whole timeout for each probe, is still found in Interval + Fall × Timeout.
func (t *target) interval() time.Duration {
	d := t.options.Interval
	if !t.state.Known || t.state.Streak > 0 {
		d = min(d, t.options.FastInterval)
	}
	return time.Duration(float64(d) * (0.9 + 0.2*rand.Float64()))
}
