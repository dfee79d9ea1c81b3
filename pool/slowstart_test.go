package pool

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// shares takes n leases one after the other and counts them by peer.
func (w *watched) shares(t *testing.T, n, peers int) []int {
	t.Helper()
	counts := make([]int, peers)
	for range n {
		l := w.acquire(t, Request{})
		for i := range counts {
			if l.Peer().Addr() == addr(i) {
				counts[i]++
			}
		}
		l.Release(OutcomeOK)
	}
	return counts
}

// over advances a table until a time has passed.
func (w *watched) over(t *testing.T, clock *wall, d time.Duration) (epochs int) {
	t.Helper()
	for d > 0 {
		due, ok := w.Due()
		if !ok || due > d {
			clock.pass(d)
			return epochs
		}
		clock.pass(due)
		d -= due
		if !w.Advance() {
			t.Fatal("nothing was done when it was due")
		}
		epochs++
	}
	return epochs
}

func TestSlowStartIsLinear(t *testing.T) {
	clock := newWall()
	w := table(t, Options{Slots: 1, Now: clock.Now, Tuning: Tuning{Policy: RoundRobin, MaxConns: 100, SlowStart: 20 * time.Second}})
	w.apply(t, members(2, 3, 3))
	expect := func(when string, want []int, limit int32) {
		t.Helper()
		sum := want[0] + want[1]
		if got := w.shares(t, 3*sum, 2); !slices.Equal(got, []int{3 * want[0], 3 * want[1]}) {
			t.Errorf("%s: shares %v, expected 3 times %v", when, got, want)
		}
		var last int32
		for _, c := range w.current.Load().candidates {
			last = c.limit
		}
		if last != limit {
			t.Errorf("%s: limit %d, expected %d", when, last, limit)
		}
	}
	expect("at the start", []int{1, 1}, 100)
	w.SetHealth(addr(1), HealthDown)
	clock.pass(time.Hour)
	w.SetHealth(addr(1), HealthUp)
	expect("back", []int{20, 1}, 5)
	if s := w.Status().Peers[1]; !slices.Contains(s.Figures, Figure{FigureShare, 1. / 21}) {
		t.Errorf("figures %v", s.Figures)
	}
	w.over(t, clock, 5*time.Second)
	expect("after a quarter", []int{4, 1}, 25)
	w.over(t, clock, 5*time.Second)
	expect("after a half", []int{2, 1}, 50)
	if n := w.over(t, clock, time.Hour); n != 10 {
		t.Errorf("%d epochs in the second half", n)
	}
	expect("at the end", []int{1, 1}, 100)
	if _, ok := w.Due(); ok {
		t.Error("something is due still")
	}
}

// Policies count with weights up to MaxWeight.
func TestSlowStartOfLargeWeights(t *testing.T) {
	clock := newWall()
	w := table(t, Options{Slots: 1, Now: clock.Now, Tuning: Tuning{SlowStart: 10 * time.Second}})
	w.apply(t, members(3, MaxWeight, MaxWeight, 1))
	w.shares(t, 1, 3)
	w.SetHealth(addr(1), HealthDown)
	w.SetHealth(addr(1), HealthUp)
	want := []int64{MaxWeight, MaxWeight / warmSteps, 1}
	for i, c := range w.current.Load().candidates {
		if c.weight != want[i] {
			t.Errorf("peer %d weighs %d, expected %d", i, c.weight, want[i])
		}
	}
}

func TestSlowStartOfWhom(t *testing.T) {
	for name, away := range map[string]func(w *watched, back bool){
		"down": func(w *watched, back bool) {
			w.SetHealth(addr(1), map[bool]Health{false: HealthDown, true: HealthUp}[back])
		},
		"drained": func(w *watched, back bool) {
			w.SetAdmin(addr(1), map[bool]Admin{false: AdminDrain, true: AdminReady}[back])
		},
		"without weight": func(w *watched, back bool) { w.SetWeight(addr(1), map[bool]int{false: 0, true: NoWeight}[back]) },
		"absent":         func(w *watched, back bool) { w.Apply(members(map[bool]int{false: 1, true: 2}[back]), CauseDNS) },
	} {
		clock := newWall()
		w := table(t, Options{Slots: 1, Now: clock.Now, Tuning: Tuning{Policy: RoundRobin, SlowStart: 10 * time.Second}})
		w.apply(t, members(2))
		away(w, false)
		away(w, true)
		if _, ok := w.Due(); ok {
			t.Errorf("%s: before the first session a peer starts slowly", name)
		}
		held := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(0)}}) // holds the epoch, and so the peer
		w.shares(t, 1, 2)
		away(w, false)
		away(w, true)
		if got := w.shares(t, 42, 2); !slices.Equal(got, []int{40, 2}) {
			t.Errorf("%s: shares %v after it is back", name, got)
		}
		w.over(t, clock, 10*time.Second)
		if got := w.shares(t, 42, 2); !slices.Equal(got, []int{21, 21}) {
			t.Errorf("%s: shares %v in the end", name, got)
		}
		held.Release(OutcomeOK)
	}
}

// The slow start of a peer with a check begins when that passes: before, others have its sessions.
func TestSlowStartBeginsWithTheCheck(t *testing.T) {
	clock := newWall()
	w := table(t, Options{Slots: 1, Checked: true, Now: clock.Now, Tuning: Tuning{Policy: RoundRobin, SlowStart: 10 * time.Second}})
	w.apply(t, members(1))
	w.SetHealth(addr(0), HealthUp)
	w.shares(t, 1, 1)
	w.apply(t, members(2))
	if _, ok := w.Due(); ok {
		t.Error("something is due before its check has passed")
	}
	clock.pass(time.Hour)
	w.SetHealth(addr(1), HealthUp)
	if got := w.shares(t, 42, 2); !slices.Equal(got, []int{40, 2}) {
		t.Errorf("shares %v after its check has passed", got)
	}
	w.Tune(Tuning{})
	if got := w.shares(t, 42, 2); !slices.Equal(got, []int{21, 21}) {
		t.Errorf("shares %v without slow start", got)
	}
}
