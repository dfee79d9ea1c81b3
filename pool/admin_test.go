package pool

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestDR1ADrainedPeerGetsNothingNew(t *testing.T) {
	for _, policy := range []Policy{LeastConn, RoundRobin} {
		for _, a := range []Admin{AdminDrain, AdminMaint} {
			w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: policy}})
			w.apply(t, members(3))
			held := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(1), addr(2)}})
			c, err := w.SetAdmin(held.Peer().Addr(), a)
			if err != nil || !c.Changed || !c.Listed || c.Epoch != 3 {
				t.Errorf("%v: %+v, %v", a, c, err)
			}
			for range 30 {
				l := w.acquire(t, Request{})
				if l.Peer() == held.Peer() {
					t.Fatalf("%v, %v: picked", policy, a)
				}
				l.Release(OutcomeOK)
			}
			s := w.Status()
			if p := s.Peers[0]; p.Addr != held.Peer().Addr() || p.State != a.String() || p.Admin != a || p.Active != 1 || w.Selectable() != 2 {
				t.Errorf("%v, %v: %+v", policy, a, p)
			}
			if last := s.Epochs[len(s.Epochs)-1]; last.Cause != CauseAdmin || last.Cause.String() != "admin" {
				t.Errorf("cause %v", last.Cause)
			}
			if got, want := w.Serves(held.Peer()), a == AdminDrain; got != want {
				t.Errorf("%v serves what it has: %v", a, got)
			}
			if c, err := w.SetAdmin(held.Peer().Addr(), a); err != nil || c.Changed || c.Epoch != 3 {
				t.Errorf("again: %+v, %v", c, err)
			}
			if _, err := w.SetAdmin(held.Peer().Addr(), AdminReady); err != nil || picks(t, w) != "012" || len(w.Overrides()) != 0 {
				t.Errorf("back: %v", err)
			}
			held.Release(OutcomeOK)
		}
	}
}

func TestOverridesBelongToTheAddress(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: RoundRobin}})
	w.apply(t, members(2))
	if _, err := w.SetAdmin(addr(0), AdminDrain); err != nil {
		t.Fatal(err)
	}
	if _, err := w.SetWeight(addr(1), 3); err != nil {
		t.Fatal(err)
	}
	for i := range 3 { // it leaves, its peer ends, and it comes back with other weights
		w.apply(t, members(5)[4:])
		eventually(t, "both peers end", func() bool { return w.Peer(addr(0)) == nil && w.Peer(addr(1)) == nil })
		if o := w.Overrides(); len(o) != 2 || o[0] != (Override{addr(0), AdminDrain, NoWeight}) || o[1] != (Override{addr(1), AdminReady, 3}) {
			t.Fatalf("kept: %+v", o)
		}
		w.apply(t, members(3, 1+i, 9, 1))
		if got := w.order(t, 4); got != "1121" {
			t.Errorf("3 of admin and 1: %s", got)
		}
		for _, p := range w.Status().Peers {
			if p.Addr == addr(1) && (p.Weight != 3 || p.AdminWeight != 3) || p.Addr == addr(0) && (p.State != "drain" || p.AdminWeight != NoWeight) {
				t.Errorf("%+v", p)
			}
		}
	}
	w.apply(t, members(5)[4:])
	eventually(t, "both peers end", func() bool { return w.Peer(addr(0)) == nil && w.Peer(addr(1)) == nil })
	if c, err := w.SetAdmin(addr(0), AdminReady); err != nil || !c.Changed || c.Listed { // of an address that is not there
		t.Errorf("%+v, %v", c, err)
	}
	if c, err := w.SetWeight(addr(1), NoWeight); err != nil || !c.Changed {
		t.Errorf("%+v, %v", c, err)
	}
	w.apply(t, members(2))
	if got := w.order(t, 4); got != "0101" && got != "1010" {
		t.Errorf("nothing is said any more: %s", got)
	}
}

func TestAnAdminWeightOfZeroAndTheTierBelow(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, tiered(0, 1))
	if _, err := w.SetWeight(addr(0), 0); err != nil || picks(t, w) != "1" {
		t.Errorf("weight 0: %v", err)
	}
	if _, err := w.SetWeight(addr(0), NoWeight); err != nil || picks(t, w) != "0" {
		t.Errorf("default weight: %v", err)
	}
	list := tiered(0, 1)
	list[0].Weight = 0
	w.apply(t, list)
	if _, err := w.SetWeight(addr(0), 1); err != nil || picks(t, w) != "0" {
		t.Errorf("an admin weight over a weight of zero: %v", err)
	}
	if _, err := w.SetAdmin(addr(0), AdminMaint); err != nil || picks(t, w) != "1" {
		t.Errorf("maint: %v", err)
	}
}

