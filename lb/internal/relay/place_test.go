//go:build linux && (amd64 || arm64)

package relay

import "testing"

// A loop that holds clearly more sessions than another gives new ones away, to the one with the fewest; short sessions stay where
// they were accepted.
func TestALoopThatHoldsManyGetsFewerNewOnes(t *testing.T) {
	for _, c := range []struct {
		live []int64
		to   int
	}{
		{[]int64{0, 0}, 0},
		{[]int64{16, 0}, 0},
		{[]int64{17, 0}, 1},
		{[]int64{128, 100}, 0},
		{[]int64{129, 100}, 1},
		{[]int64{0, 500}, 0},
		{[]int64{500, 300, 200}, 2},
	} {
		all := make([]*loop, len(c.live))
		for i, n := range c.live {
			all[i] = &loop{number: i, peers: all}
			all[i].live.Store(n)
		}
		if to := all[0].place(); to.number != c.to {
			t.Errorf("of %v the first gives a session to %d, want %d", c.live, to.number, c.to)
		}
	}
	all := []*loop{{number: 0}, {number: 1}}
	all[0].peers, all[1].peers = all, all
	all[0].live.Store(300) // long ones
	for range 1000 {
		all[0].place().live.Add(1) // all come to the loop that is full
	}
	if a, b := all[0].live.Load(), all[1].live.Load(); a < b || a > b+b/8+17 {
		t.Errorf("%d and %d sessions", a, b)
	}
}
