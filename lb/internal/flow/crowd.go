package flow

// crowd is flows in the order in which they were last used, those that have never been answered apart from the others:
// what a flood of forged sources makes is of the former kind, and goes first.
type crowd struct{ fresh, known line[place, *place] }

// place is where a flow stands in a crowd. The zero value, and nil, are nowhere.
type place struct {
	neighbours[place]
	flow  *Flow
	crowd *crowd
	known bool // it stands in that line
}

func (c *crowd) size() int { return c.fresh.n + c.known.n }

func (c *crowd) enter(p *place, f *Flow) {
	*p = place{flow: f, crowd: c}
	c.fresh.push(p)
}

func (p *place) line() *line[place, *place] {
	if p.known {
		return &p.crowd.known
	}
	return &p.crowd.fresh
}

// used moves a flow behind all others.
func (p *place) used() {
	if p == nil || p.crowd == nil || p.after == nil && (p.known || !p.flow.replied.Load()) {
		return
	}
	p.line().remove(p)
	p.known = p.known || p.flow.replied.Load()
	p.line().push(p)
}

func (p *place) leave() {
	if p != nil && p.crowd != nil {
		p.line().remove(p)
	}
}

// maxLooks bounds what one new flow costs when all that are known are busy.
const maxLooks = 8

// least gives the flow that may go first; nil means that none may. Replies do not move a flow, so those that a peer keeps
// busy are only found here.
func (c *crowd) least() *Flow {
	for p := c.fresh.first; p != nil; p = c.fresh.first {
		if !p.flow.replied.Load() {
			return p.flow
		}
		p.used()
	}
	for range min(maxLooks, c.known.n) {
		p := c.known.first
		if p.flow.Idle() >= p.flow.IdleTimeout/2 {
			return p.flow
		}
		p.used()
	}
	return nil
}
