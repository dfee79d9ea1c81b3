package pool

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// Who leaves loses his keys; of the others at most three in a hundred move, and none does while he is only passed over.
func TestRH8MaglevMovesTheKeysOfThePeerThatLeaves(t *testing.T) {
	for _, weights := range [][]int{nil, {1, 2, 3, 4, 5}} {
		w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash}})
		list := members(rendezvousLimit+45, weights...)
		w.apply(t, list)
		const n = 20_000
		before := w.where(t, n)
		passed := w.where(t, n, addr(4))
		w.apply(t, append(list[:4:4], list[5:]...))
		after := w.where(t, n)
		moved := 0
		heirs := map[netip.AddrPort]bool{}
		for i := range before {
			if before[i] == addr(4) {
				heirs[passed[i]] = true
				continue
			}
			if passed[i] != before[i] {
				t.Fatalf("key %d went from %v to %v because %v was passed over", i, before[i], passed[i], addr(4))
			}
			if after[i] != before[i] {
				moved++
			}
		}
		if moved > n*3/100 {
			t.Errorf("weights %v: %d of %d keys moved that were not of the peer that left", weights, moved, n)
		}
		if len(heirs) < 20 {
			t.Errorf("weights %v: the keys of the one that is passed over go to %d peers", weights, len(heirs))
		}
	}
}

func TestMaglevSharesFollowWeights(t *testing.T) {
	for _, n := range []int{rendezvousLimit + 1, 1000, 3000} {
		t.Run(fmt.Sprint(n), func(t *testing.T) {
			w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash}})
			list := members(n, 1, 2, 3, 4, 5)
			w.apply(t, list)
			e := w.current.Load()
			places := make([]float64, n)
			for _, i := range e.places {
				places[i]++
			}
			for i, c := range e.candidates {
				want := float64(len(e.places)) * float64(c.weight) / float64(e.sum)
				if math.Abs(places[i]-want) > 2+want*0.02 {
					t.Fatalf("weight %d of %d has %.0f of %d places, expected %.1f", c.weight, e.sum, places[i], len(e.places), want)
				}
			}
			if len(e.places) < 64*n {
				t.Errorf("%d places", len(e.places))
			}
		})
	}
}

// The choice is part of what users see, as with few peers.
func TestMaglevIsTheSameEverywhere(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash}})
		list := members(rendezvousLimit+1, 1, 2, 3)
		if reversed {
			slices.Reverse(list)
		}
		w.apply(t, list)
		got := ""
		for _, a := range w.where(t, 12) {
			a4 := a.Addr().As4()
			got += fmt.Sprint(int(a4[2])<<8|int(a4[3]), " ")
		}
		if want := "678 624 757 606 721 542 636 545 687 728 520 626 "; got != want {
			t.Errorf("12 keys went to %s, expected %s", got, want)
		}
	}
}

func TestMaglevFindsTheLastGoodPeer(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash, MaxConns: 1}})
	n := rendezvousLimit + 1
	w.apply(t, members(n))
	seen := map[netip.AddrPort]bool{}
	for i := range n {
		l := w.acquire(t, Request{Key: key(i)})
		defer l.Release(OutcomeOK)
		seen[l.Peer().Addr()] = true
	}
	if len(seen) != n {
		t.Errorf("%d peers with room for one each took %d sessions", n, len(seen))
	}
	if _, err := w.Acquire(Request{}); err != ErrNoPeer {
		t.Errorf("all are full: %v", err)
	}
}

