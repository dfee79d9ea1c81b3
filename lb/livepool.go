package lb

import (
	"log/slog"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/pool"
)

// livePool is a pool at work: its epoch table, what fills it, and what follows when a peer comes, goes or dies.
type livePool struct {
	conf    config.Pool
	log     *slog.Logger
	table   *pool.Table
	members *members
	hub     *check.Hub
	connect prometheus.Observer
	first   prometheus.Observer
	kill    func(w end.Word, addr netip.AddrPort) int // cuts the sessions of this pool on one peer

	counts sync.Map // netip.AddrPort -> *peerCount

	mu      sync.Mutex
	watches map[netip.AddrPort]*check.Watch
	passing map[netip.AddrPort]bool        // the last word of each check
	drains  map[netip.AddrPort]*time.Timer // drain_timeout of each removed peer
	closed  bool
}

// peerCount counts the sessions that ended on one address, by word. It goes with the peer.
type peerCount struct{ ended [end.Count]atomic.Uint64 }

func newLivePool(conf config.Pool, slots int, r *pool.Reclaimer, hub *check.Hub, log *slog.Logger) (*livePool, error) {
	policy, err := pool.ParsePolicy(conf.Balance)
	if err != nil {
		return nil, err
	}
	p := &livePool{
		conf: conf, log: log.With("pool", conf.Name), hub: hub,
		watches: make(map[netip.AddrPort]*check.Watch), passing: make(map[netip.AddrPort]bool),
		drains: make(map[netip.AddrPort]*time.Timer),
	}
	p.table = pool.New(pool.Options{
		Name: conf.Name, Policy: policy, Slots: slots, MaxConns: conf.MaxConns, Checked: conf.Check != nil, OnGone: p.gone,
	}, r)
	var passing func(netip.AddrPort) bool
	if conf.Check != nil {
		passing = p.isPassing
	}
	p.members = newMembers(conf.Backends, p.log, passing, p.publish)
	return p, nil
}

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
		if t := p.drains[addr]; t != nil {
			t.Stop()
			delete(p.drains, addr)
		}
		p.watchLocked(addr)
	}
	var cut []netip.AddrPort
	for _, addr := range diff.Removed {
		switch p.conf.On.Removed {
		case "close":
			cut = append(cut, addr)
		case "drain":
			if p.conf.DrainTimeout > 0 && !p.closed {
				p.drains[addr] = time.AfterFunc(p.conf.DrainTimeout, func() { p.drained(addr) })
			}
		}
	}
	p.mu.Unlock()
	for _, addr := range cut {
		p.kill(end.PeerRemoved, addr)
	}
}

// drained ends what is left on a removed peer when drain_timeout runs out.
func (p *livePool) drained(addr netip.AddrPort) {
	p.mu.Lock()
	_, due := p.drains[addr] // gone if the peer came back meanwhile
	delete(p.drains, addr)
	p.mu.Unlock()
	if due {
		p.kill(end.Drained, addr)
	}
}

// watchLocked starts the check of an address that has none.
func (p *livePool) watchLocked(addr netip.AddrPort) {
	c := p.conf.Check
	if c == nil || p.closed || p.watches[addr] != nil {
		return
	}
	w, err := p.hub.Watch(addr, check.Options{
		Kind: c.Kind, Interval: c.Interval, Timeout: c.Timeout, FastInterval: c.FastInterval,
		Fall: c.Fall, Rise: c.Rise, RefusedIsDown: c.RefusedIsDown,
	}, func(s check.State) { p.checked(addr, s) })
	if err != nil {
		p.log.Error("no check", "peer", addr.String(), "error", err)
		return
	}
	p.watches[addr] = w
}

// checked takes a change of a check's word.
func (p *livePool) checked(addr netip.AddrPort, s check.State) {
	health, word := pool.HealthDown, "down"
	if s.Up {
		health, word = pool.HealthUp, "up"
	}
	p.mu.Lock()
	was := p.passing[addr]
	p.passing[addr] = s.Up
	p.mu.Unlock()
	p.table.SetHealth(addr, health)
	p.log.Info("peer "+word, "peer", addr.String(), "reason", s.Last.Reason, "detail", s.Last.Detail, "latency", s.Last.Latency)
	if was && !s.Up && p.conf.On.Dead == "close" {
		if n := p.kill(end.PeerDead, addr); n > 0 {
			p.log.Info("sessions closed", "peer", addr.String(), "end", end.PeerDead.String(), "sessions", n)
		}
	}
}

func (p *livePool) isPassing(addr netip.AddrPort) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.passing[addr]
}

// poke asks for an early probe: a connect has just failed.
func (p *livePool) poke(addr netip.AddrPort) {
	p.mu.Lock()
	w := p.watches[addr]
	p.mu.Unlock()
	if w != nil {
		w.Poke()
	}
}

// gone is called by the reclaimer when no live epoch lists the peer. The address may have come back as another peer
// meanwhile; then it gets a check of its own, whose first word it needs.
func (p *livePool) gone(peer *pool.Peer) {
	addr := peer.Addr()
	p.log.Info("peer gone", "peer", addr.String(), "sessions", peer.Total())
	again := p.table.Peer(addr) != nil
	p.mu.Lock()
	w := p.watches[addr]
	delete(p.watches, addr)
	delete(p.passing, addr)
	if again {
		p.watchLocked(addr)
	} else {
		p.counts.Delete(addr)
	}
	p.mu.Unlock()
	if w != nil {
		w.Close()
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
	watches := p.watches
	p.watches = make(map[netip.AddrPort]*check.Watch)
	for addr, t := range p.drains {
		t.Stop()
		delete(p.drains, addr)
	}
	p.mu.Unlock()
	for _, w := range watches {
		w.Close()
	}
	p.table.Close()
}

func addrs(list []netip.AddrPort) []string {
	out := make([]string, len(list))
	for i, a := range list {
		out[i] = a.String()
	}
	return out
}
