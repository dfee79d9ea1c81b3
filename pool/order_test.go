package pool

import (
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func TestRandomFollowsWeights(t *testing.T) {
	s := drawSeed(t)
	w := table(t, Options{Slots: 1, Rand: rand.New(rand.NewPCG(s, 1)).Uint64, Tuning: Tuning{Policy: Random}})
	weights := []int{1, 2, 5, 8, 65000}
	w.apply(t, members(5, weights...))
	for _, step := range []struct {
		exclude []netip.AddrPort
		sum     int
	}{{nil, 65016}, {[]netip.AddrPort{addr(4)}, 16}, {[]netip.AddrPort{addr(3), addr(4)}, 8}} {
		counts := map[netip.AddrPort]int{}
		const n = 200_000 // so that the lightest gets 3: what gets less may be unlucky
		for range n {
			l := w.acquire(t, Request{Exclude: step.exclude})
			counts[l.Peer().Addr()]++
			l.Release(OutcomeOK)
		}
		for i, weight := range weights[:5-len(step.exclude)] {
			want := float64(n) * float64(weight) / float64(step.sum)
			if got := float64(counts[addr(i)]); math.Abs(got-want) > 6*math.Sqrt(want)+1 {
				t.Errorf("without %v, weight %d got %.0f of %d, expected %.0f", step.exclude, weight, got, n, want)
			}
		}
		if got := counts[addr(4)]; len(step.exclude) > 0 && got > 0 {
			t.Errorf("%d went to an excluded peer", got)
		}
	}
}

func TestRandomTakesTheLessLoadedOfTwo(t *testing.T) {
	s := drawSeed(t)
	w := table(t, Options{Slots: 1, Rand: rand.New(rand.NewPCG(s, 1)).Uint64, Tuning: Tuning{Policy: Random}})
	w.apply(t, members(100))
	for range 1000 {
		l := w.acquire(t, Request{})
		defer l.Release(OutcomeOK)
	}
	for i := range 100 {
		if n := w.Peer(addr(i)).Active(); n > 16 { // one choice would give some 20 or more
			t.Errorf("peer %d has %d of 1000 sessions over 100 peers", i, n)
		}
	}
}

func TestFirstSpillsAtTheLimit(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: First, MaxConns: 2}})
	w.apply(t, members(3))
	var held []*Lease
	for i, want := range []int{0, 0, 1, 1, 2, 2} {
		l := w.acquire(t, Request{})
		if l.Peer().Addr() != addr(want) {
			t.Errorf("lease %d is on %v, expected peer %d", i, l.Peer().Addr(), want)
		}
		held = append(held, l)
	}
	if _, err := w.Acquire(Request{}); err != ErrNoPeer {
		t.Errorf("all are full: %v", err)
	}
	held[1].Release(OutcomeOK)
	if l := w.acquire(t, Request{}); l.Peer().Addr() != addr(0) {
		t.Errorf("the first has room, yet %v was picked", l.Peer().Addr())
	} else {
		held[1] = l
	}
	for _, l := range held {
		l.Release(OutcomeOK)
	}
}

func TestStickyStaysUntilItsHolderIsOut(t *testing.T) {
	w := table(t, Options{Slots: 2, Tuning: Tuning{Policy: Sticky}})
	w.apply(t, members(3))
	expect := func(why, want string) {
		t.Helper()
		if got := w.order(t, len(want)); got != want {
			t.Errorf("%s: %s, expected %s", why, got, want)
		}
	}
	expect("at the start", "000")
	w.SetHealth(addr(0), HealthDown)
	expect("the holder is down", "111")
	w.SetHealth(addr(0), HealthUp)
	expect("it is back", "111")
	w.acquire(t, Request{Slot: 1, Exclude: []netip.AddrPort{addr(1)}}).Release(OutcomeOK)
	expect("a session tried the holder in vain", "222")
	w.apply(t, members(2))
	expect("the holder is not listed any more", "000")
	w.apply(t, members(3))
	expect("it is listed again", "000")
	for range 3 {
		w.acquire(t, Request{}).Release(OutcomeConnectFailed)
	}
	expect("the holder is ejected", "111")
}

func TestStickyDoesNotSpill(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Sticky, MaxConns: 1}})
	w.apply(t, members(2))
	l := w.acquire(t, Request{})
	if _, err := w.Acquire(Request{}); err != ErrNoPeer {
		t.Errorf("a second holder beside one that is full: %v", err)
	}
	l.Release(OutcomeOK)
}

// An unproven peer that stands by does not make leastconn ask every candidate.
func TestUnprovenStandbyLeavesTheShortWayOpen(t *testing.T) {
	w := table(t, Options{Slots: 1, Checked: true})
	list := members(2)
	list[0].Tier, list[1].Tier = 1, 0
	w.apply(t, list)
	w.SetHealth(list[1].Addr, HealthUp)
	e := w.current.Load()
	if e.unproven || len(e.candidates) != 1 {
		t.Errorf("unproven %v, %d candidates", e.unproven, len(e.candidates))
	}
}
