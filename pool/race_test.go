package pool

import (
	"net/netip"
	"sync/atomic"
	"testing"
	"time"
)

// A pick is under way on an epoch whose only peer has a place; meanwhile a newer epoch adds a peer and the place is taken.
// At every moment the newest epoch had a peer to give, so the acquire must get one. The clock, which the pick reads for a
// peer that was ejected, is where the test stands in between.
func TestI4PickThatAnEpochOvertookPicksAgain(t *testing.T) {
	for _, policy := range []Policy{LeastConn, RoundRobin} {
		var meanwhile func()
		w := table(t, Options{Slots: 2, Policy: policy, MaxConns: 1, Now: func() time.Time {
			if f := meanwhile; f != nil {
				meanwhile = nil
				f()
			}
			return time.Unix(1000, 0)
		}})
		w.apply(t, members(2))
		for range 3 { // the ejection of peer 0: from now on a pick reads the clock
			l := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(1)}})
			l.Release(OutcomeConnectFailed)
		}
		w.apply(t, members(1))
		meanwhile = func() {
			w.apply(t, members(2))
			l := w.acquire(t, Request{Slot: 1, Exclude: []netip.AddrPort{addr(1)}})
			t.Cleanup(func() { l.Release(OutcomeNeutral) })
		}
		l := w.acquire(t, Request{})
		if l.Peer().Addr() != addr(1) {
			t.Errorf("%v gave %v, expected the peer that was free all the time", policy, l.Peer().Addr())
		}
		l.Release(OutcomeNeutral)
	}
}

// A check may speak after the table is closed, as long as a lease keeps its peer.
func TestHealthDoesNotReopenAClosedTable(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, members(1))
	l := w.acquire(t, Request{})
	w.Close()
	if w.Serves(l.Peer()) {
		t.Error("a closed table serves")
	}
	w.SetHealth(addr(0), HealthDown)
	if _, err := w.Acquire(Request{}); err != ErrClosed {
		t.Errorf("acquire after a word of health: %v", err)
	}
	if _, err := w.Apply(members(2), CauseDNS); err != ErrClosed {
		t.Errorf("apply after a word of health: %v", err)
	}
	l.Release(OutcomeOK)
	eventually(t, "all is freed", func() bool { p, r := w.Counts(); return p == r })
}

// Sessions that began before an ejection and end well in it say nothing about connects that fail now.
func TestOldSessionsDoNotEndAnEjection(t *testing.T) {
	var now atomic.Int64
	now.Store(1e12)
	w := table(t, Options{Slots: 1, Now: func() time.Time { return time.Unix(0, now.Load()) }})
	w.apply(t, members(2))
	only := Request{Exclude: []netip.AddrPort{addr(1)}}
	var old []*Lease
	for range 3 {
		old = append(old, w.acquire(t, only))
	}
	state := func() string { return w.Status().Peers[0].State }
	for i := range 3 {
		old[i].Release(OutcomeOK) // between two failures
		w.acquire(t, only).Release(OutcomeConnectFailed)
	}
	if state() != "ejected" {
		t.Fatalf("after three failed connects in a row, among sessions that end well, the peer is %s", state())
	}
	last := w.acquire(t, only)
	last.Release(OutcomeOK)
	if state() != "ejected" {
		t.Fatal("a session that ended well ended an ejection")
	}
	now.Add(int64(6 * time.Second))
	w.acquire(t, only).Release(OutcomeOK)
	if p := w.Peer(addr(0)); state() != "up" || p.ejections.Load() != 0 {
		t.Errorf("served after the ejection: %s, %d ejections in a row", state(), p.ejections.Load())
	}
}

// A release that ejects must not wait for a writer: it takes part while one holds the writers' lock.
func TestReleaseNeverWaitsForAWriter(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, members(2))
	w.Table.mu.Lock()
	done := make(chan struct{})
	go func() {
		defer close(done)
		for _, o := range []Outcome{OutcomeConnectFailed, OutcomeConnectTimeout, OutcomeConnectFailed, OutcomeResetEarly, OutcomeOK} {
			l, err := w.Acquire(Request{Exclude: []netip.AddrPort{addr(1)}})
			if err != nil {
				t.Error(err)
				return
			}
			l.Release(o)
		}
	}()
	select {
	case <-done:
	case <-time.After(10 * time.Second):
		t.Error("acquire or release waits for a writer")
	}
	w.Table.mu.Unlock()
	<-done
	if s := w.Status().Peers[0].State; s != "ejected" {
		t.Errorf("the peer is %s", s)
	}
}
