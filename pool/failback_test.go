package pool

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

// wall is a clock that tests move.
type wall struct {
	mu  sync.Mutex
	now time.Time
}

func newWall() *wall { return &wall{now: time.Unix(1000, 0)} }

func (c *wall) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *wall) pass(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// served is the tier that serves and what it gives.
func (w *watched) served(t *testing.T) string {
	t.Helper()
	tier, _ := w.Serving()
	return fmt.Sprint(tier, ":", picks(t, w))
}

func TestMinUpOfTiers(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{MinUp: 2}})
	w.apply(t, tiered(0, 0, 0, 1, 1, 2))
	for _, step := range []struct {
		peer   int
		health Health
		want   string
	}{
		{0, HealthDown, "0:12"},
		{1, HealthDown, "1:34"},
		{1, HealthUp, "0:12"},
		{1, HealthDown, "1:34"},
		{3, HealthDown, "0:2"}, // none has two: the lowest that has any
		{2, HealthDown, "1:4"},
		{4, HealthDown, "2:5"},
		{5, HealthDown, "2:" + ErrNoPeer.Error()},
		{0, HealthUp, "0:0"},
	} {
		w.SetHealth(addr(step.peer), step.health)
		if got := w.served(t); got != step.want {
			t.Errorf("peer %d %v: %s, expected %s", step.peer, step.health, got, step.want)
		}
	}
	w.Tune(Tuning{MinUp: 1})
	w.SetHealth(addr(3), HealthUp)
	if got := w.served(t); got != "0:0" {
		t.Errorf("with min_up 1: %s", got)
	}
}

// Primaries fail and recover: all sessions go to the backup, then all to the primaries, when failback lets them.
func TestRH6Failback(t *testing.T) {
	for _, tc := range []struct {
		failback time.Duration
		want     [4]string // recovered, just before a minute, after it, and with the backup down
	}{
		{0, [4]string{"0:01", "0:01", "0:01", "0:01"}},
		{time.Minute, [4]string{"1:2", "1:2", "0:01", "0:01"}},
		{NeverFailback, [4]string{"1:2", "1:2", "1:2", "0:01"}},
	} {
		clock := newWall()
		w := table(t, Options{Slots: 1, Now: clock.Now, Tuning: Tuning{Failback: tc.failback}})
		w.apply(t, tiered(0, 0, 1))
		w.shares(t, 1, 3)
		w.SetHealth(addr(0), HealthDown)
		w.SetHealth(addr(1), HealthDown)
		if got := w.served(t); got != "1:2" {
			t.Fatalf("%v: primaries down: %s", tc.failback, got)
		}
		w.SetHealth(addr(0), HealthUp)
		w.SetHealth(addr(1), HealthUp)
		got := [4]string{0: w.served(t)}
		if s := w.Status().Peers[0]; tc.failback != 0 && (s.State != "standby" || s.Standing != StandingStandby) {
			t.Errorf("%v: a lower tier that waits is %s, %v", tc.failback, s.State, s.Standing)
		}
		if due, ok := w.Due(); ok != (tc.failback > 0) || ok && due != time.Minute {
			t.Errorf("%v: due %v, %v", tc.failback, due, ok)
		}
		clock.pass(time.Minute - 1)
		if w.Advance() {
			t.Errorf("%v: advanced early", tc.failback)
		}
		got[1] = w.served(t)
		clock.pass(1)
		if w.Advance() != (tc.failback > 0) || w.Advance() {
			t.Errorf("%v: advanced", tc.failback)
		}
		got[2] = w.served(t)
		w.SetHealth(addr(2), HealthDown)
		got[3] = w.served(t)
		if got != tc.want {
			t.Errorf("%v: %v, expected %v", tc.failback, got, tc.want)
		}
	}
}

func TestFailbackWaitsForALowerTierThatStaysFit(t *testing.T) {
	clock := newWall()
	w := table(t, Options{Slots: 1, Now: clock.Now, Tuning: Tuning{Failback: time.Minute}})
	w.apply(t, tiered(0, 1))
	w.shares(t, 1, 2)
	w.SetHealth(addr(0), HealthDown)
	for range 3 {
		w.SetHealth(addr(0), HealthUp)
		clock.pass(40 * time.Second)
		w.Advance()
		if got := w.served(t); got != "1:1" {
			t.Fatalf("40 s after it came back: %s", got)
		}
		w.SetHealth(addr(0), HealthDown)
		if _, ok := w.Due(); ok {
			t.Error("something is due for a tier that is down")
		}
	}
	w.SetHealth(addr(0), HealthUp)
	clock.pass(30 * time.Second)
	w.Tune(Tuning{Failback: 20 * time.Second})
	if got := w.served(t); got != "0:0" {
		t.Errorf("fit for longer than the new failback asks: %s", got)
	}
}

// Before there was a session, peers come in any order: the lowest tier serves in the end.
func TestFailbackNeedsAServiceThatWas(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{Failback: NeverFailback}})
	w.apply(t, tiered(0, 1)[1:])
	w.apply(t, tiered(0, 1))
	if got := w.served(t); got != "0:0" {
		t.Errorf("serves %s, because that was known first", got)
	}
	w = table(t, Options{Slots: 1, Tuning: Tuning{Failback: NeverFailback}})
	w.apply(t, tiered(0, 1)[1:])
	w.shares(t, 1, 2)
	w.apply(t, tiered(0, 1))
	if got := w.served(t); got != "1:1" {
		t.Errorf("serves %s, though tier 1 had a session", got)
	}
}

// A table that takes the place of another serves from the tier that served there.
func TestFailbackGoesOnInAnotherTable(t *testing.T) {
	w := table(t, Options{Slots: 1, Tier: 1, Tuning: Tuning{Failback: NeverFailback}})
	w.apply(t, tiered(0, 1)[:1]) // what is known first
	w.apply(t, tiered(0, 1))
	if got := w.served(t); got != "1:1" {
		t.Errorf("serves %s", got)
	}
	w.apply(t, tiered(0, 2))
	if got := w.served(t); got != "0:0" {
		t.Errorf("its tier is gone: serves %s", got)
	}
	before := w.Status().Epoch
	if w.Tune(Tuning{Failback: NeverFailback}) || w.Status().Epoch != before {
		t.Error("the same tuning made an epoch")
	}
	w.Close()
	if w.Tune(Tuning{}) || w.Advance() {
		t.Error("a closed table was tuned")
	}
}
