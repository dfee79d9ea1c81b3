package pool

import (
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// A slot counts its own leases at once, and sees those of the others when its last look is older than its patience.
func TestLeastConnLooksAtOtherSlotsAgain(t *testing.T) {
	w := table(t, Options{Slots: 2})
	w.apply(t, members(2))
	at := time.Hour
	only := func(slot int, i int) *Lease {
		return w.acquire(t, Request{Slot: slot, Now: at, Exclude: []netip.AddrPort{addr(1 - i)}})
	}
	first := w.acquire(t, Request{Slot: 0, Now: at}) // slot 0 looks now
	first.Release(OutcomeOK)
	for range 3 {
		defer only(1, 0).Release(OutcomeOK)
	}
	picks := func(n int) (on0 int) {
		t.Helper()
		for range n {
			l := w.acquire(t, Request{Slot: 0, Now: at})
			if l.Peer().Addr() == addr(0) {
				on0++
			}
			l.Release(OutcomeOK)
		}
		return on0
	}
	at += minPatience
	if n := picks(10); n != 5 {
		t.Errorf("%d of 10 went to peer 0 before the next look was due, expected every second", n)
	}
	at++
	if n := picks(10); n != 0 {
		t.Errorf("%d of 10 went to peer 0, which has 3 sessions of the other slot", n)
	}
	defer only(0, 1).Release(OutcomeOK)
	defer only(0, 1).Release(OutcomeOK)
	defer only(0, 1).Release(OutcomeOK)
	if n := picks(10); n != 5 {
		t.Errorf("%d of 10 went to peer 0: a slot does not count its own leases at once", n)
	}
	w.apply(t, members(2, 2, 2))
	defer only(1, 1).Release(OutcomeOK)
	if n := picks(10); n != 10 {
		t.Errorf("%d of 10 went to peer 0: the first pick of an epoch looks", n)
	}
}

// Where there are thousands of peers, each is looked at when it is drawn.
func TestTwoChoicesLookAtOtherSlotsAgain(t *testing.T) {
	w := table(t, Options{Slots: 2})
	w.apply(t, members(exactLimit+1))
	e := w.current.Load()
	c := &e.candidates[0]
	c.peer.tallies[2].take(0)
	defer c.peer.tallies[2].give()
	for _, step := range []struct {
		now  int64
		want int64
	}{{e.patience, 1}, {e.patience + 1, 2}} {
		e.refresh(c, &asking{}, step.now)
		if got := c.load(0); got != step.want {
			t.Errorf("at %d: load %d, expected %d", step.now, got, step.want)
		}
	}
}

// What a burst can make of the balance is bounded by what the other slots do between two looks.
func TestLeastConnInABurstOfTwoSlots(t *testing.T) {
	w := table(t, Options{Slots: 2})
	w.apply(t, members(8))
	var wg sync.WaitGroup
	held := make([][]*Lease, 2)
	for slot := range 2 {
		wg.Go(func() {
			for range 400 {
				held[slot] = append(held[slot], w.acquire(t, Request{Slot: slot, Now: time.Hour}))
			}
		})
	}
	wg.Wait()
	for i := range 8 { // no look after the first: each slot has spread its own 400 alone
		if n := w.Peer(addr(i)).Active(); n < 96 || n > 104 {
			t.Errorf("peer %d has %d of 800", i, n)
		}
	}
	for _, l := range slices.Concat(held...) {
		l.Release(OutcomeOK)
	}
}

func TestRoundRobinIsExactAcrossSlotsWhileCalm(t *testing.T) {
	w := table(t, Options{Slots: 2, Tuning: Tuning{Policy: RoundRobin}})
	w.apply(t, members(3))
	for i := range 30 {
		l := w.acquire(t, Request{Slot: i % 2, Now: time.Duration(i+1) * time.Millisecond})
		if l.Peer().Addr() != addr(i%3) {
			t.Fatalf("pick %d went to %v", i, l.Peer().Addr())
		}
		l.Release(OutcomeOK)
	}
}

func TestRoundRobinInABurstDealsSeveralTurns(t *testing.T) {
	w := table(t, Options{Slots: 2, Tuning: Tuning{Policy: RoundRobin}})
	w.apply(t, members(3))
	at := time.Second
	var got []uint64
	for _, slot := range []int{0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 0, 1} {
		got = append(got, w.nextTurn(&asking{Request: &Request{Slot: slot, Now: at}}))
	}
	// Each slot is calm at first. Then slot 0 has 1 to 8 (2 was slot 1's while it was calm), and so on.
	if want := []uint64{0, 1, 9, 10, 2, 3, 4, 5, 6, 7, 8, 11}; !slices.Equal(got, want) {
		t.Errorf("turns %v, expected %v", got, want)
	}
}

// However many goroutines share slots, each turn is played once; what is missing at the end is in the hands.
func TestRoundRobinPlaysEachTurnOnce(t *testing.T) {
	w := table(t, Options{Slots: 2, Tuning: Tuning{Policy: RoundRobin}})
	w.apply(t, members(3))
	const each = 50_000
	played := make([][]uint64, 6)
	var wg sync.WaitGroup
	for who := range played {
		wg.Go(func() {
			r := &asking{Request: &Request{Slot: who / 4, Now: time.Second}} // four share one slot
			for range each {
				played[who] = append(played[who], w.nextTurn(r))
			}
		})
	}
	wg.Wait()
	all := slices.Concat(played...)
	for i := range w.hands {
		held := w.hands[i].turns.Load()
		for n := range held & 255 {
			all = append(all, held>>8+n)
		}
	}
	slices.Sort(all)
	if int64(len(all)) != w.turn.n.Load() {
		t.Fatalf("%d turns were dealt, %d are played or held", w.turn.n.Load(), len(all))
	}
	for i, turn := range all {
		if turn != uint64(i) {
			t.Fatalf("turn %d stands where %d should", turn, i)
		}
	}
}

// Slots that begin at the same moment do not all begin with the same peer.
func TestLeastConnSlotsBeginApart(t *testing.T) {
	w := table(t, Options{Slots: 4})
	w.apply(t, members(8))
	for slot := range 4 { // the first pick of an epoch looks: let it pass
		w.acquire(t, Request{Slot: slot, Now: time.Hour}).Release(OutcomeOK)
	}
	seen := map[netip.AddrPort]bool{}
	for slot := range 4 {
		l := w.acquire(t, Request{Slot: slot, Now: time.Hour})
		defer l.Release(OutcomeOK)
		seen[l.Peer().Addr()] = true
	}
	if len(seen) != 4 {
		t.Errorf("the next picks of 4 slots went to %d peers", len(seen))
	}
}
