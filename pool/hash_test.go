package pool

import (
	"fmt"
	"math"
	"net/netip"
	"testing"
)

func key(i int) Key {
	return KeyOf(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 0)
}

// where says to whom each of n keys goes.
func (w *watched) where(t testing.TB, n int, exclude ...netip.AddrPort) []netip.AddrPort {
	t.Helper()
	to := make([]netip.AddrPort, n)
	for i := range to {
		l := w.acquire(t, Request{Key: key(i), Exclude: exclude})
		to[i] = l.Peer().Addr()
		l.Release(OutcomeOK)
	}
	return to
}

// Whoever leaves, or is passed over, loses his keys; nobody else loses any, and all get some of them.
func TestRH8HashMovesOnlyTheKeysOfThePeerThatLeaves(t *testing.T) {
	for _, weights := range [][]int{nil, {1, 2, 3, 4, 5, 5, 4, 3, 2, 1}} {
		w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash}})
		w.apply(t, members(10, weights...))
		before := w.where(t, 10_000)
		passed := w.where(t, 10_000, addr(4))
		list := members(10, weights...)
		w.apply(t, append(list[:4:4], list[5:]...))
		after := w.where(t, 10_000)
		heirs := map[netip.AddrPort]bool{}
		for i := range before {
			if passed[i] != after[i] {
				t.Fatalf("key %d: %v while peer 4 is excluded, %v once it is gone", i, passed[i], after[i])
			}
			if before[i] != addr(4) && after[i] != before[i] {
				t.Fatalf("key %d moved from %v to %v, though peer 4 left", i, before[i], after[i])
			}
			if before[i] == addr(4) {
				heirs[after[i]] = true
			}
		}
		if len(heirs) != 9 {
			t.Errorf("weights %v: the keys went to %d peers, expected 9", weights, len(heirs))
		}
	}
}

func TestHashFollowsWeights(t *testing.T) {
	w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash}})
	weights := []int{1, 2, 2, 4, 7}
	w.apply(t, members(5, weights...))
	counts := map[netip.AddrPort]int{}
	const n = 400_000
	for _, a := range w.where(t, n) {
		counts[a]++
	}
	for i, weight := range weights {
		want := float64(n*weight) / 16
		if got := float64(counts[addr(i)]); math.Abs(got-want) > want*0.02 {
			t.Errorf("weight %d got %.0f of %d, expected %.0f", weight, got, n, want)
		}
	}
}

// The choice is part of what users see: two instances, two versions and two processors must agree.
func TestHashIsTheSameEverywhere(t *testing.T) {
	for _, reversed := range []bool{false, true} {
		w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash}})
		list := members(10, 1, 2, 3)
		if reversed {
			for i, j := 0, len(list)-1; i < j; i, j = i+1, j-1 {
				list[i], list[j] = list[j], list[i]
			}
		}
		w.apply(t, list)
		got := ""
		for _, a := range w.where(t, 20) {
			got += string(rune('0' + a.Addr().As4()[3] - 1))
		}
		if want := "19512675522452126228"; got != want {
			t.Errorf("20 keys went to %s, expected %s", got, want)
		}
	}
	if k := KeyOf(netip.MustParseAddr("::ffff:192.0.2.1"), 7); k != KeyOf(netip.MustParseAddr("192.0.2.1"), 7) {
		t.Error("an IPv4 address in its IPv6 form has another key")
	}
	if KeyOf(addr(0).Addr(), 1) == KeyOf(addr(0).Addr(), 2) {
		t.Error("the port makes no difference")
	}
}

func TestLogCost(t *testing.T) {
	for _, n := range []uint64{1, 2, 3, 1 << 20, 1<<63 - 1, 1 << 63, 1<<63 + 12345, 3 << 62, math.MaxUint64} {
		got := float64(logCost(n)) / (1 << 40)
		if want := 64 - math.Log2(float64(n)); math.Abs(got-want) > 1e-9 {
			t.Errorf("logCost(%d) is %v, expected %v", n, got, want)
		}
	}
	if logCost(0) <= logCost(1) {
		t.Error("0 costs less than 1")
	}
}

func TestHashPrefersWhoIsProvenAndNotEjected(t *testing.T) {
	w := table(t, Options{Slots: 1, Checked: true, Tuning: Tuning{Policy: Hash, MaxConns: 100}})
	w.apply(t, members(4, 1, 1, 5, 5))
	w.SetHealth(addr(0), HealthUp)
	for _, a := range w.where(t, 100) {
		if a != addr(0) {
			t.Fatalf("%v, which is unproven, was picked", a)
		}
	}
	w = table(t, Options{Slots: 1, Tuning: Tuning{Policy: Hash}})
	w.apply(t, members(2))
	for range 3 {
		w.acquire(t, Request{Exclude: []netip.AddrPort{addr(0)}}).Release(OutcomeConnectFailed)
	}
	for _, a := range w.where(t, 100) {
		if a != addr(0) {
			t.Fatalf("%v, which is ejected, was picked", a)
		}
	}
}

// What a key is made of names is written down: other instances and versions must agree.
func TestKeyOfNameIsTheSameEverywhere(t *testing.T) {
	for name, want := range map[string]Key{"": 0xc3817c016ba4ff30, "db.example.com": 0xd9d0ec8b2afafe43} {
		if got := KeyOfName(name); got != want {
			t.Errorf("%q: %#x", name, got)
		}
	}
	seen := make(map[Key]bool)
	for i := range 100_000 {
		seen[KeyOfName(fmt.Sprintf("db%d.example.com", i))] = true
	}
	if len(seen) != 100_000 {
		t.Errorf("%d keys of 100000 names", len(seen))
	}
}
