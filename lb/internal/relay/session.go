// Package relay carries one TCP session from its accept to its end: connect, retry, bytes both ways, half-close, abort,
// timeouts.
//
//	s := relay.Session{Options: o}
//	s.Run(client, director) // returns when both sockets are closed
//
// The model: a Director (the owner of policy) names an address for each connect attempt and is told what became of it;
// the relay owns both sockets until Done. There are two twins. Loops carry sessions on threads of their own, by the
// completions of lb/internal/engine, and accept them, too; a session is a slot in a slab there. The portable one, Run, has
// a goroutine for each direction and buffers borrowed only while bytes are in flight; it is the reference, and the tests
// hold for both.
//
// Invariants:
//
//	R1  Nothing is read from the client before a peer is connected, so an attempt on another peer loses nothing. Its header
//	    is an exception, and not a byte behind it. A ClientHello is looked at and stays in the client's socket.
//	R2  A FIN is passed on after all bytes before it, and the other direction goes on.
//	R3  A stream that was cut is never passed on as one that ended: RST goes on as RST.
//	R4  An idle session holds two sockets and no buffer.
//	R5  The preface stands before the first byte of the client, once on each connection, and counts as nobody's bytes.
//	R6  Done is called exactly once, after both sockets are closed.
//
// Of what is said it looks at the last bytes only, to know when a session is quiet.
//
// It does not choose peers, count sessions, log, or read configuration.
package relay

