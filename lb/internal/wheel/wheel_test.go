package wheel

import (
	"math/rand/v2"
	"testing"
)

// TestWheelFiresEachTimerOnceWhenDue compares the wheel with a plain map under random sets, clears and jumps.
func TestWheelFiresEachTimerOnceWhenDue(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	rng := rand.New(rand.NewPCG(seed, 0))
	var w Wheel
	w.Grow(500)
	due := make(map[int32]int64)
	reach := []int64{1, 63, 64, 65, 4095, 4096, 4097, 300_000, 20_000_000, 2_000_000_000}
	for range 200_000 {
		slot := int32(rng.IntN(500))
		switch rng.IntN(8) {
		case 0:
			w.Clear(slot)
			delete(due, slot)
		case 1, 2, 3, 4:
			at := w.now + rng.Int64N(reach[rng.IntN(len(reach))]+1)
			w.Set(slot, at)
			due[slot] = max(at, w.now+1)
		default:
			to := w.now + rng.Int64N(reach[rng.IntN(len(reach))]+1)
			w.Advance(to, func(slot int32) {
				at, ok := due[slot]
				if !ok || at != w.now {
					t.Fatalf("slot %d fired at %d, due %d, set %v", slot, w.now, at, ok)
				}
				delete(due, slot)
			})
			if w.now != to {
				t.Fatalf("now %d, want %d", w.now, to)
			}
			for slot, at := range due {
				if at <= to {
					t.Fatalf("slot %d due %d did not fire by %d", slot, at, to)
				}
			}
			if tick, ok := w.Next(); ok != (len(due) > 0) || ok && tick <= to {
				t.Fatalf("next %d, %v with %d timers set", tick, ok, len(due))
			}
		}
	}
}
