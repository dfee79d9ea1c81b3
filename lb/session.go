package lb

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/relay"
	"github.com/ebb-lb/ebb/lb/internal/sock"
	"github.com/ebb-lb/ebb/pool"
)

// trip is what a TCP session and a UDP flow have in common: the walk from admission through the lease to one log line.
// Its methods are called from the goroutine that owns the session.
type trip struct {
	id            uint64
	listener      *listener
	slot          int
	client, local netip.AddrPort
	born          time.Time

	lease    pool.Lease
	leased   bool
	peer     atomic.Pointer[pool.Peer] // read by others: which peer the session is on
	epoch    uint64
	tried    []netip.AddrPort
	attempts []attempt
	started  time.Time     // of the attempt under way
	connect  time.Duration // of the one that succeeded
	lastFail end.Word
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

func (t *trip) peerAddr() netip.AddrPort {
	if p := t.peer.Load(); p != nil {
		return p.Addr()
	}
	return netip.AddrPort{}
}

// Next takes a lease for the next attempt. Peers that this session has tried are not tried again.
func (t *trip) Next() (netip.AddrPort, end.Word) {
	p := t.listener.pool
	if len(t.tried) >= p.conf.ConnectAttempts {
		return netip.AddrPort{}, t.lastFail
	}
	var err error
	if t.lease, err = p.table.Acquire(pool.Request{Slot: t.slot, Exclude: t.tried}); err != nil {
		if t.lastFail != end.None {
			return netip.AddrPort{}, t.lastFail
		}
		return netip.AddrPort{}, end.NoPeer
	}
	t.leased = true
	peer := t.lease.Peer()
	t.peer.Store(peer)
	t.epoch = t.lease.Epoch()
	t.tried = append(t.tried, peer.Addr())
	t.started = time.Now()
	return peer.Addr(), end.None
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
	case sock.Canceled:
		outcome, word, result = pool.OutcomeNeutral, end.None, "canceled"
	}
	addr := t.lease.Peer().Addr()
	t.lastFail = word
	t.attempts = append(t.attempts, attempt{addr, result, time.Since(t.started)})
	t.release(outcome)
	if outcome != pool.OutcomeNeutral {
		t.listener.pool.poke(addr)
	}
}

// Connected notes that the peer is reached.
func (t *trip) Connected() {
	t.connect = time.Since(t.started)
	t.attempts = append(t.attempts, attempt{t.lease.Peer().Addr(), "ok", t.connect})
	t.lease.Connected()
	t.listener.pool.connect.Observe(t.connect.Seconds())
}

func (t *trip) release(o pool.Outcome) {
	if t.leased {
		t.leased = false
		t.lease.Release(o)
	}
}

// outcome says what the end of an established session tells about its peer.
func outcome(w end.Word, out int64) pool.Outcome {
	switch {
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
	peer := t.peer.Load()
	t.release(outcome(w, out))
	if peer != nil {
		l.pool.count(peer.Addr()).ended[w].Add(1)
	}
	if firstByte > 0 {
		l.pool.first.Observe(firstByte.Seconds())
	}
	l.ended[w].Add(1)
	l.active.Add(-1)
	if l.access {
		t.logEnd(w, in, out, firstByte, upstream)
	}
}

func (t *trip) logEnd(w end.Word, in, out int64, firstByte time.Duration, upstream netip.AddrPort) {
	l := t.listener
	tries := make([]string, len(t.attempts))
	for i, a := range t.attempts {
		tries[i] = a.String()
	}
	attrs := make([]slog.Attr, 0, 16)
	attrs = append(attrs,
		slog.Uint64("id", t.id), slog.String("listener", l.name), slog.String("pool", l.pool.conf.Name),
		slog.String("proto", l.proto), slog.String("client", t.client.String()), slog.String("local", t.local.String()))
	if upstream.IsValid() {
		attrs = append(attrs, slog.String("upstream", upstream.String()))
	}
	if p := t.peer.Load(); p != nil {
		attrs = append(attrs, slog.String("peer", p.Addr().String()), slog.Uint64("epoch", t.epoch))
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
}

func (s *tcpSession) moved() (in, out int64) { return s.In.Load(), s.Out.Load() }

// Done is told by the relay that both sockets are closed.
func (s *tcpSession) Done(w end.Word) {
	s.listener.live.leave(s.slot, s)
	in, out := s.moved()
	s.finish(w, in, out, s.FirstByte(), s.Upstream())
}