import (
	"cmp"
	"context"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/preface"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Options hold for one session. A zero duration means that the limit is off.
type Options struct {
	ConnectTimeout   time.Duration // for each attempt
	ConnectDeadline  time.Duration // for all attempts together, and what the session waits for them
	FirstByteTimeout time.Duration // the peer, once it is reached, has sent nothing
	MaxAge           time.Duration // of the session, whatever it does
	IdleTimeout      time.Duration // nothing moved in either direction
	HalfCloseTimeout time.Duration // one side has finished and nothing moved since
	HeaderTimeout    time.Duration // the client begins with a header of the PROXY protocol, which has to come within this time
	HelloTimeout     time.Duration // the client begins, behind that header if there is one, with a ClientHello; the same time, from the accept
	Dial             *sock.Options // of the peer's socket; nil is sock.Default
	Source           netip.Addr    // the client that the peer is to see, where Dial says so
	Preface          []byte        // goes to the peer before anything else; at most what a new socket takes at once, 4 KiB
}

// Counts is what loops have done.
type Counts struct {
	Paused  uint64 // times that a stream was left alone, because the other side had not taken what was there
	Resumed uint64 // of them, those that are over
	Starved uint64 // receives that waited for another session's bytes to be taken, the memory for all of a loop being used up
	Spliced uint64 // bytes that were moved without being copied
}

// Director decides for one session. Its methods are called from the goroutine that owns the session, never at the same
// time, and must not block.
type Director interface {
	// Header tells what the client's header says, with HeaderTimeout, before Next. A word other than end.None ends the session.
	Header(preface.Header) end.Word
	// Hello tells the name that the client's ClientHello asks for, with HelloTimeout, before Next; "" is none.
	Hello(name string)
	// Next names the address of the next connect attempt. A word other than end.None ends the session instead. With neither,
	// the session is parked: after Resume, which may come before Next has returned, Next is called again. A client that
	// finishes or aborts while it is parked ends it.
	Next() (netip.AddrPort, end.Word)
	// Failed tells why the attempt was lost, as sock.Classify reads it.
	Failed(err error)
	// Connected tells that the attempt succeeded, the preface included. False gives the peer up again, for it is no longer wanted: another attempt
	// follows.
	Connected() bool
	// Farewell names who takes over the client of a session that ends without a peer; nil lets it be reset. It is called at
	// most once, and what it names is called at once, before Done: with nil if the connection could not be handed over.
	Farewell(end.Word) func(sock.Conn)
	// Done tells the end. Both sockets are closed, but for a client that was taken over.
	Done(end.Word)
}

// Session is one proxied TCP connection. The zero value with Options set is ready for Run. It must not be copied after
// that.
type Session struct {
	Options

	In  atomic.Int64 // bytes from the client that the peer's socket took
	Out atomic.Int64 // bytes from the peer that the client's socket took

	born      time.Time    // monotonic origin of last, reached and firstByte
	last      atomic.Int64 // ns since born: when something moved
	hearing   atomic.Bool  // what the client has to say first has not come yet
	reached   atomic.Int64 // ns since born: the peer is connected; 0 before
	firstByte atomic.Int64 // ns since born: the peer's first byte; 0 before
	finished  atomic.Uint32
	cause     atomic.Uint32 // the end.Word that cut the session, None while it runs its course

	quiet atomic.Pointer[Quiet] // nil while nobody wishes that it ends
	heard *heard                // of the portable twin

	loop atomic.Pointer[loop] // what carries the session; nil for the portable twin
	slot int32                // in the loop, plus one; the loop's

	cancel context.CancelFunc // ends a connect in progress

	resumed chan struct{} // of the portable twin; holds one

	mu     sync.Mutex // guards what follows against Kill
	client sock.Conn
	server *net.TCPConn
	timer  *time.Timer
	ended  bool // no timer is armed any more

	upstream netip.AddrPort // our own address towards the peer, once it is connected
}

// side is one end of a session.
type side uint8

const (
	client side = iota
	server
)

// Bits of Session.finished: which side sent its FIN, and which was first.
const (
	clientDone uint32 = 1 << iota
	serverDone
	clientFirst
)

// Run serves the client until the session ends and closes both sockets.
func (s *Session) Run(client sock.Conn, d Director) {
	s.born, s.heard = time.Now(), new(heard)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	s.mu.Lock()
	s.client, s.cancel, s.resumed = client, cancel, make(chan struct{}, 1)
	s.mu.Unlock()
	s.hearing.Store(s.prereads())
	s.arm()
	w := s.word()
	if s.hearing.Load() && w == end.None {
		w = s.hear(d)
	}
	if w == end.None {
		w = s.connect(ctx, d)
	}
	if w != end.None {
		s.disarm()
		if take := d.Farewell(w); take != nil {
			take(client)
		} else {
			sock.Abort(client)
		}
		d.Done(w)
		return
	}
	s.relay()
	d.Done(s.close())
}

// connect makes attempts until one succeeds or the director gives up. On success s.server is set.
func (s *Session) connect(ctx context.Context, d Director) end.Word {
	for {
		if w := s.word(); w != end.None {
			return w
		}
		addr, w := d.Next()
		if w != end.None {
			return w
		}
		if !addr.IsValid() {
			s.park(ctx)
			continue
		}
		server, err := s.dial(ctx, addr)
		if err == nil && len(s.Preface) > 0 {
			if _, err = server.Write(s.Preface); err != nil {
				_ = server.Close()
			}
		}
		if err != nil {
			d.Failed(err)
			continue
		}
		s.mu.Lock()
		s.server, s.upstream = server, sock.AddrPort(server.LocalAddr())
		if s.word() != end.None { // Kill came while there was no server to wake
			s.wake()
		}
		s.mu.Unlock()
		s.touch()
		if d.Connected() {
			s.reached.Store(max(1, s.last.Load()))
			return end.None
		}
		s.mu.Lock()
		s.server, s.upstream = nil, netip.AddrPort{}
		s.mu.Unlock()
		_ = server.Close()
	}
}

// watchEvery is how often the portable twin looks whether the client of a parked session is there.
const watchEvery = 20 * time.Millisecond

// park waits for Resume, or for the end of the session.
func (s *Session) park(ctx context.Context) {
	tick := time.NewTicker(watchEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.resumed:
			return
		case <-ctx.Done():
			return
		case <-tick.C:
			if left, aborted := sock.Left(s.client); left {
				s.Kill(leftBy(aborted))
				return
			}
		}
	}
}

// leftBy is the word for a client that leaves a parked session.
func leftBy(aborted bool) end.Word {
	if aborted {
		return end.ClientReset
	}
	return end.ClientFIN
}

