package pool

import (
	"net/netip"
	"sync/atomic"
	"time"
)

// Health is what an active check says of a peer.
type Health uint32

// The states of health.
const (
	HealthUnknown Health = iota // no check, or no result yet
	HealthUp
	HealthDown
)

func (h Health) String() string {
	switch h {
	case HealthUp:
		return "up"
	case HealthDown:
		return "down"
	}
	return "unknown"
}

// Peer is one address and its runtime state, shared by every epoch that lists it. It is alive while at least one
// epoch that is not yet freed lists it.
type Peer struct {
	addr   netip.AddrPort
	active counters      // leases held
	total  counters      // leases ever given
	held   atomic.Int64  // leases held, exact at every moment; kept only under MaxConns
	newest atomic.Uint64 // id of the newest epoch that lists it
	health atomic.Uint32
	passive

	listings int // epochs that list it and are not freed; guarded by Table.mu
}

func newPeer(addr netip.AddrPort, slots int) *Peer {
	return &Peer{addr: addr, active: make(counters, slots), total: make(counters, slots)}
}

// Addr returns the address, with IPv4 never in its IPv6-mapped form.
func (p *Peer) Addr() netip.AddrPort { return p.addr }

// Active returns the number of leases held.
func (p *Peer) Active() int64 { return p.active.sum() }

// Total returns the number of leases ever given.
func (p *Peer) Total() uint64 { return uint64(p.total.sum()) }

// Health returns the last word of the check.
func (p *Peer) Health() Health { return Health(p.health.Load()) }

// take adds a lease, unless the limit forbids it.
func (p *Peer) take(slot, limit int) bool {
	if limit > 0 {
		for {
			n := p.held.Load()
			if n >= int64(limit) {
				return false
			}
			if p.held.CompareAndSwap(n, n+1) {
				break
			}
		}
	}
	p.active[slot].n.Add(1)
	p.total[slot].n.Add(1)
	return true
}

// give takes a lease back.
func (p *Peer) give(slot, limit int) {
	if p.active[slot].n.Add(-1) < 0 {
		panic("pool: peer " + p.addr.String() + " has fewer than zero sessions")
	}
	if limit > 0 {
		p.held.Add(-1)
	}
}

func (p *Peer) full(limit int) bool { return limit > 0 && p.held.Load() >= int64(limit) }

// passive is what the outcomes of leases tell about a peer: failures in a row, and the ejection that follows.
type passive struct {
	failures  atomic.Int32 // failed connects in a row
	resets    atomic.Int32 // sessions in a row that the peer reset before its first byte
	ejections atomic.Int32 // ejections in a row
	until     atomic.Int64 // Unix nanoseconds of the end of the ejection; 0 is none
}

// ejected says whether an ejection is in force. It reads the clock only if one was set.
func (p *passive) ejected(now func() time.Time) bool {
	u := p.until.Load()
	return u != 0 && now().UnixNano() < u
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
