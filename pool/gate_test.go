package pool

import (
	"errors"
	"math/rand/v2"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The peer that comes back is the least loaded by far, and gets no more than its rate.
func TestLeastConnGivesAPeerThatIsBackItsRateAndNoMore(t *testing.T) {
	clock := newWall()
	w := table(t, Options{Slots: 1, Now: clock.Now, Tuning: Tuning{ConnectRate: 50}})
	w.apply(t, members(2))
	w.SetHealth(addr(1), HealthDown)
	var held []*Lease
	for range 200 {
		clock.pass(20 * time.Millisecond)
		held = append(held, w.acquire(t, Request{}))
	}
	w.SetHealth(addr(1), HealthUp)
	got := 0
	for range 1000 { // a second, with 1000 who ask
		clock.pass(time.Millisecond)
		if l, err := w.Acquire(Request{}); err == nil {
			if l.Peer().Addr() == addr(1) {
				got++
			}
			held = append(held, &l)
		}
	}
	if got < 49 || got > 51 {
		t.Errorf("the peer that is back got %d sessions in a second, expected 50", got)
	}
	for _, l := range held {
		l.Release(OutcomeOK)
	}
}

func TestConnectRate(t *testing.T) {
	for policy := range Policy(len(policyWords)) {
		clock := newWall()
		w := table(t, Options{Slots: 2, Now: clock.Now, Tuning: Tuning{Policy: policy, ConnectRate: 10}})
		w.apply(t, members(1))
		take := func(want error) {
			t.Helper()
			if x := w.Explain(Request{}); (len(x.Next) == 1) != (want == nil) || (want != nil && x.Peers[0].Standing != StandingPaced) {
				t.Errorf("%v: explained as %v, %v", policy, x.Next, x.Peers[0].Standing)
			}
			l, err := w.Acquire(Request{Slot: 1})
			if !errors.Is(err, want) {
				t.Fatalf("%v: %v, expected %v", policy, err, want)
			}
			if err == nil {
				l.Release(OutcomeOK)
			}
		}
		take(nil)
		take(ErrNoPeer)
		clock.pass(100*time.Millisecond - 1)
		take(ErrNoPeer)
		clock.pass(1)
		take(nil)
		clock.pass(time.Hour) // nothing is saved up
		take(nil)
		take(ErrNoPeer)
		w.Tune(Tuning{Policy: policy, ConnectRate: 1000}) // ten at once, at most
		clock.pass(time.Hour)
		for range 10 {
			take(nil)
		}
		take(ErrNoPeer)
		w.Tune(Tuning{Policy: policy})
		take(nil)
	}
}

func TestMaxConnecting(t *testing.T) {
	for policy := range Policy(len(policyWords)) {
		w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: policy, MaxConns: 4, MaxConnecting: 2}})
		w.apply(t, members(1))
		var held []*Lease
		take := func(want Standing) {
			t.Helper()
			x := w.Explain(Request{})
			l, err := w.Acquire(Request{})
			if x.Peers[0].Standing != want || (err == nil) != (want == StandingGood) || (len(x.Next) == 1) != (err == nil) {
				t.Fatalf("%v: %v, %v, %v, expected %v", policy, x.Peers[0].Standing, x.Next, err, want)
			}
			if err == nil {
				held = append(held, &l)
			}
		}
		take(StandingGood)
		take(StandingGood)
		take(StandingConnecting)
		held[0].Connected(0)
		held[0].Connected(0) // tells nothing new
		take(StandingGood)
		take(StandingConnecting)
		held[1].Release(OutcomeConnectFailed)
		take(StandingGood)
		held[0].Release(OutcomeOK) // it had connected
		take(StandingConnecting)
		w.Tune(Tuning{Policy: policy, MaxConns: 4})
		take(StandingGood)
		take(StandingGood)
		take(StandingFull)
		w.Tune(Tuning{Policy: policy, MaxConns: 4, MaxConnecting: 3}) // two of those that live connect still
		held[2].Connected(0)
		held[2].Release(OutcomeOK)
		take(StandingGood)
		for _, l := range held[3:] {
			l.Release(OutcomeOK)
		}
		if n := w.Peer(addr(0)).connecting.Load(); n != 0 {
			t.Errorf("%v: %d connect at rest", policy, n)
		}
	}
}

// Many at once: neither limit is passed, and at rest nothing is left.
func TestGatesUnderLoad(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	for policy := range Policy(len(policyWords)) {
		w := table(t, Options{Slots: 4, Tuning: Tuning{Policy: policy, MaxConns: 5, MaxConnecting: 3, ConnectRate: 1_000_000}})
		w.apply(t, members(3))
		var connecting [3]atomic.Int64
		number := map[netip.AddrPort]int{addr(0): 0, addr(1): 1, addr(2): 2}
		var users sync.WaitGroup
		for slot := range 4 {
			rng := rand.New(rand.NewPCG(seed, uint64(slot)))
			users.Go(func() {
				for range 500 {
					l, err := w.Acquire(Request{Slot: slot, Key: Key(rng.Uint64())})
					if err != nil {
						continue
					}
					n := &connecting[number[l.Peer().Addr()]]
					if now := n.Add(1); now > 3 {
						t.Errorf("%v: %d connect at once", policy, now)
					}
					n.Add(-1)
					if rng.IntN(2) == 0 {
						l.Connected(0)
					}
					l.Release(OutcomeOK)
				}
			})
		}
		users.Wait()
		for i := range 3 {
			if p := w.Peer(addr(i)); p.connecting.Load() != 0 || p.Active() != 0 {
				t.Errorf("%v: peer %d has %d connects and %d leases at rest", policy, i, p.connecting.Load(), p.Active())
			}
		}
	}
}

// What is not taken in the end, or is undone, leaves nothing behind.
func TestAGateTakesAllOrNothing(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{MaxConns: 1, MaxConnecting: 3, ConnectRate: 1000}})
	w.apply(t, members(1))
	e := w.current.Load()
	c, r := &e.candidates[0], &asking{Request: &Request{Now: time.Second}}
	left := func() [3]int64 {
		return [3]int64{c.peer.Active(), c.peer.connecting.Load(), max(c.peer.next.Load()-int64(time.Second), 0)}
	}
	if !e.take(c, r) || left() != [3]int64{1, 1, int64(time.Millisecond)} {
		t.Errorf("one lease: %v", left())
	}
	if e.take(c, r) || left() != [3]int64{1, 1, int64(time.Millisecond)} {
		t.Errorf("a lease too many left %v", left())
	}
	e.untake(c, r)
	if left() != [3]int64{} {
		t.Errorf("a lease that was undone left %v", left())
	}
}
