package pool

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"testing"
	"time"
)

// standings writes the words of all peers, in order.
func (x *Explanation) standings() (words []string) {
	for _, p := range x.Peers {
		words = append(words, p.Standing.String())
	}
	return words
}

func TestExplainSaysWhyNot(t *testing.T) {
	now := time.Unix(1000, 0)
	w := table(t, Options{Slots: 1, Checked: true, Now: func() time.Time { return now }, Tuning: Tuning{Policy: RoundRobin, MaxConns: 2}})
	list := members(9, 1, 1, 1, 0, 1, 1, 1, 1, 1)
	list[7].Tier = 1
	w.apply(t, list)
	held := w.acquire(t, Request{Exclude: peersBut(9, 8)})
	w.apply(t, list[:8])
	for i := range 8 {
		if i != 1 {
			w.SetHealth(addr(i), HealthUp)
		}
	}
	w.SetHealth(addr(4), HealthDown)
	w.SetAdmin(addr(5), AdminDrain)
	w.SetAdmin(addr(6), AdminMaint)
	var full []*Lease
	for range 2 {
		full = append(full, w.acquire(t, Request{Exclude: peersBut(9, 2)}))
	}
	want := "[good unproven full weightless down drain maint standby unlisted]"
	x := w.Explain(Request{})
	if got := fmt.Sprint(x.standings()); got != want {
		t.Errorf("%s, expected %s", got, want)
	}
	if !slices.Equal(x.Next, []netip.AddrPort{addr(0)}) || x.Tier != 0 || x.Epoch != w.Status().Epoch {
		t.Errorf("%+v", x)
	}
	x = w.Explain(Request{Exclude: []netip.AddrPort{addr(0)}})
	if got := x.Peers[0].Standing; got != StandingTried || !slices.Equal(x.Next, []netip.AddrPort{addr(1)}) {
		t.Errorf("tried: %v, %v", got, x.Next)
	}
	for range 3 {
		l := w.acquire(t, Request{})
		l.Release(OutcomeConnectFailed)
	}
	if x = w.Explain(Request{}); x.Peers[0].Standing != StandingEjected || !slices.Equal(x.Next, []netip.AddrPort{addr(1)}) {
		t.Errorf("ejected: %v, %v", x.Peers[0].Standing, x.Next)
	}
	for s := StandingGood; s <= StandingUnlisted; s++ {
		if s.String() == "" || s.Why() == "" {
			t.Errorf("standing %d has no words", s)
		}
	}
	for _, l := range append(full, held) {
		l.Release(OutcomeOK)
	}
	w.Close()
	if x = w.Explain(Request{}); len(x.Next) != 0 {
		t.Errorf("a closed table: %+v", x)
	}
}

// peersBut lists the addresses of n peers, all but one.
func peersBut(n, but int) (list []netip.AddrPort) {
	for i := range n {
		if i != but {
			list = append(list, addr(i))
		}
	}
	return list
}

// What Explain says is what the next Acquire gets, whatever has happened before, and asking changes nothing.
func TestExplainAgreesWithTheNextPick(t *testing.T) {
	for policy := range Policy(len(policyWords)) {
		for _, limit := range []int{0, 3} {
			t.Run(fmt.Sprintf("%v/limit=%d", policy, limit), func(t *testing.T) {
				const seed = 42
				asked := replayed(seed)
				w := table(t, Options{Slots: 1, Rand: asked.next, Tuning: Tuning{Policy: policy, MaxConns: limit}})
				w.apply(t, members(5, 1, 2, 3, 1, 1))
				var held []*Lease
				for i := range 200 {
					r := Request{Key: Key(i * 7919), Now: time.Duration(i + 1)}
					mark := asked.at
					x := w.Explain(r)
					w.Explain(r)
					asked.at = mark // the draws of the question come again
					l, err := w.Acquire(r)
					switch {
					case err != nil && len(x.Next) == 0:
						held[0].Release(OutcomeOK)
						held = held[1:]
						continue
					case err != nil || len(x.Next) != 1 || x.Next[0] != l.Peer().Addr():
						t.Fatalf("pick %d: %v was said", i, x.Next)
					}
					if i%3 == 0 {
						l.Release(OutcomeOK)
					} else {
						held = append(held, &l)
					}
				}
				for _, l := range held {
					l.Release(OutcomeOK)
				}
			})
		}
	}
}

func TestExplainShowsWhatThePolicyGoesBy(t *testing.T) {
	for policy, want := range map[Policy]string{
		LeastConn:  "[{load 2}] [{load 0.5}]",
		RoundRobin: "[{share 0.3333333333333333}] [{share 0.6666666666666666}]",
		Random:     "[{share 0.3333333333333333} {load 2}] [{share 0.6666666666666666} {load 0.5}]",
		First:      "[] []",
		Sticky:     "[{holder 1}] []",
		LeastTime:  "[{load 2} {connect 0.003}] [{load 0.5} {connect 0}]",
	} {
		w := table(t, Options{Slots: 2, Now: func() time.Time { return time.Unix(1e9, 0) }, Tuning: Tuning{Policy: policy}})
		w.apply(t, members(2, 1, 2))
		w.Explain(Request{})
		if f := w.Explain(Request{}).Peers[0].Figures; policy == Sticky && len(f) > 0 {
			t.Errorf("a question made a holder: %v", f)
		}
		l := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(1)}})
		l.Connected(3 * time.Millisecond)
		x := w.Explain(Request{Exclude: peersBut(2, 0)})
		if got := fmt.Sprint(x.Peers[0].Figures, x.Peers[1].Figures); got != want {
			t.Errorf("%v: %s, expected %s", policy, got, want)
		}
		if drawn := policy == Random; x.Drawn != drawn {
			t.Errorf("%v: drawn %v", policy, x.Drawn)
		}
		l.Release(OutcomeOK)
	}
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash}})
	w.apply(t, members(4, 1, 2, 3, 4))
	for key := range Key(100) {
		x := w.Explain(Request{Key: key})
		best := slices.MinFunc(x.Peers, func(a, b PeerStatus) int {
			return cmp.Compare(a.Figures[1].Value, b.Figures[1].Value)
		})
		if best.Addr != x.Next[0] {
			t.Errorf("key %d goes to %v, but %v has the smallest draw", key, x.Next, best.Addr)
		}
	}
}

// draws are numbers that can be had again.
type draws struct {
	list []uint64
	at   int
	rng  *rand.Rand
}

func replayed(seed uint64) *draws { return &draws{rng: rand.New(rand.NewPCG(seed, 1))} }

func (d *draws) next() uint64 {
	if d.at == len(d.list) {
		d.list = append(d.list, d.rng.Uint64())
	}
	d.at++
	return d.list[d.at-1]
}
