package pool

import (
	"slices"
	"testing"
)

// A check may grant a part of a weight, or more than all of it.
func TestSharesFollowPercentages(t *testing.T) {
	const most = MaxWeight
	for _, c := range []struct {
		weights, percents []int
		want              []int64 // weights of the epoch
	}{
		{[]int{1, 1}, []int{0, 0}, []int64{1, 1}},
		{[]int{1, 1}, []int{100, 0}, []int64{1, 1}},
		{[]int{1, 1}, []int{50, 0}, []int64{50, 100}},
		{[]int{1, 1}, []int{0, 150}, []int64{100, 150}},
		{[]int{3, 5}, []int{33, 1}, []int64{99, 5}},
		{[]int{most, most}, []int{50, 0}, []int64{most / 2, most}},
		{[]int{most, 1}, []int{150, 1}, []int64{most, 1}},
		{[]int{most, most}, []int{most, most}, []int64{most, most}},
	} {
		w := table(t, Options{Slots: 1})
		w.apply(t, members(2, c.weights...))
		var findings []Finding
		for i, percent := range c.percents {
			findings = append(findings, Finding{addr(i), HealthUp, percent})
		}
		w.SetHealths(findings...)
		var got []int64
		for _, c := range w.current.Load().candidates {
			got = append(got, c.weight)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%v at %v %%: %v, expected %v", c.weights, c.percents, got, c.want)
		}
	}
}

// A percentage makes an epoch when it changes, lasts over others, and goes with what was known of the peer.
func TestPercentageIsPublishedAndKept(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: RoundRobin}})
	w.apply(t, members(2))
	w.SetHealths(Finding{addr(0), HealthUp, 0}, Finding{addr(1), HealthUp, 0})
	expect := func(when string, want ...int) {
		t.Helper()
		if got := w.shares(t, 30, 2); !slices.Equal(got, want) {
			t.Errorf("%s: shares %v, expected %v", when, got, want)
		}
	}
	expect("at first", 15, 15)
	half := Finding{addr(1), HealthUp, 50}
	before := w.Status().Epoch
	if !w.SetHealths(half) || w.SetHealths(half) || w.Status().Epoch != before+1 {
		t.Errorf("epoch %d after %d, expected one more", w.Status().Epoch, before)
	}
	expect("at half", 20, 10)
	if s := w.Status().Peers[1]; s.Weight != 1 || !slices.Contains(s.Figures, Figure{FigureShare, 1. / 3}) {
		t.Errorf("%+v", s)
	}
	w.apply(t, members(2, 1, 4))
	expect("of another weight", 10, 20)
	if _, err := w.SetWeight(addr(1), 1); err != nil {
		t.Error(err)
	}
	expect("of an operator's weight", 20, 10)
	for _, a := range []Admin{AdminMaint, AdminReady} {
		if _, err := w.SetAdmin(addr(1), a); err != nil {
			t.Error(err)
		}
	}
	expect("after maintenance", 15, 15)
}
