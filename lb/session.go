package lb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/gate"
	"github.com/ebb-lb/ebb/lb/internal/relay"
	"github.com/ebb-lb/ebb/lb/internal/sock"
	"github.com/ebb-lb/ebb/pool"
)

// trip is what a TCP session and a UDP flow have in common: the walk from admission through the lease to one log line.
// Its methods are called from the goroutine that owns the session.
type trip struct {
	id            uint64 // 0 until the session counts
	listener      *listener
	slot          int
	client, local netip.AddrPort
	via           *netip.AddrPort // who told that the client is another; nil is nobody
	sni           string          // the name that its ClientHello asks for, if that was looked at
	born          time.Time
	place         gate.Place // of the listener

	lease    pool.Lease
	leased   bool
	settled  bool // on peer; the registry's
	lastFail end.Word
	failures int32
	peer     *pool.Peer // the last one leased
	epoch    uint64
	tried    []netip.AddrPort
	attempts []attempt     // that failed
	started  time.Time     // of the attempt under way
	connect  time.Duration // of the one that succeeded

	waiter waiter  // nil cannot wait
	ticket *ticket // while it waits
}

// attempt is one try to reach a peer.
type attempt struct {
	peer   netip.AddrPort
	result string
	took   time.Duration
}

func (a attempt) String() string {
	return fmt.Sprintf("%s %s %.3fms", a.peer, a.result, milliseconds(a.took))
}

func (t *trip) walk() *trip { return t }

// who is the client, for people: nobody has an address at a path.
func (t *trip) who() string { return spell(t.client, "unix") }

// where is what the client connected to.
func (t *trip) where() string { return spell(t.local, t.listener.port.address()) }

func spell(addr netip.AddrPort, otherwise string) string {
	if addr.IsValid() {
		return addr.String()
	}
	return otherwise
}

// begin makes the trip count as a session: from now on an end is owed, and its line.
func (t *trip) begin() {
	t.id = t.listener.ids.Add(1)
	t.listener.total.Add(1)
	if t.listener.access.begins.Load() {
		t.logBegin()
	}
}

// Next takes a lease for the next attempt, or makes the client wait for one. Peers that this session has tried are not
// tried again. Who has begun to connect waits for nobody.
func (t *trip) Next() (netip.AddrPort, end.Word) {
	p := t.listener.pool
	switch {
	case t.ticket != nil:
		if w := p.queue.answer(t); w != end.None {
			return netip.AddrPort{}, w
		}
		t.started = time.Now()
		return t.take(), end.None
	case int(t.failures) >= p.conf().ConnectAttempts:
		return netip.AddrPort{}, t.lastFail
	case t.failures == 0:
		if why, wait := p.queue.reasonToWait(); wait {
			return t.wait(why)
		}
	}
	t.started = time.Now()
	var err error
	if t.lease, err = p.table.Acquire(pool.Request{Slot: t.slot, Now: p.table.Since(t.started), Key: t.key(), Exclude: t.tried}); err == nil {
		return t.take(), end.None
	}
	if t.lastFail != end.None {
		p.queue.serve() // who looked in vain may have kept a place from others for a moment
		return netip.AddrPort{}, t.lastFail
	}
	if why, wait := p.queue.reason(); wait {
		return t.wait(why)
	}
	if !errors.Is(err, pool.ErrLimit) {
		return netip.AddrPort{}, end.NoPeer
	}
	if t.waiter != nil { // a flow's datagram is counted where it is dropped
		t.listener.rejected.add(atPoolMaxConns.reason)
	}
	return netip.AddrPort{}, atPoolMaxConns.word
}

// wait lets the client wait, if it can.
func (t *trip) wait(why reason) (netip.AddrPort, end.Word) {
	if t.waiter == nil {
		return netip.AddrPort{}, end.NoPeer
	}
	return netip.AddrPort{}, t.listener.pool.queue.join(t, why)
}

// take begins an attempt with the lease.
func (t *trip) take() netip.AddrPort {
	t.leased = true
	t.peer, t.epoch = t.lease.Peer(), t.lease.Epoch()
	t.tried = append(t.tried, t.peer.Addr())
	return t.peer.Addr()
}

