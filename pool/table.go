package pool

import (
	"errors"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// The errors of Acquire and Apply.
var (
	ErrNoPeer = errors.New("no peer to pick")
	ErrLimit  = errors.New("the table is at its limit")
	ErrClosed = errors.New("the table is closed")
)

// Options are the fixed properties of a table, and the first tuning.
type Options struct {
	Name     string
	Slots    int // loops that acquire: counts are kept per slot; at least 1
	Tuning   Tuning
	Tier     int              // that served before, in another table: it keeps service as Failback says
	Checked  bool             // peers have an active check: until it has passed they are picked only if nothing better is there
	Rand     func() uint64    // for random choices and jitter; nil is the runtime's generator
	Now      func() time.Time // nil is time.Now
	Fresh    func() Health    // what is believed of a new peer; nil is HealthUnknown. It must not call the table
	Said     []Override       // of addresses, as by SetAdmin and SetWeight, before the first epoch
	OnGone   func(*Peer)      // called once per peer, by the reclaimer, with no lock held, when its last epoch is freed; the address may be back by then, as another Peer
	Ejection Ejection         // zero fields take their defaults

	// OnFreed is called once for each retired epoch, by the reclaimer, with no lock held, after the peers that ended with it.
	OnFreed func(epoch uint64)
	// OnEject is called by the release that ejects a peer, with no lock held. It must not block.
	OnEject func(*Peer, time.Duration)
}

// Ejection is the passive reaction to failures: after Fails in a row the peer is passed over for Base times the number
// of ejections in a row, at most Max, with 10 % jitter. The last peer that can be picked is never ejected: a tier does not
// lose its service to the next one by failed sessions, but by checks, which also tell when it is well again.
type Ejection struct {
	Fails     int           // default 3
	Base, Max time.Duration // defaults 5 s and 60 s
}

// Table is the epoch table of one pool. All methods may be called from any goroutine.
type Table struct {
	opts      Options
	reclaimer *Reclaimer
	current   atomic.Pointer[epoch]
	ejections atomic.Int64 // until when a peer may be ejected, at most (clock)
	born      time.Time
	_         [128]byte // what readers read stays apart from what they write
	dealer              // roundrobin
	holder              // sticky
	all       tally     // leases of the epochs that have a limit for all

	ejection sync.Mutex // two peers at once must not each be ejected for the other's sake

	mu        sync.Mutex // writers; never taken by Acquire and Release
	tuning    Tuning
	serving   service
	due       int64 // when time alone makes the next epoch (clock); 0: never
	busy      bool  // there have been sessions
	lastID    uint64
	peers     map[netip.AddrPort]*Peer
	overrides map[netip.AddrPort]Override // by operators
	retired   []*epoch                    // not yet freed, oldest first
	reclaimed uint64
}

// New makes a table whose first epoch lists nothing.
func New(opts Options, r *Reclaimer) *Table {
	opts.Slots = max(opts.Slots, 1)
	if opts.Rand == nil {
		opts.Rand = rand.Uint64
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Fresh == nil {
		opts.Fresh = func() Health { return HealthUnknown }
	}
	if opts.Ejection.Fails == 0 {
		opts.Ejection.Fails = 3
	}
	if opts.Ejection.Base == 0 {
		opts.Ejection.Base = 5 * time.Second
	}
	if opts.Ejection.Max == 0 {
		opts.Ejection.Max = 60 * time.Second
	}
	t := &Table{
		opts: opts, reclaimer: r, peers: make(map[netip.AddrPort]*Peer), overrides: make(map[netip.AddrPort]Override),
		tuning: opts.Tuning, serving: service{tier: opts.Tier},
		born: opts.Now().Add(-1),
	}
	for _, o := range opts.Said {
		if !o.none() {
			t.overrides[o.Addr] = o
		}
	}
	t.hands = make([]hand, opts.Slots)
	t.current.Store(t.newEpoch(nil, CauseConfig))
	return t
}

// clock says when an acquire takes place, in nanoseconds since the table was made. It reads the clock if the caller did not
// say, once.
func (t *Table) clock(r *Request) int64 {
	if r.Now == 0 {
		r.Now = t.Since(t.opts.Now())
	}
	return int64(r.Now)
}

// Since gives the time as a Request has it: what has passed since just before the table was made, so that it is never 0.
func (t *Table) Since(now time.Time) time.Duration { return now.Sub(t.born) }

// Apply makes members the current epoch. The same members in whatever order publish nothing. On an error nothing changes.
func (t *Table) Apply(members []Member, cause Cause) (Diff, error) {
	wanted, err := canonical(members)
	if err != nil {
		return Diff{}, err
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.current.Load()
	if now.closed {
		return Diff{}, ErrClosed
	}
	d := compare(now.members, wanted)
	if d.Changed {
		t.publish(t.newEpoch(wanted, cause))
	}
	d.Epoch = t.lastID
	return d, nil
}

// publish makes e current and then retires its predecessor. The caller holds t.mu.
func (t *Table) publish(e *epoch) {
	old := t.current.Load()
	t.current.Store(e)
	old.retired.Store(true)
	t.retired = append(t.retired, old)
	t.reclaimer.retire(old)
}

// Finding is what the check of an address says.
type Finding struct {
	Addr    netip.AddrPort
	Health  Health
	Percent int // of its weight, that it gets; 0 is all
}

// SetHealth tells what the check of an address says. It reports whether that changed anything.
func (t *Table) SetHealth(addr netip.AddrPort, h Health) bool {
	return t.SetHealths(Finding{Addr: addr, Health: h})
}

// SetHealths tells what checks say, and reports whether that changed anything. One epoch follows if the newest one lists an
// address that changed: nobody can pick between two findings. An "up" also ends the peer's ejection. Of a peer under
// maintenance nothing is believed.
func (t *Table) SetHealths(list ...Finding) (changed bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var listed *Peer
	for _, f := range list {
		p := t.peers[f.Addr]
		if p == nil || p.Admin() == AdminMaint {
			continue
		}
		if f.Health == HealthUp {
			p.pardon()
		}
		if p.Health() == f.Health && p.percent == f.Percent {
			continue
		}
		p.health.Store(uint32(f.Health))
		p.percent = f.Percent
		changed = true
		if listed == nil || t.Lists(p) {
			listed = p
		}
	}
	if listed != nil {
		t.republish(listed, CauseHealth)
	}
	return changed
}

// republish publishes the newest members again, because something about a peer has changed, if they list it. The caller
// holds t.mu.
func (t *Table) republish(p *Peer, cause Cause) {
	if now := t.current.Load(); !now.closed && p.newest.Load() == now.id {
		t.publish(t.newEpoch(now.members, cause))
	}
}

// Peer returns the peer of an address, or nil if no epoch that is still in use lists it.
func (t *Table) Peer(addr netip.AddrPort) *Peer {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.peers[addr]
}

// Serves says whether the newest epoch lists the peer and it is neither down nor under maintenance: what it has, it may
// keep, also if its tier only stands by, or if it drains.
func (t *Table) Serves(p *Peer) bool {
	return t.Lists(p) && p.Health() != HealthDown && p.Admin() != AdminMaint
}

// Lists says whether the newest epoch lists the peer.
func (t *Table) Lists(p *Peer) bool {
	now := t.current.Load() // it may be retired and freed here, but id and closed stay
	return !now.closed && p.newest.Load() >= now.id
}

// StandsBy says whether the newest epoch lists the peer in a tier above the one that serves.
func (t *Table) StandsBy(p *Peer) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	e := t.current.Load()
	i, listed := e.lists(p.addr)
	return listed && len(e.candidates) > 0 && e.members[i].Tier > e.tier
}

// Alive lists the addresses of the peers that are alive, in no order.
func (t *Table) Alive() []netip.AddrPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	return slices.Collect(maps.Keys(t.peers))
}

// Selectable returns the number of peers of the newest epoch that may be picked: with weight, neither down nor unfit, taken out by
// nobody, and of the tier that serves.
func (t *Table) Selectable() int {
	_, n := t.Serving()
	return n
}

// Serving returns the tier of the newest epoch that serves, and how many of its peers may be picked. Without any, no tier
// serves.
func (t *Table) Serving() (tier, selectable int) {
	t.mu.Lock() // the current epoch cannot be freed under us
	defer t.mu.Unlock()
	e := t.current.Load()
	return e.tier, len(e.candidates)
}

// Counts returns the number of epochs published and of those reclaimed. They differ by one while a table is open and at rest.
func (t *Table) Counts() (published, reclaimed uint64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.lastID, t.reclaimed
}

// Close retires the last epoch. From then on Acquire gives ErrClosed; leases that are held stay good until released.
func (t *Table) Close() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.current.Load().closed {
		return
	}
	t.publish(&epoch{table: t, closed: true, id: t.lastID, refs: make([]refs, t.opts.Slots)})
}
