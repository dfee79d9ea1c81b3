package pool

import (
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
)

func TestI1NoPeerIsUsedAfterItEnded(t *testing.T) {
	w := table(t, Options{Slots: 2})
	w.apply(t, members(1))
	l := w.acquire(t, Request{Slot: 1})
	p := l.Peer()
	for i := 1; i < 20; i++ {
		w.apply(t, members(i + 1)[i:]) // always another single peer
	}
	eventually(t, "the other epochs are freed", func() bool { p, r := w.Counts(); return p-r == 2 })
	if w.endings(p) != 0 || w.Peer(p.Addr()) != p {
		t.Fatal("a peer ended while a lease holds it")
	}
	l.Release(OutcomeOK)
	eventually(t, "the peer ends", func() bool { return w.endings(p) == 1 })
	if w.Peer(p.Addr()) != nil {
		t.Error("an ended peer is still in the table")
	}
}

func TestI2AtRestEveryRetiredEpochIsFreed(t *testing.T) {
	w := table(t, Options{Slots: 4})
	var wg sync.WaitGroup
	for slot := range 4 {
		wg.Go(func() {
			for range 2000 {
				if l, err := w.Acquire(Request{Slot: slot}); err == nil {
					l.Release(OutcomeOK)
				}
			}
		})
	}
	for i := range 500 {
		w.apply(t, members(1+i%5))
	}
	wg.Wait()
	eventually(t, "only the current epoch is left", func() bool { p, r := w.Counts(); return p-r == 1 })
	s := w.Status()
	if len(s.Epochs) != 1 || s.Epochs[0].Sessions != 0 || s.Epochs[0].Retired {
		t.Errorf("at rest: %+v", s.Epochs)
	}
}

func TestI3EachEpochIsFreedOnceAndEachPeerEndsOnce(t *testing.T) {
	w := table(t, Options{Slots: 2})
	for i := range 200 {
		w.apply(t, members(1+i%3))
		l := w.acquire(t, Request{Slot: i % 2})
		w.apply(t, members(4)[3:])
		l.Release(OutcomeOK)
	}
	w.Close()
	eventually(t, "all is freed", func() bool { p, r := w.Counts(); return p == r })
	eventually(t, "every peer ends", func() bool { w.mu.Lock(); defer w.mu.Unlock(); return len(w.ended) > 0 && w.Peer(addr(3)) == nil })
	w.mu.Lock()
	defer w.mu.Unlock()
	for p, n := range w.ended {
		if n != 1 {
			t.Errorf("%v ended %d times", p.Addr(), n)
		}
	}
	if p, r := w.Counts(); r > p {
		t.Errorf("%d epochs, %d freed", p, r)
	}
}

func TestI4AcquireFailsOnlyWithoutPeers(t *testing.T) {
	w := table(t, Options{Slots: 4})
	w.apply(t, members(1))
	var wg sync.WaitGroup
	var stop atomic.Bool
	for slot := range 4 {
		wg.Go(func() {
			for !stop.Load() {
				l, err := w.Acquire(Request{Slot: slot})
				if err != nil {
					t.Errorf("acquire failed although every epoch has a peer: %v", err)
					return
				}
				l.Release(OutcomeOK)
			}
		})
	}
	for i := range 3000 {
		w.apply(t, members(2 + i%4)[1+i%4:])
	}
	stop.Store(true)
	wg.Wait()
}

// An acquire that finds its epoch retired must find a newer one: the writer publishes first. The reader stands between
// the two steps of the writer.
func TestI5PublishBeforeRetire(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, members(1))
	var wg sync.WaitGroup
	var stop atomic.Bool
	wg.Go(func() {
		for !stop.Load() {
			e := w.current.Load()
			if e.retired.Load() && w.current.Load() == e {
				t.Error("the current epoch is retired")
				return
			}
		}
	})
	for i := range 20000 {
		w.apply(t, members(1+i%2))
	}
	stop.Store(true)
	wg.Wait()
}

