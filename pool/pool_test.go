package pool

import (
	"fmt"
	"net/netip"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func addr(i int) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{192, 0, byte(2 + i/250), byte(1 + i%250)}), 5432)
}

// members makes peers 0 to n-1 of weight 1, or of the weights given.
func members(n int, weights ...int) []Member {
	list := make([]Member, n)
	for i := range list {
		list[i] = Member{Addr: addr(i), Weight: 1}
		if i < len(weights) {
			list[i].Weight = weights[i]
		}
	}
	return list
}

// watched is a table that records which peers ended.
type watched struct {
	*Table
	mu    sync.Mutex
	ended map[*Peer]int
}

func table(t testing.TB, o Options) *watched {
	t.Helper()
	w := &watched{ended: make(map[*Peer]int)}
	o.OnGone = func(p *Peer) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.ended[p]++
	}
	r := NewReclaimer()
	w.Table = New(o, r)
	t.Cleanup(func() {
		w.Close()
		r.Close()
	})
	return w
}

func (w *watched) endings(p *Peer) int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended[p]
}

func (w *watched) apply(t testing.TB, list []Member) Diff {
	t.Helper()
	d, err := w.Apply(list, CauseDNS)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func (w *watched) acquire(t testing.TB, r Request) *Lease {
	t.Helper()
	l, err := w.Acquire(r)
	if err != nil {
		t.Fatalf("acquire: %v", err)
	}
	return &l
}

// eventually waits for what the reclaimer does in its own time; it fails only after long.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for start := time.Now(); !ok(); time.Sleep(100 * time.Microsecond) {
		if time.Since(start) > 10*time.Second {
			t.Fatalf("never: %s", what)
		}
	}
}

// order takes n leases one after the other, releasing each at once, and writes the peers' numbers.
func (w *watched) order(t testing.TB, n int) string {
	s := ""
	for range n {
		l := w.acquire(t, Request{})
		for i := range 250 {
			if l.Peer().Addr() == addr(i) {
				s += fmt.Sprint(i)
			}
		}
		l.Release(OutcomeOK)
	}
	return s
}

func TestApplyMergesSortsAndCompares(t *testing.T) {
	w := table(t, Options{Slots: 1})
	a, b := addr(0), addr(1)
	d := w.apply(t, []Member{
		{Addr: b, Weight: 1, Sources: []string{"y"}},
		{Addr: a, Weight: 2, Sources: []string{"x"}},
		{Addr: netip.AddrPortFrom(netip.AddrFrom16(a.Addr().As16()), a.Port()), Weight: 3, Sources: []string{"w", "x"}},
	})
	if !d.Changed || len(d.Added) != 2 || d.Added[0] != a || d.Added[1] != b {
		t.Fatalf("first apply: %+v", d)
	}
	s := w.Status()
	if got := fmt.Sprint(s.Peers[0].Weight, s.Peers[0].Tier, s.Peers[0].Sources); got != "5 0 [w x]" {
		t.Errorf("merged member is %s, expected weight 5, tier 0, sources w and x", got)
	}
	same := w.apply(t, []Member{{Addr: a, Weight: 5, Sources: []string{"w", "x"}}, {Addr: b, Weight: 1, Sources: []string{"y"}}})
	if same.Changed || same.Epoch != d.Epoch {
		t.Errorf("the same set in another order published an epoch: %+v", same)
	}
	d = w.apply(t, []Member{{Addr: b, Weight: 7, Sources: []string{"y"}}, {Addr: addr(2), Weight: 1}})
	if len(d.Added) != 1 || len(d.Removed) != 1 || len(d.Reweighted) != 1 || d.Removed[0] != a || d.Reweighted[0] != b {
		t.Errorf("diff is %+v", d)
	}
}

func TestApplyRefusesBadMembersAndKeepsTheEpoch(t *testing.T) {
	w := table(t, Options{Slots: 1})
	before := w.apply(t, members(2))
	for _, m := range []Member{
		{Addr: addr(0), Weight: -1},
		{Addr: addr(0), Weight: MaxWeight + 1},
		{Addr: netip.AddrPort{}, Weight: 1},
		{Addr: netip.AddrPortFrom(addr(0).Addr(), 0), Weight: 1},
	} {
		if _, err := w.Apply([]Member{m}, CauseConfig); err == nil {
			t.Errorf("member %+v was taken", m)
		}
	}
	if s := w.Status(); s.Epoch != before.Epoch || len(s.Peers) != 2 {
		t.Errorf("a refused apply changed the table: %+v", s)
	}
}

func TestWeightZeroTakesNothingNew(t *testing.T) {
	for _, policy := range []Policy{LeastConn, RoundRobin} {
		w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: policy}})
		w.apply(t, members(2, 0, 3))
		if got := w.order(t, 3); got != "111" {
			t.Errorf("%v picked %s, expected 111", policy, got)
		}
		w.apply(t, members(1, 0))
		if _, err := w.Acquire(Request{}); err != ErrNoPeer {
			t.Errorf("%v: %v, expected ErrNoPeer", policy, err)
		}
	}
}