// Resume ends the parking of a session, from any goroutine, once for each time that Next has parked it.
func (s *Session) Resume() {
	if l := s.loop.Load(); l != nil {
		l.post(command{session: s, resume: true})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	select {
	case s.resumed <- struct{}{}:
	default:
	}
}

func (s *Session) dial(ctx context.Context, addr netip.AddrPort) (*net.TCPConn, error) {
	if s.ConnectTimeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, s.ConnectTimeout)
		defer cancel()
	}
	return sock.DialTCP(ctx, addr, s.dialing(), s.Source)
}

// prereads tells that something is learned from the client before a peer is looked for.
func (o *Options) prereads() bool { return o.HeaderTimeout > 0 || o.HelloTimeout > 0 }

// dialing is what the peer's socket is asked for.
func (o *Options) dialing() *sock.Options { return cmp.Or(o.Dial, sock.Default) }

// relay moves bytes both ways until both directions are done or the session is cut.
func (s *Session) relay() {
	s.arm()
	var back sync.WaitGroup
	back.Go(s.serverToClient)
	s.clientToServer()
	back.Wait()
}

func (s *Session) clientToServer() {
	s.pump(s.client, s.server, &s.In, clientDone, end.ClientReset, end.ServerReset)
}

func (s *Session) serverToClient() {
	s.pump(s.server, s.client, &s.Out, serverDone, end.ServerReset, end.ClientReset)
}

// close closes both sockets as the end asks for and says which end it was.
func (s *Session) close() end.Word {
	s.disarm()
	client, server := s.client, s.server
	w := s.word()
	switch {
	case w == end.None:
		w = end.ServerFIN
		if s.finished.Load()&clientFirst != 0 {
			w = end.ClientFIN
		}
		_ = client.Close()
		_ = server.Close()
	case w == end.ClientReset || w == end.ServerReset:
		sock.Abort(client)
		sock.Abort(server)
	case w.Fences(): // what is left in the peer's queue must not reach it later
		_ = client.Close()
		sock.Abort(server)
	default:
		_ = client.Close()
		_ = server.Close()
	}
	return w
}

// Kill ends the session for the cause w, from any goroutine. The first cause wins; a session that has ended is left
// alone.
func (s *Session) Kill(w end.Word) {
	if !s.cause.CompareAndSwap(uint32(end.None), uint32(w)) {
		return
	}
	if l := s.loop.Load(); l != nil {
		l.post(command{session: s})
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.cancel != nil {
		s.cancel()
	}
	if s.client != nil && !s.ended {
		s.wake()
	}
}

// wake ends what both directions wait for, without taking the sockets from the goroutines that own them. The caller
// holds mu.
func (s *Session) wake() {
	_ = s.client.SetDeadline(aLongTimeAgo)
	if s.server != nil {
		_ = s.server.SetDeadline(aLongTimeAgo)
	}
}

var aLongTimeAgo = time.Unix(1, 0)

func (s *Session) word() end.Word { return end.Word(s.cause.Load()) }

// FirstByte is the time from Run to the peer's first byte; 0 if there was none.
func (s *Session) FirstByte() time.Duration { return time.Duration(s.firstByte.Load()) }

// Idle tells for how long nothing has moved on each of the sessions; 0 on one that has ended meanwhile. It asks each loop
// that carries some of them, once, so that keeping the time costs a session nothing.
func Idle(sessions []*Session) []time.Duration {
	idle := make([]time.Duration, len(sessions))
	carried := make(map[*loop][]int)
	for i, s := range sessions {
		if l := s.loop.Load(); l != nil {
			carried[l] = append(carried[l], i)
		} else {
			idle[i] = s.idle()
		}
	}
	for l, at := range carried {
		l.idle(sessions, at, idle)
	}
	return idle
}

// idle is Idle of a session that no loop carries.
func (s *Session) idle() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.client == nil || s.ended { // before Run, or after
		return 0
	}
	return time.Since(s.born) - time.Duration(s.last.Load())
}

// Upstream is our own address on the connection to the peer; the zero value before it is connected.
func (s *Session) Upstream() netip.AddrPort {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.upstream
}

func (s *Session) setUpstream(a netip.AddrPort) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.upstream = a
}
