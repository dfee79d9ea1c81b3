package lb

import (
	"errors"
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/farewell"
	"github.com/ebb-lb/ebb/lb/internal/sock"
	"github.com/ebb-lb/ebb/pool"
)

// livePool is a pool at work: its epoch table, what fills it, and what follows when a peer comes, goes or dies.
type livePool struct {
	name    string
	log     *slog.Logger
	table   *pool.Table
	members *members
	hub     *check.Hub
	connect prometheus.Observer
	first   prometheus.Observer
	on      func(addr netip.AddrPort) []live // the sessions of this pool on one peer

	settings atomic.Pointer[config.Pool]
	dial     atomic.Pointer[sock.Options] // what those say of sockets to peers
	misfits  counts[string]               // options that such a socket did not get
	queue    queue
	teller   *farewell.Teller // of the server

	counts sync.Map // netip.AddrPort -> *peerCount

	mu     sync.Mutex
	checks map[netip.AddrPort]*peerCheck
	fates  fates
	had    bool // there was a peer to offer, as last logged
	tier   int  // that serves, as last logged
	guard  guard
	seeks  bool        // a switch-over waits for another primary
	hurry  bool        // the checks hurry
	next   *time.Timer // of the epoch that time alone makes due; nil: none is
	closed bool
}

// peerCheck is the check of one peer, its last word, and what the pool makes of that.
type peerCheck struct {
	watch    *check.Watch
	state    check.State
	verdict  verdict
	since    time.Time // the verdict or the role is as it is; zero until the check has spoken
	primary  bool      // it is one, or was when it was last up
	timeline uint64    // told with that
	began    uint64    // the report in which it began to be a primary, and is up since
	heard    uint64    // the last report in which it said so
}

// peerCount counts the sessions that ended on one address, by word. It goes with the peer.
type peerCount struct{ ended [end.Count]atomic.Uint64 }

func newLivePool(conf config.Pool, said []pool.Override, tier, slots int, r *pool.Reclaimer, hub *check.Hub, log *slog.Logger) *livePool {
	p := &livePool{
		name: conf.Name, log: log.With("pool", conf.Name), hub: hub,
		checks: make(map[netip.AddrPort]*peerCheck), tier: tier,
	}
	p.queue.pool = p
	p.settings.Store(&conf)
	p.dial.Store(new(peerSocket(&conf.Socket)))
	p.table = pool.New(pool.Options{
		Name: conf.Name, Slots: slots, Tuning: tuning(&conf), Checked: conf.Check != nil, Fresh: p.fresh, Tier: tier, Said: said, OnGone: p.gone,
		OnFreed: func(epoch uint64) { p.log.Debug("epoch freed", "epoch", epoch) },
		OnEject: func(peer *pool.Peer, d time.Duration) {
			p.log.Warn("peer ejected", "peer", peer.Addr().String(), "for", d)
		},
	}, r)
	p.members = newMembers(conf.Backends, p.log, p.isPassing, p.publish)
	return p
}

// misfit says that a socket did not get an option that it got at the start.
func (p *livePool) misfit(err error) {
	var option *sock.OptionError
	if !errors.As(err, &option) {
		return
	}
	if n := p.misfits.add(option.Key); n&(n-1) == 0 {
		p.log.Warn("socket option failed", "key", option.Key, "reason", option.Why(), "times", n)
	}
}

// conf is what the config says of the pool now.
func (p *livePool) conf() *config.Pool { return p.settings.Load() }

// publish makes the next epoch, if the members differ, and lets follow what follows.
func (p *livePool) publish(members []pool.Member, cause pool.Cause) {
	diff, err := p.table.Apply(members, cause)
	if err != nil { // the table refuses what config validation and DNS collection can never produce
		p.log.Error("epoch refused", "cause", cause.String(), "error", err)
		return
	}
	if !diff.Changed {
		return
	}
	p.log.Info("epoch", "epoch", diff.Epoch, "cause", cause.String(), "peers", len(members),
		"added", addrs(diff.Added), "removed", addrs(diff.Removed), "reweighted", addrs(diff.Reweighted))
	p.mu.Lock()
	for _, addr := range diff.Added {
		p.watchLocked(addr)
		p.decideLocked(addr)
	}
	for _, addr := range diff.Removed {
		p.decideLocked(addr)
	}
	p.tellLocked()
	p.judgeLocked(netip.AddrPort{})
	p.mu.Unlock()
}

// tellLocked follows every epoch: it serves who waits, and says when the last peer to offer is lost, when there is one again,
// and when another tier serves.
func (p *livePool) tellLocked() {
	p.queue.serve()
	p.awaitLocked()
	if p.conf().On.Failback != "keep" { // who stands by may be another
		p.decideAllLocked()
	}
	tier, n := p.table.Serving()
	p.hurryLocked(n)
	if n > 0 && tier != p.tier && !p.closed {
		p.log.Warn("another tier serves", "tier", tier, "before", p.tier, "peers", n)
		p.tier = tier
	}
	switch {
	case p.closed || (n > 0) == p.had:
		return
	case n == 0:
		p.log.Warn("no peer left")
	default:
		p.log.Info("peers to offer", "peers", n)
	}
	p.had = n > 0
}

