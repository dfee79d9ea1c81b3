package pool

import (
	"net/netip"
	"slices"
	"time"
)

// Request says who asks for a lease.
type Request struct {
	Slot    int              // the loop that asks, 0 to Options.Slots-1
	Now     time.Duration    // Since what the caller's clock just said; zero: the clock is read here if it must be
	Key     Key              // what hash goes by
	Exclude []netip.AddrPort // peers that the session has tried already
	Only    bool             // the session belongs to a peer, whatever the policy says: Exclude lists those that it may have
}

// asking is a request on its way through a pick.
type asking struct {
	*Request
	tally int    // of each peer, which one counts it
	turn  uint32 // of the candidates, who is looked at first
	dry   bool   // to know whom it would get: nothing is taken, and no turn, place or holder moves on

	quickest int64   // least_time: what a peer counts with of which nothing is known
	bound    float64 // hash: the most leases for each unit of weight
}

// Outcome says what a session tells about its peer.
type Outcome uint8

// The outcomes of a lease.
const (
	OutcomeOK             Outcome = iota // the peer served
	OutcomeConnectFailed                 // refused, unreachable
	OutcomeConnectTimeout                // no answer in time
	OutcomeResetEarly                    // reset before its first byte
	OutcomeNeutral                       // says nothing about the peer
)

// Lease is a reference on an epoch and a peer. It belongs to one session; its methods are not for concurrent use. Do not copy it.
//
// It has four fields, because the compiler keeps no more in registers.
type Lease struct {
	_     noCopy
	epoch *epoch
	peer  *Peer
	slot  int // and settled, when it is connected
}

// settled is a bit above every slot.
const settled = 1 << 30

type noCopy struct{}

func (*noCopy) Lock()   {}
func (*noCopy) Unlock() {}

// Acquire leases a peer of the newest epoch. It fails with ErrNoPeer if that has none to give, with
// ErrLimit if the table may give none, and with ErrClosed.
func (t *Table) Acquire(r Request) (Lease, error) {
	a := asking{Request: &r}
	for {
		var e *epoch
		e, a.turn = t.enter(r.Slot)
		a.tally = e.tally(r.Slot)
		var c *candidate
		var spent bool
		if e.most == 0 {
			c = e.pick(&a)
		} else {
			c, spent = e.pickOfAll(&a)
		}
		if c != nil {
			return Lease{epoch: e, peer: c.peer, slot: r.Slot}, nil
		}
		newest := t.current.Load() == e // if not, e was not the newest all the time that the pick looked at it
		e.leave(r.Slot)
		if e.closed {
			return Lease{}, ErrClosed
		}
		if newest && spent {
			return Lease{}, ErrLimit
		}
		if newest {
			return Lease{}, ErrNoPeer
		}
	}
}

// Peer returns the peer that is leased.
func (l *Lease) Peer() *Peer { return l.peer }

// Epoch returns the id of the epoch that the lease holds.
func (l *Lease) Epoch() uint64 { return l.epoch.id }

// Connected tells that the peer accepted the connection, and how long that took: its failures in a row end.
func (l *Lease) Connected(took time.Duration) {
	if l.epoch.policy == LeastTime {
		l.peer.took(took, l.epoch.tally(l.slot&^settled), l.epoch.table.clock(new(Request)))
	}
	if l.slot&settled == 0 {
		l.slot |= settled
		l.epoch.connected(l.peer)
	}
	if l.peer.failures.Load() != 0 {
		l.peer.failures.Store(0)
	}
}

// Release gives the lease back. A second release panics: it is a bug of the caller.
func (l *Lease) Release(o Outcome) {
	if l.peer == nil {
		panic("pool: lease released twice")
	}
	e, p, slot := l.epoch, l.peer, l.slot&^settled
	if e.counted {
		e.uncount(p, l.slot == slot)
	}
	l.epoch, l.peer = nil, nil
	opts := &e.table.opts
	switch o {
	case OutcomeOK:
		p.served(e.table)
	case OutcomeConnectFailed, OutcomeConnectTimeout:
		if int(p.failures.Add(1)) >= opts.Ejection.Fails {
			e.table.eject(p, slot)
		}
	case OutcomeResetEarly:
		if int(p.resets.Add(1)) >= opts.Ejection.Fails {
			e.table.eject(p, slot)
		}
	case OutcomeNeutral:
	}
	p.tallies[e.tally(slot)].give()
	e.leave(slot)
}

// eject passes a peer over for a while, and says so.
func (t *Table) eject(p *Peer, slot int) {
	if d := t.passOver(p, slot); d > 0 && t.opts.OnEject != nil {
		t.opts.OnEject(p, d)
	}
}

// passOver ejects a peer, unless it is ejected or no other peer could be picked instead, and says for how long.
func (t *Table) passOver(p *Peer, slot int) time.Duration {
	t.ejection.Lock()
	defer t.ejection.Unlock()
	var now Request
	if p.ejected(t, &now) {
		return 0
	}
	e, _ := t.enter(slot)
	defer e.leave(slot)
	others := slices.ContainsFunc(e.candidates, func(c candidate) bool {
		return c.peer != p && !c.peer.ejected(t, &now)
	})
	if !others {
		return 0
	}
	p.failures.Store(0)
	p.resets.Store(0)
	n := p.ejections.Add(1)
	d := t.opts.Ejection.Max
	if int64(n) < int64(d/t.opts.Ejection.Base) {
		d = t.opts.Ejection.Base * time.Duration(n)
	}
	d += time.Duration((float64(t.opts.Rand()>>11)/(1<<53) - 0.5) * 0.2 * float64(d))
	until := t.clock(&now) + int64(d)
	t.ejections.Store(max(t.ejections.Load(), until))
	p.until.Store(until)
	return d
}
