package pool

import "testing"

// A count below zero is our bug and must not go unseen: nothing clamps it.
func TestNegativeCountsPanic(t *testing.T) {
	for name, give := range map[string]func(*Lease){
		"references of an epoch": func(l *Lease) { l.epoch.leave(1) },
		"leases of a peer":       func(l *Lease) { l.peer.tallies[2].give() },
	} {
		w := table(t, Options{Slots: 2, Tuning: Tuning{Policy: RoundRobin}})
		w.apply(t, members(1))
		l := w.acquire(t, Request{Slot: 0})
		func() {
			defer func() {
				if recover() == nil {
					t.Errorf("%s: below zero, and no panic", name)
				}
			}()
			give(l)
		}()
	}
}
