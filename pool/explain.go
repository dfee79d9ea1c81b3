package pool

import (
	"net/netip"
	"slices"
)

// Explanation is what Acquire would do with a request now, and why. Nothing is taken, and no turn moves on.
type Explanation struct {
	Status
	// Next is whom the request would get, which may depend on its slot: each peer once, by the slots that would get it first.
	// None: it would get ErrNoPeer, or ErrLimit.
	Next  []netip.AddrPort
	Spent bool // it would get ErrLimit
	Drawn bool // by lot: Next is one draw for each slot, and another draw may differ
}

// Figure is one number that a policy goes by.
type Figure struct {
	Name  string
	Value float64
}

// The names of figures.
const (
	FigureLoad    = "load"    // (leases + 1) / weight: the smallest wins
	FigureShare   = "share"   // of the sum of weights
	FigureHolder  = "holder"  // 1 for the peer that has everything
	FigureConnect = "connect" // the mean time of a connect, in seconds; 0: not known. With load, the smallest product wins
	FigureDraw    = "draw"    // for the request's key: the smallest wins
)

// Explain says what Acquire would do with a request now. The request's slot is not looked at: every slot is asked.
func (t *Table) Explain(r Request) Explanation {
	t.mu.Lock() // the current epoch cannot be freed under us
	defer t.mu.Unlock()
	e := t.current.Load()
	r.Slot = 0
	x := Explanation{Status: t.status(e, &r), Drawn: e.drawsLots(), Spent: e.spent()}
	for r.Slot = range t.opts.Slots {
		if x.Spent {
			break
		}
		if c := e.pick(e.dryly(&r)); c != nil && !slices.Contains(x.Next, c.peer.addr) {
			x.Next = append(x.Next, c.peer.addr)
		}
	}
	return x
}

// dryly makes a request that takes nothing.
func (e *epoch) dryly(r *Request) *asking {
	return &asking{Request: r, tally: e.tally(r.Slot), turn: e.refs[r.Slot].next(), dry: true}
}

// drawsLots says whether the same request may get another peer though nothing has changed.
func (e *epoch) drawsLots() bool {
	p := e.policy
	return p == Random || (p == LeastConn || p == LeastTime) && len(e.candidates) > exactLimit
}

// seen is a candidate as a pick sees it.
type seen struct {
	standing Standing
	figures  []Figure
}

// seen shows all candidates.
func (e *epoch) seen(r *Request) map[*Peer]seen {
	all := make(map[*Peer]seen, len(e.candidates))
	a := e.dryly(r)
	if e.bounded != 0 {
		e.bound(a)
	}
	spent := e.spent()
	var weights int64
	for i := range e.candidates {
		weights += e.candidates[i].weight
	}
	for i := range e.candidates {
		c := &e.candidates[i]
		standing := e.standing(c, a)
		if spent && standing < rankNever {
			standing = StandingSpent
		}
		all[c.peer] = seen{standing, e.figures(c, a, weights)}
	}
	return all
}

// figures are the numbers of a candidate.
func (e *epoch) figures(c *candidate, r *asking, weights int64) []Figure {
	weight := float64(c.weight) / float64(e.parts)
	load := Figure{FigureLoad, float64(c.peer.Active()+1) / weight}
	share := Figure{FigureShare, float64(c.weight) / float64(weights)}
	switch e.policy {
	case LeastConn:
		return []Figure{load}
	case RoundRobin:
		return []Figure{share}
	case Random:
		return []Figure{share, load}
	case Sticky:
		if c.peer == e.table.holds.Load() {
			return []Figure{{FigureHolder, 1}}
		}
	case Hash:
		if e.places != nil {
			return []Figure{share}
		}
		return []Figure{share, {FigureDraw, float64(logCost(draw(r.Key, c.peer.seed))) / (1 << 40) / weight}}
	case LeastTime:
		return []Figure{load, {FigureConnect, float64(c.peer.pace.faded(e.table.clock(r.Request))) / 1e6}}
	case First:
	}
	return nil
}
