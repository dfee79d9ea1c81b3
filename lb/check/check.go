// Package check asks peers whether they are alive and what they are, again and again, and tells who wants to know when the
// answer changes.
//
//	hub := check.NewHub()
//	defer hub.Close()
//	w, err := hub.Watch(target, check.Options{Kind: "tcp", Interval: 2 * time.Second, Timeout: time.Second,
//		FastInterval: 500 * time.Millisecond, Fall: 3, Rise: 2, RefusedIsDown: true}, 0, func(s check.State) { ... })
//	defer w.Close()
//
// The model: a probe asks one target with one set of options; a watch listens to a probe. Watches with equal target and
// options share one probe, which lives as long as any of them does. Each probe gives a [Result]; a target's [State]
// follows from its results: being up by fall and rise, all else by the last result that told it. A clock begins the probes
// that are due, those of the last 20 ms together, each in a goroutine of its own; but connections that are all that is
// asked for it makes itself, many at once.
//
// Invariants:
//
//	C1  The first result decides at once. After that a change takes Fall failures or Rise passes in a row; a refused
//	    connection counts as Fall failures if RefusedIsDown.
//	C2  A result that says nothing about the peer (this host ran out of descriptors or source ports) changes no state.
//	C3  A watch is told each change once, in order, and the present state if it joins late, and each answer that it asked for;
//	    never with a lock held. A change is one of Known, Up, Role, Timeline, Full, Draining, Percent, Lagging or Blind.
//	C4  Two probes of one target and options never overlap, and their starts are at least FastInterval apart (less 10 %),
//	    or as far as the timeout makes them.
//	C5  A probe ends politely: it leaves no reset behind where it can be avoided.
//	C6  What a target sends is bounded in bytes and in time, whatever it is, and goes into no state but its own.
//	C7  What is secret is read from its file for each probe, and stands in no result.
//	C8  A role is believed at once, be the target up for long or not: a primary that says it is a replica is one. A result
//	    that tells no role changes none; only being down forgets it.
//
// It does not know pools, sessions or weights, and does not decide what a state means for them.
package check

import (
	"context"
	"net/netip"
	"time"
)

// Result is what one probe found.
type Result struct {
	Alive    bool
	Full     bool          // alive, but it takes no session more at present
	Draining bool          // alive, but it asks for no new sessions
	Percent  int           // of its weight, that it asks for; 0: not told, which is all
	Role     Role          // RoleUnknown: not told
	Lag      time.Duration // of a replica behind its primary
	LagKnown bool
	Timeline uint64        // higher is newer: of two primaries, the later to become one has the higher; 0: not told
	Reason   string        // one of the reasons in reason.go
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
	Percent  int
	Blind    bool // the last result was Local: all else is as it was before
	Last     Result
	Streak   int // results in a row that contradict Up, always too few to change it
}

// probeFunc asks the target once. The context carries the timeout. It fills in all but At, and Latency only if it went
// on after the answer was clear.
type probeFunc func(ctx context.Context, target netip.AddrPort) Result

// kindFunc makes the probes of a kind, one for each target and options, so that they can keep what they need again. The
// error is of options that cannot be.
type kindFunc func(o Options) (probeFunc, error)

var kinds = map[string]kindFunc{
	"tcp":  newTCP,
	"tls":  newTLS,
	"http": newHTTP,

	"send_expect": newSendExpect,
	"dns":         newDNS,
	"exec":        newExec,
	"agent":       newAgent,

	"postgres": newPostgres,
	"mysql":    newMySQL,
	"redis":    newRedis,
}
