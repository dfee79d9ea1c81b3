package pool

import "math"

// bound notes how many leases for each unit of weight hash may give to a candidate: the mean, with this lease, times
// Tuning.Bounded. What other slots have is as old as leastconn's (minPatience); the slot's own leases count at once.
func (e *epoch) bound(r *asking) {
	own := &e.refs[r.Slot]
	held := int64(own.held()) // with the reference of this request
	if r.dry {
		held++ // which has none
	}
	if now, looked := e.table.clock(r.Request), own.looked.Load(); looked == 0 || now-looked > e.patience {
		own.looked.Store(now)
		var sum int64
		for i := range e.candidates {
			c := &e.candidates[i]
			c.peer.look(r.tally, now)
			sum += c.load(r.tally) - 1
		}
		own.others.Store(sum + 1 - held)
	}
	r.bound = e.bounded * float64(own.others.Load()+held) / float64(e.sum)
}

// crowded says whether one more lease would bring a candidate above its bound. With a factor of 1 or more there is always
// one that is not crowded, as far as the slot knows.
func (e *epoch) crowded(c *candidate, r *asking) bool {
	return e.bounded != 0 && float64(c.load(r.tally)) > math.Ceil(r.bound*float64(c.weight))
}
