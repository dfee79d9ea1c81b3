package lb

import (
	"fmt"
	"iter"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/pool"
)

// members turns the answers for a pool's backends into the members of its table. It owns the subscriptions.
type members struct {
	log     *slog.Logger
	publish func([]pool.Member, pool.Cause) // called with mu held, so that epochs appear in the order of the answers
	passing func(netip.AddrPort) bool       // a check vouches for the address
	own     ownTest                         // nil before that is known
	refuse  func(reason string, n int)      // counts addresses that do not become peers

	mu       sync.Mutex
	backends []*backend
	refused  map[netip.AddrPort]bool // for being our own
	timer    *time.Timer             // runs holds out; nil when none is pending
	closed   bool
	watcher  *dnswatch.Watcher // nil before start
	resolver string
	hasIPv6  bool

	hastened atomic.Int64 // Unix nanoseconds
}

// ownTest tells that ebb listens there itself.
type ownTest func(peer netip.AddrPort, literal bool) bool

// backend is one entry of the config and what DNS says about it.
type backend struct {
	*watched // its own name
	conf     config.Backend
	source   string              // how status names it: host:port, or srv+host
	targets  map[string]*watched // of SRV records
	proposed bool                // and not accepted yet: nothing comes of what is known of it
}

// literal tells that the backend is an address.
func (b *backend) literal() bool {
	_, err := netip.ParseAddr(b.conf.Host)
	return err == nil
}

func newMembers(conf []config.Backend, log *slog.Logger, passing func(netip.AddrPort) bool, publish func([]pool.Member, pool.Cause)) *members {
	m := &members{log: log, passing: passing, publish: publish, refuse: func(string, int) {}}
	for _, c := range conf {
		m.backends = append(m.backends, newBackend(c))
	}
	return m
}

func newBackend(c config.Backend) *backend {
	b := &backend{conf: c, source: sourceOf(c)}
	if c.Type == "srv" {
		b.targets = make(map[string]*watched)
	}
	return b
}

func sourceOf(c config.Backend) string {
	if c.Type == "srv" {
		return "srv+" + c.Host
	}
	return fmt.Sprintf("%s:%d", c.Host, c.Port)
}

func (b *backend) rule() answerRule {
	return answerRule{
		onError: b.conf.OnError, onEmpty: b.conf.OnEmpty, emptyHold: b.conf.EmptyHold, absentHold: b.conf.AbsentHold, maxStale: b.conf.MaxStale,
		allowed: addressAllowed(b.conf.AllowAnswers),
	}
}

// types lists what is asked for the backend's own name.
func (b *backend) types(hasIPv6 bool) []dnswatch.Type {
	if b.conf.Type == "srv" {
		return []dnswatch.Type{dnswatch.TypeSRV}
	}
	return addressTypes(b.conf.Host, b.conf.Family, hasIPv6)
}

// prepare makes the sets, one for each name and type.
func (m *members) prepare(hasIPv6 bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.hasIPv6 = hasIPv6
	for _, b := range m.backends {
		b.watched = newWatched(b.conf.Host, b.types(hasIPv6), b.rule())
	}
}

// start subscribes to every name. Answers wait until it returns.
func (m *members) start(w *dnswatch.Watcher, resolver string, hasIPv6 bool) error {
	m.prepare(hasIPv6)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.watcher, m.resolver = w, resolver
	for _, b := range m.backends {
		if err := m.subscribe(b, b.watched, resolver); err != nil {
			return fmt.Errorf("backend %s: %w", b.source, err)
		}
	}
	return nil
}

// subscribe begins to watch a name. The caller holds mu.
func (m *members) subscribe(b *backend, w *watched, resolver string) error {
	if m.watcher == nil {
		return nil
	}
	wish := w.wish
	for typ := range w.sets {
		sub, err := m.watcher.Subscribe(dnswatch.Watch{
			Resolver: resolver, Name: w.name, Type: typ,
			Refresh: b.conf.Refresh, MinRefresh: b.conf.MinRefresh, MaxRefresh: b.conf.MaxRefresh,
			Notify: func(a dnswatch.Answer) { m.take(b, w, wish, typ, a) },
		})
		if err != nil {
			return err
		}
		w.subs = append(w.subs, sub)
	}
	return nil
}