func TestHealthDecidesWhoIsPicked(t *testing.T) {
	w := table(t, Options{Slots: 1, Checked: true, Tuning: Tuning{Policy: RoundRobin}})
	w.apply(t, members(3))
	w.SetHealth(addr(1), HealthUp)
	if got := w.order(t, 3); got != "111" {
		t.Errorf("picked %s: a proven peer is preferred to unproven ones", got)
	}
	w.SetHealth(addr(1), HealthDown)
	if got := w.order(t, 20); len(got) != 20 || got[0] == '1' {
		t.Errorf("picked %s: unproven peers serve when no proven one is there", got)
	}
	w.SetHealth(addr(0), HealthDown)
	w.SetHealth(addr(2), HealthDown)
	if _, err := w.Acquire(Request{}); err != ErrNoPeer || w.Selectable() != 0 {
		t.Errorf("all down: %v with %d selectable", err, w.Selectable())
	}
	if w.SetHealth(addr(9), HealthUp) {
		t.Error("the health of an unknown address changed something")
	}
}

func TestEjectionAfterThreeFailuresAndItsEnd(t *testing.T) {
	now := time.Unix(1000, 0)
	var mu sync.Mutex
	clock := func() time.Time { mu.Lock(); defer mu.Unlock(); return now }
	pass := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); now = now.Add(d) }
	w := table(t, Options{Slots: 1, Now: clock, Rand: func() uint64 { return 1 << 63 }, Tuning: Tuning{Policy: RoundRobin}})
	w.apply(t, members(2))
	fail := func(o Outcome) {
		l := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(1)}})
		l.Release(o)
	}
	state := func() string { return w.Status().Peers[0].State }
	fail(OutcomeConnectFailed)
	fail(OutcomeConnectTimeout)
	if state() != "up" {
		t.Fatal("ejected after two failures")
	}
	fail(OutcomeConnectFailed)
	if state() != "ejected" || w.order(t, 4) != "1111" {
		t.Fatalf("state %s after three failures", state())
	}
	pass(5*time.Second - 1)
	if state() != "ejected" {
		t.Fatal("the first ejection ended before 5 s")
	}
	pass(1)
	if state() != "up" {
		t.Fatal("the first ejection lasts longer than 5 s")
	}
	for range 3 {
		fail(OutcomeResetEarly)
	}
	pass(9 * time.Second)
	if state() != "ejected" {
		t.Fatal("the second ejection in a row is not longer")
	}
	w.SetHealth(addr(0), HealthUp)
	if state() != "up" {
		t.Error("a check that passes does not end an ejection")
	}
	l := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(1)}})
	l.Release(OutcomeConnectFailed)
	l = w.acquire(t, Request{Exclude: []netip.AddrPort{addr(1)}})
	l.Release(OutcomeConnectFailed)
	l = w.acquire(t, Request{Exclude: []netip.AddrPort{addr(1)}})
	l.Connected(0)
	fail(OutcomeConnectFailed)
	if state() != "up" {
		t.Error("a connect that succeeds does not end a row of failures")
	}
	l.Release(OutcomeOK)
}

func TestTheLastPeerIsNeverEjected(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, members(2))
	w.SetHealth(addr(1), HealthDown)
	for range 10 {
		l := w.acquire(t, Request{})
		l.Release(OutcomeConnectFailed)
	}
	if p := w.Status().Peers[0]; p.State != "up" || p.Failures != 10 {
		t.Errorf("the last peer that can be picked is %s, with %d failures, want 10", p.State, p.Failures)
	}
	l := w.acquire(t, Request{})
	l.Connected(0)
	if n := w.Status().Peers[0].Failures; n != 0 {
		t.Errorf("%d failures in a row after a connect that succeeded", n)
	}
	l.Release(OutcomeOK)
}

func TestPeerComesBackWhileItsEpochLives(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, members(2))
	l := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(1)}})
	p := l.Peer()
	w.apply(t, members(2, 1, 1)[1:])
	if w.Serves(p) || w.Status().Peers[0].State != "draining" {
		t.Error("a peer that is no longer listed still serves")
	}
	w.apply(t, members(2))
	if w.Peer(addr(0)) != p || !w.Serves(p) {
		t.Error("an address that came back while an old epoch lists it is another peer")
	}
	l.Release(OutcomeOK)
	if w.endings(p) != 0 {
		t.Error("a listed peer ended")
	}
}

func TestCloseEndsEveryPeerAfterItsLeases(t *testing.T) {
	r := NewReclaimer()
	gone := make(chan *Peer, 4)
	tb := New(Options{Slots: 2, OnGone: func(p *Peer) { gone <- p }}, r)
	tb.Apply(members(1), CauseDNS)
	l, _ := tb.Acquire(Request{Slot: 1})
	tb.Close()
	tb.Close()
	if _, err := tb.Acquire(Request{}); err != ErrClosed {
		t.Errorf("acquire on a closed table: %v", err)
	}
	if _, err := tb.Apply(members(2), CauseDNS); err != ErrClosed {
		t.Fatalf("apply on a closed table: %v", err)
	}
	l.Release(OutcomeNeutral)
	if p := <-gone; p.Addr() != addr(0) || p.Active() != 0 || p.Total() != 1 {
		t.Errorf("ended: %v with %d active", p.Addr(), p.Active())
	}
	r.Close()
	if p, rec := tb.Counts(); p != rec {
		t.Errorf("%d epochs published, %d reclaimed", p, rec)
	}
}
