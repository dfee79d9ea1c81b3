package pool

import (
	"errors"
	"net/netip"
	"testing"
)

// A session that belongs to a peer gets it under every policy, or nobody, and moves nothing that the others go by.
func TestOnlyGivesThePeerOrNobody(t *testing.T) {
	for policy := LeastConn; policy <= LeastTime; policy++ {
		t.Run(policy.String(), func(t *testing.T) {
			w := table(t, Options{Tuning: Tuning{Policy: policy, MaxConns: 3}})
			w.apply(t, members(3))
			first := w.acquire(t, Request{Key: 1})
			at := first.Peer().Addr()
			first.Release(OutcomeOK)
			var held []*Lease
			other := addr(0)
			if other == at {
				other = addr(1)
			}
			only := Request{Key: 1, Exclude: []netip.AddrPort{other}, Only: true}
			for range 3 {
				l := w.acquire(t, only)
				if l.Peer().Addr() != other {
					t.Errorf("got %v, belongs to %v", l.Peer().Addr(), other)
				}
				held = append(held, l)
			}
			if _, err := w.Acquire(only); !errors.Is(err, ErrNoPeer) {
				t.Errorf("above its limit: %v", err)
			}
			if policy == Sticky {
				l := w.acquire(t, Request{})
				if l.Peer().Addr() != at {
					t.Errorf("the holder moved to %v", l.Peer().Addr())
				}
				l.Release(OutcomeOK)
			}
			for _, l := range held {
				l.Release(OutcomeOK)
			}
			w.SetHealth(other, HealthDown)
			if _, err := w.Acquire(only); !errors.Is(err, ErrNoPeer) {
				t.Errorf("down: %v", err)
			}
		})
	}
}