func (t *trip) key() pool.Key { return t.listener.pool.key(t.client, t.local, t.sni) }

// key is what balance = "hash" goes by. Who asks for no name has that of its address.
func (p *livePool) key(client, local netip.AddrPort, sni string) pool.Key {
	switch c := p.conf(); {
	case c.Balance != "hash":
		return 0
	case c.HashKey == "source_port":
		return pool.KeyOf(client.Addr(), client.Port())
	case c.HashKey == "destination":
		return pool.KeyOf(local.Addr(), local.Port())
	case c.HashKey == "sni" && sni != "":
		return pool.KeyOfName(sni)
	}
	return pool.KeyOf(p.masked(client.Addr()), 0)
}

// masked is what of a client's address is the key of hash.
func (p *livePool) masked(client netip.Addr) netip.Addr {
	c := p.conf()
	client = client.Unmap()
	bits := c.HashPrefixIPv6
	if client.Is4() {
		bits = c.HashPrefixIPv4
	}
	if bits == client.BitLen() {
		return client
	}
	prefix, err := client.Prefix(bits)
	if err != nil { // no address: whoever asks for any client
		return client
	}
	return prefix.Addr()
}

// Failed gives the lease back with what the failure says about the peer.
func (t *trip) Failed(err error) {
	outcome, word, result := pool.OutcomeConnectFailed, end.ConnectFailed, "refused"
	switch sock.Classify(err) {
	case sock.TimedOut:
		outcome, word, result = pool.OutcomeConnectTimeout, end.ConnectTimeout, "timeout"
	case sock.NoSourcePort:
		outcome, word, result = pool.OutcomeNeutral, end.NoSourcePort, "no_source_port"
	case sock.Resources:
		outcome, word, result = pool.OutcomeNeutral, end.Internal, "no_resources"
		t.listener.pool.misfit(err)
	case sock.Canceled: // the session was cut, and finish will know why
		t.note("canceled")
		return
	}
	t.note(result)
	t.failures++
	t.lastFail = word
	t.release(outcome, word)
	if outcome != pool.OutcomeNeutral {
		t.listener.pool.failed(t.peer.Addr())
	}
}

// note adds the attempt that has just failed.
func (t *trip) note(result string) {
	t.attempts = append(t.attempts, attempt{t.peer.Addr(), result, time.Since(t.started)})
}

// reached notes that there is a connection, or with UDP a socket.
func (t *trip) reached() {
	t.connect = max(1, time.Since(t.started))
}

// release counts what ended on the peer and gives the lease back, in this order: the counts go with the peer, and it may
// go with its last lease.
func (t *trip) release(o pool.Outcome, w end.Word) {
	if t.leased {
		t.leased = false
		t.listener.pool.count(t.peer.Addr()).ended[w].Add(1)
		t.lease.Release(o)
		t.listener.pool.queue.serve()
	}
}

// outcome says what the end of an established session tells about its peer.
func outcome(w end.Word, out int64) pool.Outcome {
	switch {
	case w == end.ConnectFailed: // only UDP: there a refusal comes after the first datagram
		return pool.OutcomeConnectFailed
	case w == end.ServerReset && out == 0:
		return pool.OutcomeResetEarly
	case out > 0 || w == end.ServerFIN || w == end.ClientFIN:
		return pool.OutcomeOK
	default:
		return pool.OutcomeNeutral
	}
}

// finish is the one exit of every trip: lease back, counts, one log line.
func (t *trip) finish(w end.Word, in, out int64, firstByte time.Duration, upstream netip.AddrPort) {
	l := t.listener
	t.release(outcome(w, out), w)
	if firstByte > 0 {
		l.pool.first.Observe(firstByte.Seconds())
	}
	l.ended[w].Add(1)
	if l.access.ends.Load() {
		t.logEnd(w, in, out, firstByte, upstream)
	}
}

