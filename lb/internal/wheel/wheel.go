// Package wheel keeps the timers of one loop.
//
// It knows no clock and no goroutines: whoever owns a wheel says what time it is.
package wheel

import "math/bits"

// Wheel holds one timer for each slot of a loop: hashed by due time into levels of 64 lists, each level 64 times coarser
// than the one below. Setting and clearing are a few stores; a timer that is far away moves down a level each time its
// list comes up. Time is in ticks.
type Wheel struct {
	now   int64
	nodes []timer
	heads [wheelLevels][64]int32
	used  [wheelLevels]uint64 // the lists that are not empty
}

const (
	wheelLevels = 5
	wheelReach  = 1<<(6*wheelLevels) - 1 // ticks; what is further away is looked at then
)

// timer is one node. Its list is a ring by index; index 0 of links is "none", so slots are stored plus one.
type timer struct {
	due        int64
	next, prev int32
	level      int8 // -1 while not set
	list       int8
}

// Grow makes room for slots below n.
func (w *Wheel) Grow(n int) {
	for len(w.nodes) < n {
		w.nodes = append(w.nodes, timer{level: -1})
	}
}

// Set makes the timer of a slot fire at due, or at the next tick if that is over. It replaces what was set before.
func (w *Wheel) Set(slot int32, due int64) {
	w.Clear(slot)
	w.place(slot, max(due, w.now+1))
}

func (w *Wheel) place(slot int32, due int64) {
	at := min(due, w.now+wheelReach)
	level := 0
	if d := at - w.now; d > 0 {
		level = (bits.Len64(uint64(d)) - 1) / 6
	}
	list := int8(at >> (6 * level) & 63)
	n := &w.nodes[slot]
	head := &w.heads[level][list]
	*n = timer{due: due, next: *head, level: int8(level), list: list}
	if *head != 0 {
		w.nodes[*head-1].prev = slot + 1
	}
	*head = slot + 1
	w.used[level] |= 1 << list
}

// Clear makes sure that the timer of a slot does not fire.
func (w *Wheel) Clear(slot int32) {
	n := &w.nodes[slot]
	if n.level < 0 {
		return
	}
	if n.next != 0 {
		w.nodes[n.next-1].prev = n.prev
	}
	if n.prev != 0 {
		w.nodes[n.prev-1].next = n.next
	} else {
		w.heads[n.level][n.list] = n.next
		if n.next == 0 {
			w.used[n.level] &^= 1 << n.list
		}
	}
	n.level = -1
}

// Next is the tick at which there is something to do. It is false if no timer is set.
func (w *Wheel) Next() (tick int64, ok bool) {
	for level := range w.used {
		if w.used[level] == 0 {
			continue
		}
		at := w.now>>(6*level) + 1
		at += int64(bits.TrailingZeros64(bits.RotateLeft64(w.used[level], -int(at&63))))
		if at <<= 6 * level; !ok || at < tick {
			tick, ok = at, true
		}
	}
	return tick, ok
}

// Advance moves time on and fires what is due. fire may set and clear timers.
func (w *Wheel) Advance(to int64, fire func(slot int32)) {
	for {
		tick, ok := w.Next()
		if !ok || tick > to {
			w.now = max(w.now, to)
			return
		}
		w.now = tick
		for level := wheelLevels - 1; level > 0; level-- {
			if tick&(1<<(6*level)-1) != 0 {
				continue
			}
			for head := &w.heads[level][tick>>(6*level)&63]; *head != 0; {
				slot := *head - 1
				w.Clear(slot)
				w.place(slot, max(w.nodes[slot].due, tick))
			}
		}
		for head := &w.heads[0][tick&63]; *head != 0; {
			slot := *head - 1
			w.Clear(slot)
			if due := w.nodes[slot].due; due > tick {
				w.place(slot, due)
				continue
			}
			fire(slot)
		}
	}
}
