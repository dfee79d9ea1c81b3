package pool

import (
	"fmt"
	"math/rand/v2"
	"net/netip"
	"testing"
)

// The turns of weights: each peer has its share in every round, exactly, and never more turns in a row than its weight.
func TestRH5SharesAreExactAndSmooth(t *testing.T) {
	for _, c := range []struct {
		weights []int
		picks   int
		want    []int
	}{
		{[]int{1, 1}, 30, []int{15, 15}},
		{[]int{1, 2}, 30, []int{10, 20}},
		{[]int{3, 1}, 4, []int{3, 1}},
		{[]int{3, 6}, 9, []int{3, 6}},
		{[]int{3, 2, 3}, 8, []int{3, 2, 3}},
		{[]int{5, 1, 1}, 70, []int{50, 10, 10}},
		{[]int{65535, 1}, 65536, []int{65535, 1}},
	} {
		w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: RoundRobin}})
		w.apply(t, members(len(c.weights), c.weights...))
		got, run := make([]int, len(c.weights)), 0
		last := -1
		for range c.picks {
			l := w.acquire(t, Request{})
			i := int(l.Peer().Addr().Addr().As4()[3]) - 1
			l.Release(OutcomeOK)
			got[i]++
			if run++; i != last {
				last, run = i, 1
			}
			if run > c.weights[i] {
				t.Fatalf("weights %v: %d turns of peer %d in a row", c.weights, run, i)
			}
		}
		exact := fmt.Sprint(got) == fmt.Sprint(c.want)
		if sum := c.picks; sum > maxTurns { // scaled down: one turn at least for each
			exact = got[1] >= 1 && got[1] <= sum/maxTurns+1
		}
		if !exact {
			t.Errorf("weights %v: %v of %d, expected %v", c.weights, got, c.picks, c.want)
		}
	}
}

// What limits let in, by how many ask: nginx's matrix, where the limit is one for all peers of the pool.
func TestRH7LimitsLetInWhatTheySay(t *testing.T) {
	for policy := range Policy(len(policyWords)) {
		for _, c := range []struct {
			name      string
			limit     int
			members   []Member
			asks, got int
			most      int // of one peer
		}{
			{"no limit", 0, members(2), 6, 6, 6},
			{"one peer, one place", 1, members(1), 4, 1, 1},
			{"two peers, one place each", 1, members(2), 4, 2, 1},
			{"two peers, three places each", 3, members(2), 6, 6, 3},
			{"and two more who ask", 3, members(2), 8, 6, 3},
			{"weights are no limits", 2, members(2, 1, 100), 6, 4, 2},
			{"an address that is listed twice is one", 2, append(members(1), members(1)...), 4, 2, 2},
			{"a full tier keeps its service", 1, tiered(0, 1), 4, 1, 1},
		} {
			w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: policy, MaxConns: c.limit}})
			w.apply(t, c.members)
			var held []*Lease
			for range c.asks {
				if l, err := w.Acquire(Request{}); err == nil {
					held = append(held, &l)
				}
			}
			got, most := c.got, 0
			if policy == Sticky && c.limit > 0 { // one has everything, and nobody spills
				got = min(c.limit, c.asks)
			}
			for i := range c.members {
				if p := w.Peer(addr(i)); p != nil {
					most = max(most, int(p.Active()))
				}
			}
			if len(held) != got || most > c.most {
				t.Errorf("%v, %s: %d of %d let in, at most %d on a peer; expected %d and %d", policy, c.name, len(held), c.asks, most, got, c.most)
			}
			if c.limit == 0 || c.asks <= got {
				for _, l := range held {
					l.Release(OutcomeOK)
				}
				continue
			}
			freed := held[0].Peer().Addr() // a place that is free is had at once, and is that one
			held[0].Release(OutcomeOK)
			again := w.acquire(t, Request{})
			if again.Peer().Addr() != freed {
				t.Errorf("%v, %s: %v is free, and %v was given", policy, c.name, freed, again.Peer().Addr())
			}
			for _, l := range append(held[1:], again) {
				l.Release(OutcomeOK)
			}
			w.atRest(t)
		}
	}
}

// Ten sessions go to the peer that is free, while the other has as many already.
func TestLeastConnFillsWhoIsFree(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, members(2))
	var held []*Lease
	for i := range 20 {
		var r Request
		if i < 10 {
			r.Exclude = []netip.AddrPort{addr(0)}
		}
		held = append(held, w.acquire(t, r))
	}
	if a, b := w.Peer(addr(0)).Active(), w.Peer(addr(1)).Active(); a != 10 || b != 10 {
		t.Errorf("%d and %d", a, b)
	}
	for _, l := range held {
		l.Release(OutcomeOK)
	}
}

// What a policy passes over, because of failures or because the session has tried it, is given to the others, and all of them get
// some.
func TestPoliciesPassOverWhoFails(t *testing.T) {
	const seed = 5
	for policy := range Policy(len(policyWords)) {
		w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: policy}, Rand: rand.New(rand.NewPCG(seed, uint64(policy))).Uint64})
		w.apply(t, members(4))
		for range 3 {
			l := w.acquire(t, Request{Exclude: peersBut(4, 2)})
			l.Release(OutcomeConnectFailed)
		}
		seen := map[netip.AddrPort]int{}
		for i := range 300 {
			l := w.acquire(t, Request{Key: key(i), Exclude: []netip.AddrPort{addr(1)}})
			seen[l.Peer().Addr()]++
			l.Release(OutcomeOK)
		}
		want := 2
		if policy == First || policy == Sticky {
			want = 1
		}
		if seen[addr(1)]+seen[addr(2)] != 0 || len(seen) != want {
			t.Errorf("%v: %v", policy, seen)
		}
	}
}

// A pick among many peers does not look at all of them: the time of a pick is told by go test -bench Many.
func BenchmarkMany(b *testing.B) {
	for _, policy := range []Policy{LeastConn, RoundRobin, Random, Hash} {
		for _, n := range []int{100, 1000, 10_000} {
			b.Run(fmt.Sprintf("%v/peers=%d", policy, n), func(b *testing.B) {
				w := table(b, Options{Slots: 1, Tuning: Tuning{Policy: policy}})
				w.apply(b, members(n))
				now := w.Since(w.opts.Now())
				b.ReportAllocs()
				key := Key(0)
				for b.Loop() {
					key++
					l, _ := w.Acquire(Request{Now: now, Key: key})
					l.Release(OutcomeOK)
				}
			})
		}
	}
}