// With a bound no peer has more than its share times the factor, whatever the keys; and keys that fit stay where they are.
func TestHashBounded(t *testing.T) {
	for _, n := range []int{4, rendezvousLimit + 44} {
		for _, slots := range []int{1, 2} {
			w := table(t, Options{Slots: slots, Tuning: Tuning{Policy: Hash, Bounded: 1.25}})
			list := members(n, 1, 3)
			w.apply(t, list)
			e := w.current.Load()
			total := 40 * n
			for i := range total {
				l := w.acquire(t, Request{Key: key(i % 7), Slot: slots - 1}) // seven clients, who would use seven peers at most
				defer l.Release(OutcomeOK)
			}
			for i, m := range list {
				share := 1.25 * float64(total) * float64(m.Weight) / float64(e.sum)
				if got := w.Peer(m.Addr).Active(); float64(got) > math.Ceil(share) {
					t.Errorf("%d peers: %d of weight %d has %d sessions, its bound is %.1f", n, i, m.Weight, got, share)
				}
			}
		}
	}
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash, Bounded: 1.25}})
	free := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash}})
	w.apply(t, members(8))
	free.apply(t, members(8))
	if !slices.Equal(w.where(t, 100), free.where(t, 100)) {
		t.Error("where nobody is crowded, the bound changes the choice")
	}
}

// A peer above its bound is still better than one that is not proven, and better than none.
func TestHashBoundedRefusesNobody(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash, Bounded: 1}})
	w.apply(t, members(2))
	for i := range 20 {
		l := w.acquire(t, Request{Key: key(i), Exclude: []netip.AddrPort{addr(1)}})
		defer l.Release(OutcomeOK)
		if l.Peer().Addr() != addr(0) {
			t.Fatal("an excluded peer was taken")
		}
	}
}

// What another slot has counts after the slot's next look.
func TestHashBoundedLooksAtOtherSlots(t *testing.T) {
	w := table(t, Options{Slots: 2, Tuning: Tuning{Policy: Hash, Bounded: 1}})
	w.apply(t, members(2))
	at := func(r Request, now int64) netip.AddrPort {
		r.Key, r.Now = key(0), time.Duration(now)
		l := w.acquire(t, r)
		t.Cleanup(func() { l.Release(OutcomeOK) })
		return l.Peer().Addr()
	}
	home := at(Request{Slot: 1}, 1) // slot 1 looks: nobody has anything
	for range 10 {
		at(Request{Slot: 0, Exclude: []netip.AddrPort{home}}, 1)
	}
	if at(Request{Slot: 1}, 1+minPatience) == home {
		t.Error("slot 1 knows what slot 0 has before it looks")
	}
	for i := range 4 { // which has filled the other one
		if at(Request{Slot: 1}, 2+minPatience) != home {
			t.Errorf("session %d after the look does not go home, where there is room", i)
		}
	}
}

func TestExplainOfABound(t *testing.T) {
	for _, n := range []int{2, rendezvousLimit + 1} {
		w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash, Bounded: 1}})
		w.apply(t, members(n))
		home := w.Explain(Request{}).Next[0]
		defer w.acquire(t, Request{}).Release(OutcomeOK)
		x := w.Explain(Request{})
		if len(x.Next) != 1 || x.Next[0] == home {
			t.Errorf("of %d, %v is above its bound: the next goes to %v", n, home, x.Next)
		}
		for _, p := range x.Peers {
			if crowded := p.Standing == StandingCrowded; crowded != (p.Addr == home) {
				t.Errorf("%v is %v", p.Addr, p.Standing)
			}
		}
	}
}

func TestMaglevPrefersWhoIsProven(t *testing.T) {
	w := table(t, Options{Slots: 1, Checked: true, Tuning: Tuning{Policy: Hash}})
	w.apply(t, members(rendezvousLimit+1))
	w.SetHealth(addr(7), HealthUp)
	for _, a := range w.where(t, 50) {
		if a != addr(7) {
			t.Fatalf("%v, which is unproven, was picked", a)
		}
	}
}

func BenchmarkMaglevBuild(b *testing.B) {
	for _, n := range []int{1000, 10_000} {
		b.Run(fmt.Sprint("peers=", n), func(b *testing.B) {
			w := table(b, Options{Slots: 1, Tuning: Tuning{Policy: Hash}})
			w.apply(b, members(n))
			e := w.current.Load()
			for b.Loop() {
				maglev(e.candidates, e.heaviest)
			}
		})
	}
}
