package check

import (
	"container/heap"
	"time"
)

// tick is how long the clock rests at least. What falls due meanwhile begins together: to wake a thread for each of a
// thousand peers costs more than to ask it.
const tick = 20 * time.Millisecond

// agenda is a heap of probes by the time at which they are due.
type agenda []*probe

func (a agenda) Len() int           { return len(a) }
func (a agenda) Less(i, j int) bool { return a[i].at.Before(a[j].at) }
func (a agenda) Swap(i, j int) {
	a[i], a[j] = a[j], a[i]
	a[i].place, a[j].place = i, j
}

// Push is for container/heap.
func (a *agenda) Push(x any) {
	p := x.(*probe)
	p.place = len(*a)
	*a = append(*a, p)
}

// Pop is for container/heap.
func (a *agenda) Pop() any {
	last := len(*a) - 1
	p := (*a)[last]
	(*a)[last], *a = nil, (*a)[:last]
	p.place = -1
	return p
}

// remove takes a probe out, if it is in.
func (a *agenda) remove(p *probe) {
	if p.place >= 0 {
		heap.Remove(a, p.place)
	}
}

// planLocked has a probe asked at a time, and the clock know if that is sooner than it thought.
func (h *Hub) planLocked(p *probe, at time.Time) {
	p.at = at
	if p.place >= 0 {
		heap.Fix(&h.due, p.place)
	} else {
		heap.Push(&h.due, p)
	}
	switch {
	case !h.ticking:
		h.ticking = true
		h.wg.Go(h.clock)
	case h.rings.IsZero() || at.Before(h.rings):
		h.rings = at
		select {
		case h.wake <- struct{}{}:
		default:
		}
	}
}

// clock begins what is due, and carries the knocks, until the hub is closed.
func (h *Hub) clock() {
	var k knocker
	defer k.close()
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	var due []*probe
	for {
		now := time.Now()
		if now.Sub(last) >= tick {
			last = now
			due = h.take(due[:0], now)
			for _, p := range due {
				if p.knock != nil {
					k.begin(p)
				} else {
					h.wg.Go(p.askOnce)
				}
			}
			k.look(now)
		}
		if next := h.next(last.Add(tick), k.busy()); next.IsZero() {
			timer.Stop()
		} else {
			timer.Reset(time.Until(next))
		}
		select {
		case <-h.ctx.Done():
			return
		case <-timer.C:
		case <-h.wake:
		}
	}
}

// take appends what is due.
func (h *Hub) take(list []*probe, now time.Time) []*probe {
	h.mu.Lock()
	defer h.mu.Unlock()
	for len(h.due) > 0 && !h.due[0].at.After(now) {
		p := heap.Pop(&h.due).(*probe)
		p.busy, p.started, p.poked = true, now, false
		p.begun++
		list = append(list, p)
	}
	return list
}

// next is when the clock has to look again, not before it has rested; zero if nothing is to be done.
func (h *Hub) next(rested time.Time, busy bool) time.Time {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.rings = time.Time{}
	switch {
	case busy:
		h.rings = rested
	case len(h.due) > 0:
		h.rings = h.due[0].at
		if h.rings.Before(rested) {
			h.rings = rested
		}
	}
	return h.rings
}