func (t *trip) logEnd(w end.Word, in, out int64, firstByte time.Duration, upstream netip.AddrPort) {
	l := t.listener
	tries := make([]string, 0, len(t.attempts)+1)
	for _, a := range t.attempts {
		tries = append(tries, a.String())
	}
	if t.connect > 0 {
		tries = append(tries, attempt{t.peer.Addr(), "ok", t.connect}.String())
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs,
		slog.Uint64("id", t.id), slog.String("listener", l.name), slog.String("pool", l.pool.name),
		slog.String("proto", l.port.proto), slog.String("client", t.who()), slog.String("local", t.where()))
	if t.via != nil {
		attrs = append(attrs, slog.String("via", t.via.String()))
	}
	if upstream.IsValid() {
		attrs = append(attrs, slog.String("upstream", upstream.String()))
	}
	if t.peer != nil {
		attrs = append(attrs, slog.String("peer", t.peer.Addr().String()), slog.Uint64("epoch", t.epoch))
	}
	if t.sni != "" {
		attrs = append(attrs, slog.String("sni", t.sni))
	}
	attrs = append(attrs, slog.Int64("in", in), slog.Int64("out", out), slog.Duration("duration", time.Since(t.born)))
	if len(tries) > 0 {
		attrs = append(attrs, slog.String("attempts", strings.Join(tries, ", ")))
	}
	if t.connect > 0 {
		attrs = append(attrs, slog.Duration("connect", t.connect))
	}
	if firstByte > 0 {
		attrs = append(attrs, slog.Duration("first_byte", firstByte))
	}
	attrs = append(attrs, slog.String("end", w.String()))
	l.log.LogAttrs(context.Background(), slog.LevelInfo, "session", attrs...)
}

// tcpSession is one TCP connection: a trip and the relay that carries it.
type tcpSession struct {
	trip
	relay.Session
	hearing  bool // its PROXY header has not come yet
	admitted bool
	refused  end.Word // it was not admitted: its client is only told so
}

// Next is that of the trip, for who was admitted.
func (s *tcpSession) Next() (netip.AddrPort, end.Word) {
	if s.refused != end.None {
		return netip.AddrPort{}, s.refused
	}
	return s.trip.Next()
}

func (s *tcpSession) moved() (in, out int64) { return s.In.Load(), s.Out.Load() }

// Connected settles the session on its peer. A peer whose sessions have been closed while this one was connecting is
// given up again, and the next one tried: the client has sent nothing yet that could be lost.
func (s *tcpSession) Connected() bool {
	p := s.listener.pool
	var unwanted end.Word
	var wish *relay.Quiet
	settle := func() bool {
		return s.listener.live.settle(s.slot, s, func() bool {
			unwanted, wish = p.unwanted(s.peer)
			return unwanted == end.None
		})
	}
	if !settle() && !(p.isWelcome(s.peer) && settle()) {
		s.note(unwanted.String())
		s.release(pool.OutcomeNeutral, unwanted)
		return false
	}
	if wish != nil {
		s.EndWhenQuiet(wish)
	}
	s.reached()
	s.lease.Connected(s.connect) // not with UDP, where nobody has accepted anything yet
	p.queue.serve()              // who waits for max_connecting
	p.connect.Observe(s.connect.Seconds())
	return true
}

// Hello takes the name that the client asks for.
func (s *tcpSession) Hello(name string) { s.sni = name }

// Farewell lets the client be told why it is turned away, if its pool says in which words.
func (s *tcpSession) Farewell(w end.Word) func(sock.Conn) { return s.listener.pool.farewell(w) }

// Done is told by the relay that both sockets are closed.
func (s *tcpSession) Done(w end.Word) {
	l := s.listener
	if s.refused != end.None {
		s.finish(w, 0, 0, 0, netip.AddrPort{})
		l.part()
		return
	}
	if s.ticket != nil {
		l.pool.queue.leave(&s.trip)
	}
	l.live.leave(s.slot, s)
	in, out := s.moved()
	s.finish(w, in, out, s.FirstByte(), s.Upstream())
	s.unhear()
	if s.admitted {
		l.depart(s.place)
	}
	l.part()
}
