package lb

import (
	"fmt"
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

	mu       sync.Mutex
	backends []*backend
	timer    *time.Timer // runs holds out; nil when none is pending
	closed   bool
	watcher  *dnswatch.Watcher // nil before start
	subs     []*dnswatch.Subscription

	hastened atomic.Int64 // Unix nanoseconds
}

// backend is one entry of the config and what DNS says about it.
type backend struct {
	conf   config.Backend
	source string // how status names it: host:port
	sets   map[dnswatch.Type]*rrset
	state  map[dnswatch.Type]setState
}

// setState is the last answer for a set as people are told of it.
type setState struct {
	kind     dnswatch.Kind
	filtered string // addresses that allow_answers forbids
	err      string // of a failure; its words differ from time to time without being news
}

func (s setState) String() string {
	text := s.kind.String()
	if s.filtered != "" {
		text += ", not in allow_answers: " + s.filtered
	}
	if s.err != "" {
		text += ", " + s.err
	}
	return text
}

func newMembers(conf []config.Backend, log *slog.Logger, passing func(netip.AddrPort) bool, publish func([]pool.Member, pool.Cause)) *members {
	m := &members{log: log, passing: passing, publish: publish}
	for _, c := range conf {
		m.backends = append(m.backends, &backend{
			conf: c, source: fmt.Sprintf("%s:%d", c.Host, c.Port),
			sets: make(map[dnswatch.Type]*rrset), state: make(map[dnswatch.Type]setState),
		})
	}
	return m
}

// prepare makes the sets, one for each name and type.
func (m *members) prepare(hasIPv6 bool) {
	for _, b := range m.backends {
		for _, typ := range b.types(hasIPv6) {
			b.sets[typ] = &rrset{rule: answerRule{
				onEmpty: b.conf.OnEmpty, emptyHold: b.conf.EmptyHold, absentHold: b.conf.AbsentHold, maxStale: b.conf.MaxStale,
				allowed: addressAllowed(b.conf.AllowAnswers),
			}}
		}
	}
}

// start subscribes to every name. Answers may arrive before it returns.
func (m *members) start(w *dnswatch.Watcher, resolver string, hasIPv6 bool) error {
	m.prepare(hasIPv6)
	m.mu.Lock()
	m.watcher = w
	m.mu.Unlock()
	for _, b := range m.backends {
		for _, typ := range b.types(hasIPv6) {
			sub, err := w.Subscribe(dnswatch.Watch{
				Resolver: resolver, Name: b.conf.Host, Type: typ,
				Refresh: b.conf.Refresh, MinRefresh: b.conf.MinRefresh, MaxRefresh: b.conf.MaxRefresh,
				Notify: func(a dnswatch.Answer) { m.take(b, typ, a) },
			})
			if err != nil {
				return fmt.Errorf("backend %s: %w", b.source, err)
			}
			m.mu.Lock()
			m.subs = append(m.subs, sub)
			m.mu.Unlock()
		}
	}
	return nil
}

// types lists what is asked for a backend's name. A literal has one family, and only that is asked.
func (b *backend) types(hasIPv6 bool) []dnswatch.Type {
	if a, err := netip.ParseAddr(b.conf.Host); err == nil {
		if a.Unmap().Is4() {
			return []dnswatch.Type{dnswatch.TypeA}
		}
		return []dnswatch.Type{dnswatch.TypeAAAA}
	}
	switch b.conf.Family {
	case "ipv4":
		return []dnswatch.Type{dnswatch.TypeA}
	case "ipv6":
		return []dnswatch.Type{dnswatch.TypeAAAA}
	case "auto":
		if !hasIPv6 {
			return []dnswatch.Type{dnswatch.TypeA}
		}
	}
	return []dnswatch.Type{dnswatch.TypeA, dnswatch.TypeAAAA}
}

// take applies one answer for one backend.
func (m *members) take(b *backend, typ dnswatch.Type, a dnswatch.Answer) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return
	}
	filtered := b.sets[typ].take(a, time.Now())
	m.note(b, typ, a, filtered)
	m.applyLocked(pool.CauseDNS)
}