// take applies one answer for one name of a backend.
func (m *members) take(b *backend, w *watched, wish int, typ dnswatch.Type, a dnswatch.Answer) {
	m.mu.Lock()
	if m.closed || w.gone || w.wish != wish {
		m.mu.Unlock()
		return
	}
	filtered := w.sets[typ].take(a, time.Now())
	m.note(b, w, typ, a, filtered)
	if typ == dnswatch.TypeSRV {
		m.follow(b, a.Hints)
	}
	var ended []*dnswatch.Subscription
	if !b.proposed {
		ended = m.applyLocked(pool.CauseDNS)
	}
	m.mu.Unlock()
	closeAll(ended)
}

// note logs a change of a set's state, once; the same state again is silent.
func (m *members) note(b *backend, w *watched, typ dnswatch.Type, a dnswatch.Answer, filtered []netip.Addr) {
	last, again := w.state[typ]
	state := setState{kind: a.Kind, omitted: last.omitted || a.Omitted > 0}
	if len(filtered) > 0 {
		state.filtered = fmt.Sprint(filtered)
	}
	if a.Err != nil {
		state.err = a.Err.Error()
	}
	w.state[typ] = state
	attrs := []any{"name", a.Name, "type", typ.String(), "kind", a.Kind.String(), "records", len(w.sets[typ].inForce)}
	if state.omitted && !last.omitted { // said once: an answer of this size stays one
		m.refuse("cap", a.Omitted)
		m.log.Warn("dns answer too large", append(attrs, "omitted", a.Omitted)...)
	}
	if again && last.kind == state.kind && last.filtered == state.filtered {
		return
	}
	switch {
	case len(filtered) > 0:
		m.refuse("allow_answers", len(filtered))
		m.log.Warn("dns answer filtered", append(attrs, "filtered", state.filtered, "key", "allow_answers")...)
	case a.Kind == dnswatch.KindFailure:
		m.log.Warn("dns failing", append(attrs, "error", state.err)...)
	case a.Kind == dnswatch.KindOK && again:
		m.log.Info("dns well again", attrs...)
	case a.Kind != dnswatch.KindOK && w.tells(typ):
		m.log.Warn("dns answer empty", append(attrs, "on_empty", b.conf.OnEmpty, "hold", b.conf.EmptyHold)...)
	}
}

// applyLocked computes the members, publishes them and arms the timer for the next hold. It returns the subscriptions that
// are needed no more, to be closed when mu is released.
func (m *members) applyLocked(cause pool.Cause) (ended []*dnswatch.Subscription) {
	now := time.Now()
	var next time.Time
	for _, b := range m.backends {
		for w := range b.names() {
			for _, set := range w.sets {
				if due := set.expire(now); !due.IsZero() {
					next = sooner(next, due)
				}
			}
		}
		if b.targets != nil {
			ended = append(ended, b.forget()...)
		}
	}
	all := make([]pool.Member, 0, len(m.backends))
	var refused map[netip.AddrPort]bool
	m.walk(now, func(b *backend, o origin) {
		if addr := o.peer(); m.own != nil && m.own(addr, b.literal()) {
			if refused == nil {
				refused = make(map[netip.AddrPort]bool)
			}
			if refused[addr] = true; !m.refused[addr] {
				m.refuse("own_listener", 1)
				m.log.Warn("peer refused: ebb listens there itself", "peer", addr.String(), "name", o.name, "backend", b.source)
			}
			return
		}
		all = append(all, pool.Member{Addr: o.peer(), Weight: o.weight, Tier: o.tier, Sources: []string{b.source}})
	})
	m.refused = refused
	if m.timer != nil {
		m.timer.Stop()
	}
	if !next.IsZero() {
		m.timer = time.AfterFunc(time.Until(next), m.expire)
	}
	m.publish(all, cause)
	return ended
}

