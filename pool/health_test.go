package pool

import (
	"testing"
)

// Where new peers are unfit until their check has spoken, no epoch ever offers one before that.
func TestFreshPeersWait(t *testing.T) {
	fresh := HealthUnfit
	w := table(t, Options{Slots: 1, Checked: true, Fresh: func() Health { return fresh }, Tuning: Tuning{Policy: RoundRobin}})
	w.apply(t, members(2))
	if _, err := w.Acquire(Request{}); err != ErrNoPeer || w.Selectable() != 0 {
		t.Fatalf("picked a peer of which nothing is known: %v", err)
	}
	if p := w.Status().Peers[0]; p.State != "unwanted" || p.Health != HealthUnfit || p.Health.String() != "unfit" {
		t.Errorf("%+v", p)
	}
	w.SetHealth(addr(1), HealthUp)
	if got := picks(t, w); got != "1" {
		t.Errorf("picks %s, want 1", got)
	}
	for _, a := range []Admin{AdminMaint, AdminReady} { // maintenance makes it new
		if _, err := w.SetAdmin(addr(1), a); err != nil {
			t.Fatal(err)
		}
	}
	if w.Selectable() != 0 {
		t.Error("picked after maintenance, before its check has spoken")
	}
	fresh = HealthUnknown
	w.apply(t, members(3))
	if got := picks(t, w); got != "2" {
		t.Errorf("picks %s, want 2", got)
	}
}

// One peer loses its place to another in one epoch, whichever is named first, and may keep what it has.
func TestFindingsAreOneEpoch(t *testing.T) {
	for _, list := range [][]Finding{
		{{Addr: addr(0), Health: HealthUnfit}, {Addr: addr(1), Health: HealthUp}},
		{{Addr: addr(1), Health: HealthUp}, {Addr: addr(0), Health: HealthUnfit}},
		{{Addr: addr(2), Health: HealthUnfit}, {Addr: addr(9), Health: HealthUp}, {Addr: addr(1), Health: HealthUp}, {Addr: addr(0), Health: HealthUnfit}}, // 2 is held by an old epoch only, 9 unknown
	} {
		w := table(t, Options{Slots: 1, Fresh: func() Health { return HealthUnfit }, Tuning: Tuning{Policy: RoundRobin}})
		w.apply(t, members(3))
		w.SetHealth(addr(2), HealthUp)
		old := w.acquire(t, Request{})
		w.apply(t, members(2))
		w.SetHealth(addr(0), HealthUp)
		held := w.acquire(t, Request{})
		before := w.Status().Epoch
		if !w.SetHealths(list...) || w.Status().Epoch != before+1 {
			t.Errorf("%v: epoch %d after %d, want one more", list, w.Status().Epoch, before)
		}
		if got := picks(t, w); got != "1" || held.Peer().Addr() != addr(0) || !w.Serves(held.Peer()) {
			t.Errorf("%v: picks %s, want 1; holds %v", list, got, held.Peer().Addr())
		}
		if w.SetHealths(list...) || w.Status().Epoch != before+1 {
			t.Errorf("%v: again, and something changed", list)
		}
		held.Release(OutcomeOK)
		old.Release(OutcomeOK)
	}
}
