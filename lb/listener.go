package lb

import (
	"log/slog"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/gate"
	"github.com/ebb-lb/ebb/lb/internal/relay"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// listener is one of the config's, on one of its addresses: its settings, its pool, and the sessions that came that way.
// Settings change under it. Another name or another pool is another listener on the same port, and this one leaves with
// its last session.
type listener struct {
	name   string
	port   *port
	pool   *livePool
	log    *slog.Logger
	access *accessLog
	slots  int
	ids    *atomic.Uint64
	limit  *limit // shared by the addresses of one listener
	live   *registry
	isOwn  func(netip.AddrPort) bool // one of the UDP listeners of this process has the address

	settings atomic.Pointer[settings]

	hearing   atomic.Int64  // of active: their PROXY header has not come yet
	turn      atomic.Uint64 // of the slots
	active    atomic.Int64
	total     atomic.Uint64
	ended     [end.Count]atomic.Uint64
	accept    counts[string]   // failed accepts
	rejected  counts[string]   // refused at a limit or by an access list
	dropped   counts[string]   // datagrams
	received  [2]received      // by flow.Direction
	grouped   [2]atomic.Uint64 // datagrams that were sent joined to others
	coalesced [2]atomic.Uint64 // that came so
	reused    atomic.Uint64    // flows that have the socket of one before

	joined  atomic.Int64 // sessions that begin, live or end
	leaving atomic.Bool  // the port serves another, or nobody
	once    sync.Once
	gone    chan struct{} // closed when it leaves and its last session has ended
}

// settings are what the config says of a listener, and what is made of that for all its addresses.
type settings struct {
	*config.Listener
	access  *gate.List
	proxies *gate.List // who begins with a PROXY header; nil is nobody
	socket  *sock.Options
}

// newSettings makes them anew, or takes over from those that were before, which may be nil, what has not changed.
func newSettings(c *config.Listener, before *settings) *settings {
	made := &settings{Listener: c, proxies: gate.NewList(c.ProxyIn, nil)}
	if before != nil && slices.Equal(before.Allow, c.Allow) && slices.Equal(before.Deny, c.Deny) {
		made.access = before.access
	} else {
		made.access = gate.NewList(c.Allow, c.Deny)
	}
	if socket := clientSocket(c); before != nil && *before.socket == socket {
		made.socket = before.socket
	} else {
		made.socket = new(socket)
	}
	return made
}

// conf is what the config says of it now. A session reads it when it begins.
func (l *listener) conf() *settings { return l.settings.Load() }

// join counts a session in, before anything else is done for it; false means that the listener leaves. Who joins parts.
//
// That nobody joins whom leave does not wait for is what pool says of its epochs: leaving is set first, so a join that has
// not seen it is in the count.
func (l *listener) join() bool {
	l.joined.Add(1)
	if l.leaving.Load() {
		l.part()
		return false
	}
	return true
}

// part counts a session out, after everything else.
func (l *listener) part() {
	n := l.joined.Add(-1)
	if n < 0 {
		panic("lb: a listener has fewer than zero sessions")
	}
	if n == 0 && l.leaving.Load() {
		l.once.Do(func() { close(l.gone) })
	}
}

// leave ends the listener with its last session, which gone tells. The port has stopped or serves another.
func (l *listener) leave() {
	l.joined.Add(1)
	l.leaving.Store(true)
	l.part()
}

// admit takes a place for a session, unless its client may not come in or a limit is reached. Whoever is admitted departs.
func (l *listener) admit(client netip.Addr) (gate.Place, refusal) {
	if no := l.denies(client); no.word != end.None {
		return gate.Place{}, no
	}
	place, no := l.limit.take(client)
	if no.word == end.None {
		l.active.Add(1)
	}
	return place, no
}

func (l *listener) denies(client netip.Addr) refusal {
	if client.IsValid() && !l.conf().access.Admits(client) { // at a path its mode decides
		return refusal{"denied", end.Denied}
	}
	return refusal{}
}

// refuses says what admit would say, and takes nothing. Without a valid address the client is any.
func (l *listener) refuses(client netip.Addr) refusal {
	if client.IsValid() {
		if no := l.denies(client); no.word != end.None {
			return no
		}
	}
	return l.limit.ask(client)
}

func (l *listener) depart(place gate.Place) {
	l.limit.give(place) // first: where no session is active, no place is taken
	l.active.Add(-1)
}

// nextSlot is the slot of a session that no loop carries.
func (l *listener) nextSlot() int { return int(l.turn.Add(1) % uint64(l.slots)) }

func (l *listener) trip(client, local netip.AddrPort, slot int) trip {
	return trip{listener: l, slot: slot, client: client, local: local, born: time.Now()}
}

// welcome admits a session that has joined, or refuses its client; nil means that it is to be reset.
func (l *listener) welcome(client, local netip.AddrPort, slot int) *tcpSession {
	s := &tcpSession{trip: l.trip(client, local, slot)}
	s.waiter = s
	s.begin()
	c, p := l.conf(), l.pool.conf()
	var no refusal
	if c.proxies == nil {
		no = s.admit()
	} else {
		no = s.await(c)
	}
	if no.word != end.None {
		l.rejected.add(no.reason)
		if _, polite := l.pool.polite(); polite && no.word != end.Denied {
			s.refused = no.word
			return s
		}
		s.finish(no.word, 0, 0, 0, netip.AddrPort{})
		l.part()
		return nil
	}
	s.Options = relay.Options{
		ConnectTimeout: p.ConnectTimeout, ConnectDeadline: p.ConnectDeadline, FirstByteTimeout: p.FirstByteTimeout,
		MaxAge: c.MaxAge, IdleTimeout: c.IdleTimeout, HalfCloseTimeout: c.HalfCloseTimeout, Dial: l.pool.dial.Load(),
	}
	if p.Balance == "hash" && p.HashKey == "sni" {
		s.HelloTimeout = c.PrereadTimeout
	}
	if s.hearing {
		s.HeaderTimeout = c.PrereadTimeout
	} else {
		s.greet()
	}
	l.live.enter(s.slot, s) // here, so that no session is missed by a kill that follows stop
	return s
}