// origin is a peer that a backend stands for, and what it comes from.
type origin struct {
	*watched
	located
	port         uint16
	tier, weight int
}

func (o origin) peer() netip.AddrPort { return netip.AddrPortFrom(o.addr, o.port) }

// walk visits every peer that the backends stand for now. The caller holds mu.
func (m *members) walk(now time.Time, visit func(*backend, origin)) {
	for _, b := range m.backends {
		each := func(o origin) {
			if !o.stale || m.passing(o.peer()) {
				visit(b, o)
			}
		}
		if b.targets != nil {
			b.walkServices(now, each)
			continue
		}
		for _, at := range b.addresses(b.conf.Family, now) {
			each(origin{b.watched, at, uint16(b.conf.Port), b.conf.Tier, b.conf.Weight})
		}
	}
}

// names gives the names of a backend: its own and those of its targets.
func (b *backend) names() iter.Seq[*watched] {
	return func(yield func(*watched) bool) {
		if !yield(b.watched) {
			return
		}
		for _, t := range b.targets {
			if !yield(t) {
				return
			}
		}
	}
}

// feedKey is a name and a type as DNS status shows them.
type feedKey struct {
	name string
	typ  dnswatch.Type
}

// feeds visits the peers that come from each name now. Those of a target come from its service too.
func (m *members) feeds(visit func(feedKey, netip.AddrPort)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.walk(time.Now(), func(b *backend, o origin) {
		addr := o.peer()
		if m.refused[addr] {
			return
		}
		visit(feedKey{absolute(o.name), o.typ}, addr)
		if b.targets != nil {
			visit(feedKey{absolute(b.conf.Host), dnswatch.TypeSRV}, addr)
		}
	})
}

// expire runs when a hold is due.
func (m *members) expire() {
	m.mu.Lock()
	var ended []*dnswatch.Subscription
	if !m.closed {
		ended = m.applyLocked(pool.CauseDNS)
	}
	m.mu.Unlock()
	closeAll(ended)
}

// answered tells whether every name has had its first answer, and lists those that have none. Addresses that came along
// with SRV records are as good as an answer.
func (m *members) answered() (waiting []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return unanswered(m.backends)
}

func unanswered(backends []*backend) (waiting []string) {
	for _, b := range backends {
		for w := range b.names() {
			if len(w.state) == 0 && len(w.addresses(b.conf.Family, time.Now())) == 0 {
				waiting = append(waiting, b.source)
			}
		}
	}
	return waiting
}

// describe says why the pool may be empty: the last state of each name.
func (m *members) describe() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	var parts []string
	for _, b := range m.backends {
		parts = append(parts, b.describe(b.source)...)
		for _, t := range b.targets {
			parts = append(parts, t.describe(absolute(t.name))...)
		}
	}
	for addr := range m.refused {
		parts = append(parts, fmt.Sprintf("%s refused: ebb listens there itself", addr))
	}
	slices.Sort(parts)
	return strings.Join(parts, "; ")
}

// hastenEvery is how often failing peers may hasten a pool's names. However many sessions fail, it costs this much.
const hastenEvery = time.Second

// hasten asks for the names again, though each not sooner than its min_refresh. Names that fail keep to their back-off.
func (m *members) hasten() {
	now, last := time.Now().UnixNano(), m.hastened.Load()
	if now-last < int64(hastenEvery) || !m.hastened.CompareAndSwap(last, now) {
		return
	}
	for _, s := range m.subscriptions() {
		s.Refresh()
	}
}

func (m *members) subscriptions() (list []*dnswatch.Subscription) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.backends {
		if b.watched == nil { // start was never reached
			continue
		}
		for w := range b.names() {
			list = append(list, w.subs...)
		}
	}
	return list
}

func (m *members) close() {
	m.mu.Lock()
	m.closed = true
	if m.timer != nil {
		m.timer.Stop()
	}
	m.mu.Unlock()
	for _, s := range m.subscriptions() {
		s.Close()
	}
}