func TestI6ActiveEqualsLeases(t *testing.T) {
	w := table(t, Options{Slots: 3, Tuning: Tuning{Policy: RoundRobin}})
	w.apply(t, members(2))
	var held []*Lease
	for i := range 30 {
		held = append(held, w.acquire(t, Request{Slot: i % 3}))
		w.apply(t, members(2, 1+i, 1))
		w.apply(t, members(2))
	}
	p := w.Peer(addr(0))
	q := w.Peer(addr(1))
	if p.Active()+q.Active() != 30 || p.Total()+q.Total() != 30 {
		t.Fatalf("30 leases: active %d + %d", p.Active(), q.Active())
	}
	for i, l := range held {
		l.Release(Outcome(i % 5))
		if got := p.Active() + q.Active(); got != int64(29-i) {
			t.Fatalf("after release %d: active %d, expected %d", i, got, 29-i)
		}
	}
	if p.Active() != 0 || q.Active() != 0 {
		t.Errorf("at rest: %d and %d", p.Active(), q.Active())
	}
}

func TestI6SecondReleasePanics(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, members(1))
	l := w.acquire(t, Request{})
	other := w.acquire(t, Request{})
	l.Release(OutcomeOK)
	defer func() {
		if recover() == nil {
			t.Error("a second release was accepted")
		}
		other.Release(OutcomeOK)
	}()
	l.Release(OutcomeOK)
}

func TestI7LimitHoldsAcrossEpochs(t *testing.T) {
	for _, policy := range []Policy{LeastConn, RoundRobin} {
		w := table(t, Options{Slots: 4, Tuning: Tuning{MaxConns: 3, Policy: policy}})
		w.apply(t, members(2))
		var most, now atomic.Int64
		var wg sync.WaitGroup
		var stop atomic.Bool
		for slot := range 4 {
			wg.Go(func() {
				for !stop.Load() {
					l, err := w.Acquire(Request{Slot: slot, Exclude: []netip.AddrPort{addr(1)}})
					if err != nil {
						continue
					}
					n := now.Add(1)
					for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
					}
					second, err := w.Acquire(Request{Slot: slot, Exclude: []netip.AddrPort{addr(1)}})
					if err == nil {
						n := now.Add(1)
						for m := most.Load(); n > m && !most.CompareAndSwap(m, n); m = most.Load() {
						}
						now.Add(-1)
						second.Release(OutcomeOK)
					}
					now.Add(-1)
					l.Release(OutcomeOK)
				}
			})
		}
		for i := range 1500 {
			w.apply(t, members(2, 1+i%3))
			if i%10 == 0 { // gone and back while leases live
				w.apply(t, members(2)[1:])
			}
		}
		stop.Store(true)
		wg.Wait()
		if most.Load() > 3 {
			t.Errorf("%v: %d leases at once on a peer limited to 3", policy, most.Load())
		}
		w.apply(t, members(1))
		for range 3 {
			l := w.acquire(t, Request{})
			defer l.Release(OutcomeOK)
		}
		if _, err := w.Acquire(Request{}); err != ErrNoPeer {
			t.Errorf("%v: the fourth lease: %v", policy, err)
		}
	}
}

// A pick that finds nothing asks each peer once, whatever the policy: the clock is read once per ejected peer.
func TestI8PickTriesEachPeerOnce(t *testing.T) {
	for _, policy := range []Policy{LeastConn, RoundRobin} {
		w := table(t, Options{Slots: 1, Tuning: Tuning{MaxConns: 1, Policy: policy}})
		w.apply(t, members(10))
		seen := map[netip.AddrPort]bool{}
		var tried []netip.AddrPort
		for range 10 {
			l := w.acquire(t, Request{Exclude: tried})
			a := l.Peer().Addr()
			if seen[a] {
				t.Errorf("%v gave %v twice", policy, a)
			}
			seen[a] = true
			tried = append(tried, a)
			defer l.Release(OutcomeOK)
		}
		if _, err := w.Acquire(Request{Exclude: tried}); err != ErrNoPeer {
			t.Errorf("%v: all tried, yet %v", policy, err)
		}
		if _, err := w.Acquire(Request{}); err != ErrNoPeer {
			t.Errorf("%v: all full, yet %v", policy, err)
		}
	}
}
