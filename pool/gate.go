package pool

import (
	"sync/atomic"
	"time"
)

// gate keeps sessions from rushing at a peer. Only tables with MaxConnecting or ConnectRate write it.
type gate struct {
	connecting atomic.Int64 // leases that have begun to connect, and are not connected yet
	next       atomic.Int64 // when the next lease may begin (Table.clock), give or take gateSlack
}

// gateSlack is how much of its rate a peer may get at once, at rates above one in this time.
const gateSlack = 10 * time.Millisecond

// gated says whether the gates count. What an epoch says here holds for its leases until they are given back.
func (e *epoch) gated() bool { return e.maxConnecting != 0 || e.interval != 0 }

// shut says why the gate of a candidate lets nobody in now; StandingGood if it does.
func (e *epoch) shut(c *candidate, r *asking) Standing {
	g := &c.peer.gate
	switch {
	case e.maxConnecting != 0 && g.connecting.Load() >= e.maxConnecting:
		return StandingConnecting
	case e.interval != 0 && g.next.Load() > e.horizon(r):
		return StandingPaced
	}
	return StandingGood
}

// horizon is up to when a lease that begins now may be due.
func (e *epoch) horizon(r *asking) int64 {
	return e.table.clock(r.Request) + max(int64(gateSlack)-e.interval, 0)
}

// takeGated takes a lease of a candidate with a gate: all of it or nothing.
func (e *epoch) takeGated(c *candidate, r *asking) bool {
	g := &c.peer.gate
	if !e.enterGate(g) {
		return false
	}
	if e.pass(g, r) {
		if c.tallies[r.tally].take(e.limitOf(c)) {
			return true
		}
		if e.interval != 0 {
			g.next.Add(-e.interval)
		}
	}
	e.connected(c.peer)
	return false
}

// enterGate takes a place among those that connect.
func (e *epoch) enterGate(g *gate) bool {
	if e.maxConnecting == 0 {
		return true
	}
	for {
		n := g.connecting.Load()
		if n >= e.maxConnecting {
			return false
		}
		if g.connecting.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

// pass takes a turn at the peer's rate.
func (e *epoch) pass(g *gate, r *asking) bool {
	if e.interval == 0 {
		return true
	}
	now := e.table.clock(r.Request)
	for {
		next := g.next.Load()
		if next > e.horizon(r) {
			return false
		}
		if g.next.CompareAndSwap(next, max(next, now)+e.interval) {
			return true
		}
	}
}

// connected tells the gate of a peer that one lease connects no longer.
func (e *epoch) connected(p *Peer) {
	if e.maxConnecting != 0 && p.connecting.Add(-1) < 0 {
		panic("pool: peer has fewer than zero connects")
	}
}

// untake undoes take, as if it had not been.
func (e *epoch) untake(c *candidate, r *asking) {
	if e.interval != 0 {
		c.peer.next.Add(-e.interval)
	}
	e.connected(c.peer)
	c.tallies[r.tally].give()
}