// watchLocked starts the check of an address that has none.
func (p *livePool) watchLocked(addr netip.AddrPort) {
	conf := p.conf().Check
	if conf == nil || p.closed || p.checks[addr] != nil || p.table.Admin(addr) == pool.AdminMaint {
		return
	}
	c := &peerCheck{verdict: judge(conf, check.State{})}
	var err error
	c.watch, err = p.hub.Watch(addr, checkOptions(conf, p.dial.Load()), conf.MaxLag, func(s check.State) { p.checked(addr, c, s) })
	if err != nil {
		p.log.Error("no check", "peer", addr.String(), "error", err)
		return
	}
	p.checks[addr] = c
	c.watch.Hurry(p.hurry)
}

// hurryLocked has the peers asked faster while the pool chooses among them and has none to offer, or waits for another.
func (p *livePool) hurryLocked(selectable int) {
	hurry := p.seeks || selectable == 0 && selects(p.conf().Check)
	if hurry == p.hurry {
		return
	}
	p.hurry = hurry
	for _, c := range p.checks {
		c.watch.Hurry(hurry)
	}
}

// checked takes a change of a check's word, or an answer that was asked for.
func (p *livePool) checked(addr netip.AddrPort, c *peerCheck, s check.State) {
	p.mu.Lock()
	if p.checks[addr] != c { // the peer is gone
		p.mu.Unlock()
		return
	}
	before := c.state
	c.state = s
	p.guard.reports++
	if s.Last.Alive && s.Last.Role == check.Primary {
		c.heard = p.guard.reports
		if !before.Up || before.Role != check.Primary {
			c.began = p.guard.reports
		}
	}
	if s.Role != check.RoleUnknown { // being down is no word on that
		c.primary, c.timeline = s.Role == check.Primary, s.Timeline
	}
	if s.Blind && !before.Blind {
		p.log.Error("check cannot be tried", "peer", addr.String(), "detail", s.Last.Detail)
	}
	if before.Role != check.RoleUnknown && s.Role != check.RoleUnknown && s.Role != before.Role {
		c.since = time.Now()
		p.log.Info("peer role", "peer", addr.String(), "role", s.Role.String(), "before", before.Role.String())
	}
	lost := p.judgeLocked(addr)
	p.mu.Unlock()
	if lost { // perhaps the name has moved on
		p.members.hasten()
	}
}

func (p *livePool) isPassing(addr netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.checks[addr]
	return c != nil && c.state.Up
}

// checkOf is what is known from the check of a peer, and its last probe; false if there was none.
func (p *livePool) checkOf(addr netip.AddrPort) (c peerCheck, last check.Result, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if found := p.checks[addr]; found != nil {
		c = *found
		last, ok = c.watch.Last()
	}
	return c, last, ok
}

// failed asks for an early probe and an early answer: a connect has just failed, and perhaps the name has moved on.
func (p *livePool) failed(addr netip.AddrPort) {
	p.mu.Lock()
	c := p.checks[addr]
	p.mu.Unlock()
	if c != nil {
		c.watch.Poke()
	}
	p.members.hasten()
}

// gone is called by the reclaimer when no live epoch lists the peer. The address may have come back as another peer
// meanwhile; then that needs a check of its own, whose first word it must hear.
func (p *livePool) gone(peer *pool.Peer) {
	addr := peer.Addr()
	p.mu.Lock()
	again := p.table.Peer(addr) != nil // asked under the lock: publish waits for it before it looks for a check
	c := p.checks[addr]
	delete(p.checks, addr)
	if again {
		p.watchLocked(addr)
	} else {
		p.counts.Delete(addr)
	}
	p.decideLocked(addr)
	closed := p.closed
	p.mu.Unlock()
	if c != nil {
		c.watch.Close()
	}
	if !closed {
		p.log.Info("peer gone", "peer", addr.String(), "sessions", peer.Total())
	}
}

func (p *livePool) count(addr netip.AddrPort) *peerCount {
	if c, ok := p.counts.Load(addr); ok {
		return c.(*peerCount)
	}
	c, _ := p.counts.LoadOrStore(addr, new(peerCount))
	return c.(*peerCount)
}

// close ends the subscriptions, the checks and the table. Sessions that live keep their leases.
func (p *livePool) close() {
	p.members.close()
	p.mu.Lock()
	p.closed = true
	p.awaitLocked()
	checks := p.checks
	p.checks = make(map[netip.AddrPort]*peerCheck)
	for addr := range p.fates.of.Range {
		p.decideLocked(addr.(netip.AddrPort))
	}
	p.mu.Unlock()
	p.fates.work.Wait()
	for _, c := range checks {
		c.watch.Close()
	}
	p.table.Close()
	p.queue.close()
}

func addrs(list []netip.AddrPort) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}
