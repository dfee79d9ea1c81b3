package pool

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// tiered lists one member for each tier given, at addr(0), addr(1) and so on, with weight 1.
func tiered(tiers ...int) []Member {
	list := members(len(tiers))
	for i, tier := range tiers {
		list[i].Tier = tier
	}
	return list
}

// picks acquires as often as a fair choice needs to see every peer, and says which it saw.
func picks(t *testing.T, w *watched) string {
	t.Helper()
	seen := make(map[netip.AddrPort]bool)
	for range 50 {
		l, err := w.Acquire(Request{})
		if err != nil {
			return err.Error()
		}
		seen[l.Peer().Addr()] = true
		defer l.Release(OutcomeNeutral)
	}
	text := ""
	for i := range 20 {
		if seen[addr(i)] {
			text += fmt.Sprint(i)
		}
	}
	return text
}

func TestTheLowestTierThatCanServes(t *testing.T) {
	for _, policy := range []Policy{LeastConn, RoundRobin} {
		w := table(t, Options{Slots: 1, Checked: true, Tuning: Tuning{Policy: policy}})
		serves := func(why string, tier int, want string) {
			t.Helper()
			if got := picks(t, w); got != want {
				t.Errorf("%v, %s: picks %q, want %q", policy, why, got, want)
			}
			n := len(want)
			if want == ErrNoPeer.Error() {
				n = 0
			}
			if gotTier, got := w.Serving(); got != n || w.Selectable() != n || (n > 0 && gotTier != tier) {
				t.Errorf("%v, %s: tier %d with %d to pick, want tier %d with %d", policy, why, gotTier, got, tier, n)
			}
		}
		w.apply(t, tiered(7, 2, 2, 5, 5))
		serves("at the start", 2, "12")
		w.SetHealth(addr(1), HealthDown)
		serves("one of the tier is down", 2, "2")
		w.SetHealth(addr(2), HealthDown)
		serves("the tier is down", 5, "34")
		w.SetHealth(addr(3), HealthDown)
		w.SetHealth(addr(4), HealthDown)
		serves("two tiers are down", 7, "0")
		w.SetHealth(addr(0), HealthDown)
		serves("all are down", 0, ErrNoPeer.Error())
		w.SetHealth(addr(4), HealthUp)
		serves("one is back", 5, "4")
		w.SetHealth(addr(0), HealthUp)
		serves("a higher tier is back too", 5, "4")
		w.SetHealth(addr(2), HealthUp)
		serves("the lowest is back", 2, "2")
		list := tiered(7, 2, 2, 5, 5)
		list[2].Weight = 0
		w.apply(t, list)
		serves("the lowest has no weight", 5, "4")
		w.apply(t, tiered(0, 2, 2, 5, 5))
		serves("a peer changes its tier", 0, "0")
	}
}

// A heavy peer that stands by is no measure for those that serve.
func TestWeightsOfOtherTiersDoNotCount(t *testing.T) {
	w := table(t, Options{Slots: 1})
	list := tiered(1, 0, 0)
	list[0].Weight = 1000
	list[2].Weight = 3
	w.apply(t, list)
	counts := make(map[netip.AddrPort]int)
	for range 400 {
		l := w.acquire(t, Request{})
		counts[l.Peer().Addr()]++
		defer l.Release(OutcomeNeutral)
	}
	if counts[addr(0)] != 0 || counts[addr(1)] != 100 || counts[addr(2)] != 300 {
		t.Errorf("%v", counts)
	}
	if e := w.current.Load(); e.heaviest != 3 {
		t.Errorf("the heaviest is %d", e.heaviest)
	}
}

// A session that fails on the only peer of its tier is not passed on to the next tier, nor is its peer ejected.
func TestOnlyChecksMoveServiceToAnotherTier(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, tiered(0, 0, 1))
	for range 10 {
		l := w.acquire(t, Request{})
		l.Release(OutcomeConnectFailed)
	}
	if got := picks(t, w); got != "0" && got != "1" {
		t.Errorf("with one of the tier ejected: %q", got)
	}
	if _, err := w.Acquire(Request{Exclude: []netip.AddrPort{addr(0), addr(1)}}); !errors.Is(err, ErrNoPeer) {
		t.Errorf("all of the tier excluded: %v", err)
	}
	ejected := 0
	for _, p := range w.Status().Peers {
		if !p.EjectedUntil.IsZero() {
			ejected++
		}
	}
	if ejected != 1 {
		t.Errorf("%d peers are ejected", ejected)
	}
}

func TestLimitsDoNotMoveServiceToAnotherTier(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{MaxConns: 1}})
	w.apply(t, tiered(0, 1))
	l := w.acquire(t, Request{})
	defer l.Release(OutcomeOK)
	if _, err := w.Acquire(Request{}); !errors.Is(err, ErrNoPeer) {
		t.Errorf("the tier is full: %v", err)
	}
}

func TestStatusOfAPeerThatStandsBy(t *testing.T) {
	now := time.Unix(1e9, 0)
	w := table(t, Options{Slots: 1, Checked: true, Now: func() time.Time { return now }})
	w.apply(t, tiered(0, 1, 2))
	states := func(want ...string) {
		t.Helper()
		var got []string
		for _, p := range w.Status().Peers {
			got = append(got, p.State)
		}
		if !slices.Equal(got, want) {
			t.Errorf("states %v, want %v", got, want)
		}
	}
	states("unknown", "standby", "standby")
	w.SetHealth(addr(0), HealthUp)
	w.SetHealth(addr(2), HealthDown)
	states("up", "standby", "down")
	w.SetHealth(addr(1), HealthUp)
	if p := w.Peer(addr(1)); !w.Serves(p) {
		t.Error("what is on a peer that stands by should stay")
	}
	w.SetHealth(addr(0), HealthDown)
	states("down", "up", "down")
	w.SetHealth(addr(1), HealthDown)
	states("down", "down", "down")
}

func TestAnAddressInTwoTiersIsInTheLower(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, []Member{
		{Addr: addr(0), Weight: 5, Tier: 1, Sources: []string{"a"}},
		{Addr: addr(0), Weight: 2, Tier: 0, Sources: []string{"b"}},
		{Addr: addr(0), Weight: 1, Tier: 0, Sources: []string{"c"}},
		{Addr: addr(1), Weight: 0, Tier: 0},
		{Addr: addr(1), Weight: 4, Tier: 1},
	})
	p := w.Status().Peers
	if got := fmt.Sprint(p[0].Tier, p[0].Weight, p[0].Sources, p[1].Tier, p[1].Weight); got != "0 3 [a b c] 1 4" {
		t.Errorf("%s", got)
	}
	if _, err := w.Apply([]Member{{Addr: addr(0), Weight: 1, Tier: -1}}, CauseDNS); err == nil {
		t.Error("a tier below 0 is taken")
	}
}
