package pool

import (
	"net/netip"
	"runtime"
	"sync"
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
		w := table(t, Options{Slots: 2, Now: func() time.Time {
			if f := meanwhile; f != nil {
				meanwhile = nil
				f()
			}
			return time.Unix(1000, 0)
		}, Tuning: Tuning{Policy: policy, MaxConns: 1}})
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

// A reader that loaded its epoch just before it was retired and freed undoes its reference and takes the newer one. The
// test holds the table in that moment: the freed epoch is what Acquire loads, until it was seen there.
func TestI1LateReaderLeavesARetiredEpoch(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, members(1))
	old := w.current.Load()
	w.apply(t, members(2)[1:])
	eventually(t, "the old epoch is freed", func() bool { p, r := w.Counts(); return p-r == 1 })
	newest := w.current.Load()
	w.current.Store(old)
	done := make(chan struct{})
	var l Lease
	var err error
	go func() {
		defer close(done)
		l, err = w.Acquire(Request{})
	}()
	eventually(t, "the reader comes to the old epoch", func() bool {
		select {
		case <-done:
			return true
		default:
			return old.refs[0].held() != 0
		}
	})
	w.current.Store(newest)
	<-done
	if err != nil || l.epoch != newest || l.Peer().Addr() != addr(1) {
		t.Fatalf("%v on a freed epoch", err)
	}
	l.Release(OutcomeNeutral)
	if n := old.refs[0].held(); n != 0 {
		t.Errorf("the freed epoch is left with %d references", n)
	}
}

// While the ejection of one peer is being decided, the other one fails as well: one of the two stays.
func TestTwoPeersAreNotEjectedForEachOthersSake(t *testing.T) {
	var meanwhile atomic.Pointer[func()]
	w := table(t, Options{Slots: 2, Ejection: Ejection{Fails: 1}, Rand: func() uint64 {
		if f := meanwhile.Swap(nil); f != nil {
			(*f)()
		}
		return 1 << 63
	}})
	w.apply(t, members(2))
	first := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(1)}})
	second := w.acquire(t, Request{Slot: 1, Exclude: []netip.AddrPort{addr(0)}})
	done := make(chan struct{})
	f := func() {
		go func() {
			defer close(done)
			second.Release(OutcomeConnectFailed)
		}()
		select { // it waits for us, so we cannot wait for it: time only lets a wrong one pass
		case <-done:
		case <-time.After(100 * time.Millisecond):
		}
	}
	meanwhile.Store(&f)
	first.Release(OutcomeConnectFailed)
	<-done
	if s := w.Status(); s.Peers[0].State != "ejected" || s.Peers[1].State != "up" {
		t.Errorf("the peers are %s and %s, expected ejected and up", s.Peers[0].State, s.Peers[1].State)
	}
}

// Two that take the last place at the same moment, again and again: one gets it.
func TestI7LimitIsExactUnderContention(t *testing.T) {
	var c tally
	var arrived, holders atomic.Int64
	var last atomic.Bool
	begin := time.Now()
	var wg sync.WaitGroup
	for who := range 2 {
		wg.Go(func() {
			step := int64(0)
			meet := func() {
				step += 2
				arrived.Add(1)
				for spins := 0; arrived.Load() < step; spins++ {
					if spins > 1000 { // the other one has no processor
						runtime.Gosched()
					}
				}
			}
			for round := 0; !last.Load(); round++ {
				meet()
				got := c.take(1)
				if got {
					holders.Add(1)
				}
				if who == 0 && (round == 300_000 || round%1000 == 0 && time.Since(begin) > 2*time.Second) {
					last.Store(true)
				}
				meet()
				if n := holders.Load(); n != 1 && who == 0 {
					t.Errorf("round %d: %d leases under a limit of one", round, n)
					last.Store(true)
				}
				meet()
				if got {
					c.give()
					holders.Add(-1)
				}
			}
		})
	}
	wg.Wait()
}

// OnGone may ask the table.
func TestOnGoneHoldsNoLock(t *testing.T) {
	r := NewReclaimer()
	defer r.Close()
	var tb *Table
	found := make(chan *Peer, 1)
	tb = New(Options{OnGone: func(p *Peer) { found <- tb.Peer(p.Addr()) }}, r)
	tb.Apply(members(1), CauseDNS)
	tb.Close()
	select {
	case p := <-found:
		if p != nil {
			t.Error("a peer that ended is still known")
		}
	case <-time.After(10 * time.Second):
		panic("OnGone waits for a lock of the table") // the table cannot be closed any more
	}
}
