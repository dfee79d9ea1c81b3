package flow

import "container/list"

// crowd is flows in the order in which they were last used, those that have never been answered apart from the others:
// what a flood of forged sources makes is of the former kind, and goes first.
type crowd struct{ fresh, known list.List }

// place is where a flow stands in a crowd. The zero value is nowhere.
type place struct {
	crowd *crowd
	list  *list.List
	at    *list.Element
}

func (c *crowd) size() int { return c.fresh.Len() + c.known.Len() }

func (c *crowd) enter(f *Flow) place { return place{c, &c.fresh, c.fresh.PushBack(f)} }

// used moves a flow behind all others.
func (p *place) used(f *Flow) {
	if p.crowd == nil {
		return
	}
	if p.list == &p.crowd.fresh && f.replied.Load() {
		p.list.Remove(p.at)
		p.list = &p.crowd.known
		p.at = p.list.PushBack(f)
		return
	}
	p.list.MoveToBack(p.at)
}

func (p *place) leave() {
	if p.crowd != nil {
		p.list.Remove(p.at)
	}
}

// maxLooks bounds what one new flow costs when all that are known are busy.
const maxLooks = 8

// least gives the flow that may go first; nil means that none may. Replies do not move a flow, so those that a peer keeps
// busy are only found here.
func (c *crowd) least() *Flow {
	for e := c.fresh.Front(); e != nil; e = c.fresh.Front() {
		f := e.Value.(*Flow)
		if !f.replied.Load() {
			return f
		}
		f.placeIn(c).used(f)
	}
	for range min(maxLooks, c.known.Len()) {
		f := c.known.Front().Value.(*Flow)
		if f.Idle() >= f.IdleTimeout/2 {
			return f
		}
		f.placeIn(c).used(f)
	}
	return nil
}

// placeIn is where the flow stands in one of its crowds.
func (f *Flow) placeIn(c *crowd) *place {
	if f.all.crowd == c {
		return &f.all
	}
	return &f.source
}
