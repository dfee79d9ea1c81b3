package pool

import (
	"math/rand/v2"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestPolicyWords(t *testing.T) {
	for _, p := range []Policy{LeastConn, RoundRobin} {
		if got, err := ParsePolicy(p.String()); got != p || err != nil {
			t.Errorf("ParsePolicy(%s) = %v, %v", p, got, err)
		}
	}
	if _, err := ParsePolicy("sorted"); err == nil || !strings.Contains(err.Error(), "sorted") {
		t.Errorf("a word that is no policy: %v", err)
	}
}

func TestRoundRobinIsSmooth(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: RoundRobin}})
	w.apply(t, members(3, 10, 2, 2))
	if got := w.order(t, 14); got != "00102000010200" {
		t.Errorf("weights 5:1:1 gave %s", got)
	}
}

func TestRoundRobinKeepsItsPlaceAcrossEpochs(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: RoundRobin}})
	got := ""
	for i := range 9 {
		list := members(3)
		list[0].Sources = []string{string(rune('a' + i))}
		w.apply(t, list)
		got += w.order(t, 1)
	}
	if got != "012012012" {
		t.Errorf("one pick per epoch gave %s: the position did not survive", got)
	}
}

func TestRoundRobinSpreadsTheShareOfAPeerThatIsOut(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: RoundRobin}})
	w.apply(t, members(5))
	counts := map[netip.AddrPort]int{}
	for range 4000 {
		l := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(2)}})
		counts[l.Peer().Addr()]++
		l.Release(OutcomeOK)
	}
	for i := range 5 {
		if n := counts[addr(i)]; i != 2 && (n < 900 || n > 1100) {
			t.Errorf("peer %d got %d of 4000, expected about 1000: %v", i, n, counts)
		}
	}
}

func TestSmoothSequencesGiveEachItsShare(t *testing.T) {
	for _, n := range []int{1, 2, 3, 50, 300, 1500} {
		list := make([]candidate, n)
		var sum int64
		for i := range list {
			list[i].weight = 1 + int64(i%7)
			sum += list[i].weight
		}
		counts := make([]int64, n)
		for _, i := range smooth(list) {
			counts[i]++
		}
		for i := range list {
			if counts[i]*sum != list[i].weight*int64(len(smoothOf(counts))) {
				t.Fatalf("%d candidates: %d has %d turns for weight %d of %d", n, i, counts[i], list[i].weight, sum)
			}
		}
	}
	big := []candidate{{weight: 65535}, {weight: 65534}, {weight: 1}}
	counts := map[uint32]int{}
	seq := smooth(big)
	for _, i := range seq {
		counts[i]++
	}
	if len(seq) > maxTurns+3 || counts[2] == 0 {
		t.Errorf("large weights: %d turns, %v", len(seq), counts)
	}
}

func smoothOf(counts []int64) []struct{} {
	var s int64
	for _, c := range counts {
		s += c
	}
	return make([]struct{}, s)
}

func TestLeastConnFollowsLoadAndWeight(t *testing.T) {
	w := table(t, Options{Slots: 2})
	w.apply(t, members(3, 1, 2, 3))
	counts := map[netip.AddrPort]int{}
	var held []*Lease
	for i := range 60 {
		l := w.acquire(t, Request{Slot: i % 2, Now: time.Duration(i+1) * time.Second})
		counts[l.Peer().Addr()]++
		held = append(held, l)
	}
	if counts[addr(0)] != 10 || counts[addr(1)] != 20 || counts[addr(2)] != 30 {
		t.Errorf("60 sessions over weights 1:2:3 went %v", counts)
	}
	for _, l := range held {
		l.Release(OutcomeOK)
	}
}

func TestLeastConnRotatesTies(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, members(4))
	counts := map[rune]int{}
	for _, c := range w.order(t, 40) {
		counts[c]++
	}
	for c, n := range counts {
		if n != 10 {
			t.Errorf("peer %c got %d of 40 ties", c, n)
		}
	}
}

func TestLeastConnAboveTheExactLimit(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	w := table(t, Options{Slots: 1, Rand: rand.New(rand.NewPCG(seed, 1)).Uint64})
	w.apply(t, members(100))
	counts := map[netip.AddrPort]int{}
	var held []*Lease
	for range 1000 {
		l := w.acquire(t, Request{})
		counts[l.Peer().Addr()]++
		held = append(held, l)
	}
	for a, n := range counts {
		if n > 14 { // two choices keep the excess over the mean at log log n
			t.Errorf("%v has %d of 1000 sessions over 100 peers", a, n)
		}
	}
	for i := range 99 { // only peer 99 is left
		w.SetHealth(addr(i), HealthDown)
	}
	l := w.acquire(t, Request{})
	if l.Peer().Addr() != addr(99) {
		t.Errorf("picked %v, which is down", l.Peer().Addr())
	}
	l.Release(OutcomeOK)
	for _, l := range held {
		l.Release(OutcomeOK)
	}
}

func TestLeastConnIdlePeersByWeightProofAndEjection(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, members(3, 1, 3, 2))
	if got := w.order(t, 6); got != "111111" {
		t.Errorf("idle peers of weights 1:3:2 went %s, expected the heaviest", got)
	}
	w.apply(t, members(3, 1, 2, 3))
	if got := w.order(t, 6); got != "222222" {
		t.Errorf("idle peers of weights 1:2:3 went %s, expected the heaviest", got)
	}
	w.apply(t, members(2))
	for range 3 {
		l := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(0)}})
		l.Release(OutcomeConnectFailed)
	}
	if got := w.order(t, 4); got != "0000" {
		t.Errorf("picked %s while peer 1 is ejected", got)
	}
	w = table(t, Options{Slots: 1, Checked: true})
	w.apply(t, members(3))
	w.SetHealth(addr(1), HealthUp)
	if got := w.order(t, 4); got != "1111" {
		t.Errorf("picked %s: a proven peer is preferred to unproven ones", got)
	}
}
