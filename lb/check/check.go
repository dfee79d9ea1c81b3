// Package check asks peers whether they are alive and what they are, again and again, and tells who wants to know when the
// answer changes.
//
//	hub := check.NewHub()
//	defer hub.Close()
//	w, err := hub.Watch(target, check.Options{Kind: "tcp", Interval: 2 * time.Second, Timeout: time.Second,
//		FastInterval: 500 * time.Millisecond, Fall: 3, Rise: 2, RefusedIsDown: true}, 0, func(s check.State) { ... })
//	defer w.Close()
//
// The model: a probe asks one target with one set of options, in its own goroutine; a watch listens to a probe. Watches
// with equal target and options share one probe, which lives as long as any of them does. Each probe gives a [Result]; a
// target's [State] follows from its results: being up by fall and rise, all else by the last result that told it.
//
// Invariants:
//
//	C1  The first result decides at once. After that a change takes Fall failures or Rise passes in a row; a refused
//	    connection counts as Fall failures if RefusedIsDown.
//	C2  A result that says nothing about the peer (this host ran out of descriptors or source ports) changes no state.
//	C3  A watch is told each change once, in order, and the present state if it joins late; never with a lock held. A change
//	    is one of Up, Role, Timeline, Full, Draining, Percent, or Lagging.
//	C4  Two probes of one target and options never overlap, and their starts are at least FastInterval apart (less 10 %),
//	    or as far as the timeout makes them.
//	C5  A probe ends politely: it leaves no reset behind where it can be avoided.
//	C6  A role is believed at once, be the target up for long or not: a primary that says it is a replica is one. A result
//	    that tells no role changes none; only being down forgets it.
//
// It does not know pools, sessions or weights, and does not decide what a state means for them.
package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"time"
)

// Options say how to probe. Options are comparable: equal options on one target share a probe.
type Options struct {
	Kind          string        // what to speak: "tcp"
	Interval      time.Duration // from the start of one probe to the start of the next, ±10 %
	Timeout       time.Duration // for one probe
	FastInterval  time.Duration // replaces Interval while the state is unknown or about to change, if shorter
	Fall          int           // failures in a row that make an up target down, at least 1
	Rise          int           // passes in a row that make a down target up, at least 1
	RefusedIsDown bool          // a refused connection counts as Fall failures
}

func (o Options) validate(kinds map[string]probeFunc) error {
	var errs []error
	if kinds[o.Kind] == nil {
		errs = append(errs, fmt.Errorf("kind %q: unknown", o.Kind))
	}
	for _, d := range []struct {
		name  string
		value time.Duration
	}{{"interval", o.Interval}, {"timeout", o.Timeout}, {"fast interval", o.FastInterval}} {
		if d.value <= 0 {
			errs = append(errs, fmt.Errorf("%s %v: must be above zero", d.name, d.value))
		}
	}
	if o.Fall < 1 {
		errs = append(errs, fmt.Errorf("fall %d: must be at least 1", o.Fall))
	}
	if o.Rise < 1 {
		errs = append(errs, fmt.Errorf("rise %d: must be at least 1", o.Rise))
	}
	return errors.Join(errs...)
}

// Reasons of a [Result].
const (
	OK          = "ok"
	Refused     = "refused"
	Timeout     = "timeout"
	Unreachable = "unreachable"
	Error       = "error" // anything else; Detail has it
	Local       = "local" // this host could not try; says nothing about the peer
)

// Result is what one probe found.
type Result struct {
	Alive    bool
	Full     bool          // alive, but it takes no session more at present
	Draining bool          // alive, but it asks for no new sessions
	Role     Role          // RoleUnknown: not told
	Lag      time.Duration // of a replica behind its primary
	LagKnown bool
	Timeline uint64        // higher is newer: of two primaries, the later to become one has the higher; 0: not told
	Percent  int           // of its configured weight that the peer asks for, 0 is none; meaningful if Weighed
	Weighed  bool          // Percent was told
	Reason   string        // one of the reasons above
	Detail   string        // for people: the error; mostly empty when alive
	Latency  time.Duration // until the answer was clear
	At       time.Time     // when the probe ended
}

// State is what the results so far amount to.
type State struct {
	Up       bool      // false while not Known
	Known    bool      // at least one result said something
	Since    time.Time // when Up, Known or Role last changed; zero while not Known
	Role     Role      // as last told since it is up; RoleUnknown while not Up
	Timeline uint64    // told with Role
	Lagging  bool      // a replica further behind than the watch allows, or that cannot say how far
	Full     bool      // as in Result, of the last result while Up
	Draining bool
	Percent  int // 100 unless told otherwise
	Last     Result
	Streak   int // results in a row that contradict Up, always too few to change it
}

// probeFunc asks the target once. The context carries the timeout. It fills in all but At, and Latency only if it went
// on after the answer was clear.
type probeFunc func(ctx context.Context, target netip.AddrPort) Result