func TestMaintenanceBelievesNothing(t *testing.T) {
	w := table(t, Options{Slots: 1, Checked: true})
	w.apply(t, members(2))
	for i := range 2 {
		w.SetHealth(addr(i), HealthDown)
	}
	if _, err := w.SetAdmin(addr(0), AdminMaint); err != nil {
		t.Fatal(err)
	}
	if h := w.Peer(addr(0)).Health(); h != HealthUnknown || w.SetHealth(addr(0), HealthUp) || w.Peer(addr(0)).Health() != HealthUnknown {
		t.Errorf("health %v", h)
	}
	if _, err := w.SetAdmin(addr(0), AdminReady); err != nil || picks(t, w) != "0" {
		t.Errorf("unknown is better than down: %v", err)
	}
	if _, err := w.SetAdmin(addr(1), AdminDrain); err != nil || !w.SetHealth(addr(1), HealthUp) {
		t.Errorf("a peer that drains is checked: %v", err)
	}
}

func TestReadyPardons(t *testing.T) {
	now := time.Unix(1000, 0)
	w := table(t, Options{Slots: 1, Now: func() time.Time { return now }})
	w.apply(t, members(2))
	for w.Peer(addr(0)).until.Load() == 0 {
		l := w.acquire(t, Request{})
		if l.Peer().Addr() == addr(0) {
			l.Release(OutcomeConnectFailed)
		} else {
			l.Release(OutcomeNeutral)
		}
	}
	if c, err := w.SetAdmin(addr(0), AdminReady); err != nil || c.Changed || w.Peer(addr(0)).until.Load() != 0 {
		t.Errorf("%+v, %v", c, err)
	}
}

func TestOverridesRefuse(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, members(1))
	for _, weight := range []int{-2, MaxWeight + 1} {
		if _, err := w.SetWeight(addr(0), weight); err == nil {
			t.Errorf("weight %d", weight)
		}
	}
	if _, err := w.SetAdmin(addr(7), AdminDrain); !errors.Is(err, ErrUnknownPeer) || len(w.Overrides()) != 0 {
		t.Errorf("an address that never was: %v", err)
	}
	w.Close()
	if c, err := w.SetAdmin(addr(0), AdminDrain); err == nil && c.Listed {
		t.Errorf("closed: %+v", c)
	}
	if _, err := w.Acquire(Request{}); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

// An acquire that begins after a drain has returned never gets the drained peer, whatever goes on meanwhile (I4 holds too).
func TestDR1DrainIsLinearizable(t *testing.T) {
	w := table(t, Options{Slots: 4})
	w.apply(t, members(4))
	var drained [3]atomic.Bool // from the return of the drain to the call of ready
	var stop atomic.Bool
	var wg sync.WaitGroup
	for slot := range 4 {
		wg.Go(func() {
			for !stop.Load() {
				var before [3]bool
				for i := range drained {
					before[i] = drained[i].Load()
				}
				epoch := w.current.Load().id
				l, err := w.Acquire(Request{Slot: slot})
				if err != nil {
					t.Errorf("acquire: %v", err)
					return
				}
				for i := range drained {
					if before[i] && drained[i].Load() && w.current.Load().id == epoch && l.Peer().Addr() == addr(i) {
						t.Errorf("peer %d was picked while it drained", i)
					}
				}
				l.Release(OutcomeOK)
			}
		})
	}
	for i := range 600 {
		n := i % 3
		a := []Admin{AdminDrain, AdminMaint}[i/3%2]
		if _, err := w.SetAdmin(addr(n), a); err != nil {
			t.Error(err)
		}
		drained[n].Store(true)
		w.apply(t, members(4, 1+i%2))
		drained[n].Store(false)
		if _, err := w.SetAdmin(addr(n), AdminReady); err != nil {
			t.Error(err)
		}
	}
	stop.Store(true)
	wg.Wait()
	if a := w.Status(); a.Peers[0].Active != 0 {
		t.Errorf("left behind: %+v", a.Peers)
	}
}
