package pool

import (
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
)

// A limit that comes while there are sessions counts them, and one that goes leaves nothing behind.
func TestLimitsThatComeCountWhatIsThere(t *testing.T) {
	for policy := range Policy(len(policyWords)) {
		w := table(t, Options{Slots: 2, Tuning: Tuning{Policy: policy}})
		w.apply(t, members(1))
		var held []*Lease
		take := func(want error, why Standing) {
			t.Helper()
			slot := len(held) % 2
			x := w.Explain(Request{})
			l, err := w.Acquire(Request{Slot: slot})
			if !errors.Is(err, want) || x.Peers[0].Standing != why || (len(x.Next) == 1) != (err == nil) {
				t.Fatalf("%v: %v, explained as %v, %v; expected %v, %v", policy, err, x.Next, x.Peers[0].Standing, want, why)
			}
			if err == nil {
				held = append(held, &l)
			}
		}
		give := func() {
			held[0].Release(OutcomeOK)
			held = held[1:]
		}
		for range 3 {
			take(nil, StandingGood)
		}
		w.Tune(Tuning{Policy: policy, MaxConns: 3})
		take(ErrNoPeer, StandingFull)
		w.Tune(Tuning{Policy: policy, MaxConns: 4})
		take(nil, StandingGood)
		take(ErrNoPeer, StandingFull)
		give() // one that the limit did not count when it began
		take(nil, StandingGood)
		take(ErrNoPeer, StandingFull)
		w.Tune(Tuning{Policy: policy, MaxTotal: 3}) // there are four
		take(ErrLimit, StandingSpent)
		give()
		take(ErrLimit, StandingSpent)
		give()
		take(nil, StandingGood)
		take(ErrLimit, StandingSpent)
		w.Tune(Tuning{Policy: policy, MaxConns: 4, MaxTotal: 5, MaxConnecting: 9})
		take(nil, StandingGood)
		take(ErrNoPeer, StandingFull)
		w.Tune(Tuning{Policy: policy})
		take(nil, StandingGood)
		for len(held) > 0 {
			give()
		}
		w.atRest(t)
	}
}

// atRest says what is counted though no lease is held.
func (w *watched) atRest(t *testing.T) {
	t.Helper()
	eventually(t, "every epoch but the newest is freed", func() bool {
		published, freed := w.Counts()
		return published == freed+1
	})
	if n := w.all.active(); n != 0 {
		t.Errorf("%d leases of all at rest", n)
	}
	for _, p := range w.current.Load().peers {
		for i := range p.tallies {
			if n := p.tallies[i].active(); n != 0 {
				t.Errorf("%v: tally %d counts %d leases at rest", p.Addr(), i, n)
			}
		}
		if n := p.connecting.Load(); n != 0 {
			t.Errorf("%v: %d connect at rest", p.Addr(), n)
		}
	}
}

// The limit of all leases holds across epochs, weights and slots, and a place that is free is given.
func TestI7LimitOfAllHoldsAcrossEpochs(t *testing.T) {
	const limit = 3
	for policy := range Policy(len(policyWords)) {
		w := table(t, Options{Slots: 4, Tuning: Tuning{Policy: policy, MaxTotal: limit}})
		w.apply(t, members(3))
		var now atomic.Int64
		var stop atomic.Bool
		var all sync.WaitGroup
		for slot := range 4 {
			all.Go(func() {
				for key := Key(0); !stop.Load(); key++ {
					l, err := w.Acquire(Request{Slot: slot, Key: key})
					if err != nil {
						if !errors.Is(err, ErrLimit) {
							t.Error(err)
						}
						continue
					}
					if n := now.Add(1); n > limit {
						t.Errorf("%v: %d leases at once", policy, n)
					}
					now.Add(-1)
					l.Release(OutcomeOK)
				}
			})
		}
		for i := range 300 {
			w.apply(t, members(2+i%2, 1+i%3))
		}
		stop.Store(true)
		all.Wait()
		for range limit {
			l := w.acquire(t, Request{})
			defer l.Release(OutcomeOK)
		}
		if _, err := w.Acquire(Request{}); !errors.Is(err, ErrLimit) {
			t.Errorf("%v: one more: %v", policy, err)
		}
	}
}

// Whatever changes while leases come and go, each is counted off where it was counted.
func TestTuningUnderLoadLeavesNoCountBehind(t *testing.T) {
	const seed = 7
	w := table(t, Options{Slots: 3, Tuning: Tuning{}})
	w.apply(t, members(4))
	var stop atomic.Bool
	var all sync.WaitGroup
	for slot := range 3 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(slot)))
			var held []*Lease
			for !stop.Load() || len(held) > 0 {
				if l, err := w.Acquire(Request{Slot: slot, Key: Key(rng.Uint64())}); err == nil {
					held = append(held, &l)
				}
				for n := rng.IntN(3); n > 0 && len(held) > 0; n-- {
					i := rng.IntN(len(held))
					if rng.IntN(2) == 0 {
						held[i].Connected(0)
					}
					held[i].Release(OutcomeNeutral)
					held[i] = held[len(held)-1]
					held = held[:len(held)-1]
				}
				if stop.Load() {
					for _, l := range held {
						l.Release(OutcomeOK)
					}
					return
				}
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, 99))
	maybe := func(n int) int { return rng.IntN(2) * (1 + rng.IntN(n)) }
	for i := range 1000 {
		w.Tune(Tuning{
			Policy: Policy(rng.IntN(len(policyWords))), MaxConns: maybe(5), MaxTotal: maybe(9), Bounded: float64(maybe(2)),
			MaxConnecting: maybe(4), ConnectRate: maybe(100_000),
		})
		w.apply(t, members(2+i%3, 1+i%5))
	}
	stop.Store(true)
	all.Wait()
	w.atRest(t)
	w.Tune(Tuning{MaxConns: 1, MaxTotal: 4})
	w.apply(t, members(5))
	for range 4 {
		l := w.acquire(t, Request{})
		defer l.Release(OutcomeOK)
	}
	if _, err := w.Acquire(Request{}); !errors.Is(err, ErrLimit) {
		t.Errorf("a fifth lease: %v", err)
	}
}