// note logs a change of a set's state, once; the same state again is silent.
func (m *members) note(b *backend, typ dnswatch.Type, a dnswatch.Answer, filtered []netip.Addr) {
	state := setState{kind: a.Kind}
	if len(filtered) > 0 {
		state.filtered = fmt.Sprint(filtered)
	}
	if a.Err != nil {
		state.err = a.Err.Error()
	}
	last, again := b.state[typ]
	b.state[typ] = state
	if again && last.kind == state.kind && last.filtered == state.filtered {
		return
	}
	attrs := []any{"name", a.Name, "type", typ.String(), "kind", a.Kind.String(), "addresses", len(b.sets[typ].inForce)}
	switch {
	case len(filtered) > 0:
		m.log.Warn("dns answer filtered", append(attrs, "filtered", state.filtered, "key", "allow_answers")...)
	case a.Kind == dnswatch.KindFailure:
		m.log.Warn("dns failing", append(attrs, "error", state.err)...)
	case a.Kind == dnswatch.KindOK && again:
		m.log.Info("dns well again", attrs...)
	case a.Kind != dnswatch.KindOK && b.tells(typ):
		m.log.Warn("dns answer empty", append(attrs, "on_empty", b.conf.OnEmpty, "hold", b.conf.EmptyHold)...)
	}
}

// tells says whether an empty answer of a type is news: a name that has addresses of one family often has none of the
// other, and never had.
func (b *backend) tells(typ dnswatch.Type) bool {
	if len(b.sets[typ].inForce) > 0 {
		return true
	}
	for other, set := range b.sets {
		if other != typ && len(set.inForce) > 0 {
			return false
		}
	}
	return true
}

// applyLocked computes the members, publishes them and arms the timer for the next hold.
func (m *members) applyLocked(cause pool.Cause) {
	now := time.Now()
	var all []pool.Member
	var next time.Time
	for _, b := range m.backends {
		for _, set := range b.sets {
			if due := set.expire(now); !due.IsZero() {
				next = sooner(next, due)
			}
		}
		for _, addr := range b.addresses(now, m.passing) {
			all = append(all, pool.Member{Addr: addr, Weight: b.conf.Weight, Tier: b.conf.Tier, Sources: []string{b.source}})
		}
	}
	if m.timer != nil {
		m.timer.Stop()
	}
	if !next.IsZero() {
		m.timer = time.AfterFunc(time.Until(next), m.expire)
	}
	m.publish(all, cause)
}

// expire runs when a hold is due.
func (m *members) expire() {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.closed {
		m.applyLocked(pool.CauseDNS)
	}
}

// addresses lists what a backend stands for now, by its family rule.
func (b *backend) addresses(now time.Time, passing func(netip.AddrPort) bool) []netip.AddrPort {
	var out []netip.AddrPort
	add := func(typ dnswatch.Type) {
		set := b.sets[typ]
		if set == nil {
			return
		}
		stale := set.stale(now)
		for _, a := range set.inForce {
			addr := netip.AddrPortFrom(a, uint16(b.conf.Port))
			if !stale || passing(addr) {
				out = append(out, addr)
			}
		}
	}
	preferred, other := dnswatch.TypeA, dnswatch.TypeAAAA
	switch b.conf.Family {
	case "prefer_ipv6":
		preferred, other = other, preferred
		fallthrough
	case "prefer_ipv4":
		add(preferred)
		// A failure never moves a set that is in force to the other family: the two would flap.
		if set := b.sets[preferred]; set == nil || set.barren() {
			add(other)
		}
	default:
		add(dnswatch.TypeA)
		add(dnswatch.TypeAAAA)
	}
	return out
}

// answered tells whether every name has had its first answer, and lists those that have none.
func (m *members) answered() (waiting []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, b := range m.backends {
		if len(b.state) == 0 {
			waiting = append(waiting, b.source)
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
		for typ := range b.sets {
			text := "no answer yet"
			if state, ok := b.state[typ]; ok {
				text = state.String()
			}
			parts = append(parts, fmt.Sprintf("%s %s: %s", b.source, typ, text))
		}
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
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed || m.watcher == nil {
		return
	}
	for _, b := range m.backends {
		failing := false
		for _, set := range b.sets {
			failing = failing || !set.failing.IsZero()
		}
		if !failing {
			m.watcher.Refresh(b.conf.Host)
		}
	}
}

func (m *members) close() {
	m.mu.Lock()
	m.closed = true
	if m.timer != nil {
		m.timer.Stop()
	}
	subs := m.subs
	m.mu.Unlock()
	for _, s := range subs {
		s.Close()
	}
}
