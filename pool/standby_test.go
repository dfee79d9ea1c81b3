package pool

import (
	"fmt"
	"testing"
)

func TestStandsBy(t *testing.T) {
	w := table(t, Options{Slots: 1})
	w.apply(t, tiered(0, 1, 1, 2))
	behind := func() (list []int) {
		for i := range 4 {
			if w.StandsBy(w.Peer(addr(i))) {
				list = append(list, i)
			}
		}
		return list
	}
	expect := func(what, want string) {
		t.Helper()
		if got := fmt.Sprint(behind()); got != want {
			t.Errorf("%s: %s, expected %s", what, got, want)
		}
	}
	expect("tier 0 serves", "[1 2 3]")
	w.SetHealth(addr(0), HealthDown)
	expect("tier 1 serves", "[3]")
	for i := range 4 {
		w.SetHealth(addr(i), HealthDown)
	}
	expect("none serves", "[]")
	gone := w.Peer(addr(0))
	w.apply(t, tiered(0)[:0])
	if w.StandsBy(gone) {
		t.Error("a peer that is not listed stands by")
	}
	eventually(t, "nobody is alive", func() bool { return len(w.Alive()) == 0 })
}
