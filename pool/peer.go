package pool

import (
	"net/netip"
	"sync/atomic"
)

// Health is what an active check says of a peer.
type Health uint32

// The states of health.
const (
	HealthUnknown Health = iota // no check, or no result yet
	HealthUp
	HealthDown
	HealthUnfit // alive, but not what the pool wants: it is not picked, and what it has it may keep
)

func (h Health) String() string {
	switch h {
	case HealthUp:
		return "up"
	case HealthDown:
		return "down"
	case HealthUnfit:
		return "unfit"
	}
	return "unknown"
}

// Peer is one address and its runtime state, shared by every epoch that lists it. It is alive while at least one
// epoch that is not yet freed lists it.
//
// Its leases are counted per slot, so that no two cores write the same line. Only under MaxConns does one tally serve all
// slots: no limit is exact that is kept in parts.
type Peer struct {
	tallies []tally // of all slots under MaxConns, and then one for each slot
	passive
	pace
	health   atomic.Uint32
	admin    atomic.Uint32
	newest   atomic.Uint64 // id of the newest epoch that lists it
	addr     netip.AddrPort
	seed     uint64 // of its address, for hash
	listings int    // epochs that list it and are not freed; guarded by Table.mu; the last of 128 bytes, a pair of cache lines
	warmup
	gate
	percent int      // of its weight, that its check grants; 0 is all; guarded by Table.mu
	_       [80]byte // up to the next pair
}

func newPeer(addr netip.AddrPort, slots int, h Health) *Peer {
	p := &Peer{addr: addr, seed: uint64(KeyOf(addr.Addr(), addr.Port())), tallies: make([]tally, slots+1)}
	p.health.Store(uint32(h))
	return p
}

// Addr returns the address, with IPv4 never in its IPv6-mapped form.
func (p *Peer) Addr() netip.AddrPort { return p.addr }

// Active returns the number of leases held. It is exact at rest, and never negative.
func (p *Peer) Active() int64 {
	var n int64
	for i := range p.tallies {
		n += p.tallies[i].active()
	}
	return n
}

// Total returns the number of leases ever given.
func (p *Peer) Total() uint64 {
	var n int64
	for i := range p.tallies {
		n += p.tallies[i].started.Load()
	}
	return uint64(n)
}

// whole is all of a weight, in percent; a multiple of warmSteps.
const whole = 100

// share is what the peer gets of its weight, in percent. The caller holds Table.mu.
func (p *Peer) share() int64 {
	if p.percent == 0 {
		return whole
	}
	return int64(p.percent)
}

// Health returns the last word of the check.
func (p *Peer) Health() Health { return Health(p.health.Load()) }

// Admin returns what an operator has said of the address.
func (p *Peer) Admin() Admin { return Admin(p.admin.Load()) }

// proven says whether nothing is known against the peer: no check, or it has passed.
func (t *Table) proven(p *Peer) bool { return !t.opts.Checked || p.Health() == HealthUp }

// look notes beside one tally what the others of the peer have now, and what its connects take.
func (p *Peer) look(tally int, now int64) {
	var n int64
	for i := range p.tallies {
		if i != tally {
			n += p.tallies[i].active()
		}
	}
	p.tallies[tally].others.Store(n)
	p.tallies[tally].mean.Store(min(p.pace.faded(now), maxMean))
	p.tallies[tally].looked.Store(now)
}

// passive is what the outcomes of leases tell about a peer: failures in a row, and the ejection that follows.
type passive struct {
	until     atomic.Int64 // the end of the ejection (Table.clock); 0 is none
	failures  atomic.Int32 // failed connects in a row
	resets    atomic.Int32 // sessions in a row that the peer reset before its first byte
	ejections atomic.Int32 // ejections in a row
}

// ejected says whether an ejection is in force. It reads the clock only if one was set.
func (p *passive) ejected(t *Table, r *Request) bool {
	u := p.until.Load()
	return u != 0 && t.clock(r) < u
}

// served notes a session that ended well. It says nothing of connects (see Lease.Connected), and one that ends during an
// ejection does not end that: it began before, or had no other peer.
func (p *passive) served(t *Table) {
	if p.resets.Load() != 0 {
		p.resets.Store(0)
	}
	if (p.ejections.Load() != 0 || p.until.Load() != 0) && !p.ejected(t, new(Request)) {
		p.ejections.Store(0)
		p.until.Store(0)
	}
}

// pardon forgets failures and ejections. It writes only what is not yet zero, for the lines are shared.
func (p *passive) pardon() {
	for _, n := range [...]*atomic.Int32{&p.failures, &p.resets, &p.ejections} {
		if n.Load() != 0 {
			n.Store(0)
		}
	}
	if p.until.Load() != 0 {
		p.until.Store(0)
	}
}
