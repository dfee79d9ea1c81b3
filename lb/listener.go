package lb

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/flow"
	"github.com/ebb-lb/ebb/lb/internal/relay"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// listener is one bound address and the sessions that came through it.
type listener struct {
	name   string
	proto  string // tcp or udp
	addr   netip.AddrPort
	conf   config.Listener
	pool   *livePool
	log    *slog.Logger
	access bool // one line for each session
	slots  int
	ids    *atomic.Uint64
	limit  *limit // shared by the addresses of one listener
	live   *registry

	turn     atomic.Uint64 // of the slots
	active   atomic.Int64
	total    atomic.Uint64
	ended    [end.Count]atomic.Uint64
	accept   counts[string] // failed accepts
	rejected counts[string] // refused at a limit
	dropped  counts[string] // datagrams

	loops    *relay.Loops        // nil is the portable relay
	looped   *relay.LoopAcceptor // tcp, on loops
	acceptor *relay.Acceptor     // tcp, portable
	packets  *sock.PacketConn    // udp, until flows is made
	flows    *flow.Table         // udp

	accepting sync.WaitGroup // the loop that takes clients
	serving   sync.WaitGroup // the sessions
}

// open binds the address. The kernel queues connections from now on; none is accepted before start.
func (l *listener) open(ctx context.Context, at config.Endpoint) error {
	l.proto, l.addr = at.Network, at.Addr
	if at.Network == "udp" {
		pc, err := sock.ListenUDP(ctx, at.Addr)
		if err != nil {
			return fmt.Errorf("listener %s: %w", l.name, err)
		}
		l.packets, l.addr = pc, sock.AddrPort(pc.LocalAddr())
		return nil
	}
	ln, err := sock.ListenTCP(ctx, at.Addr)
	if err != nil {
		return fmt.Errorf("listener %s: %w", l.name, err)
	}
	l.addr = sock.AddrPort(ln.Addr())
	if l.loops == nil {
		l.acceptor = relay.NewAcceptor(ln)
		return nil
	}
	if l.looped, err = l.loops.Acceptor(ln); err != nil {
		return fmt.Errorf("listener %s: %w", l.name, err)
	}
	return nil
}

// start serves clients.
func (l *listener) start() {
	if l.proto == "udp" {
		l.flows = flow.NewTable(l.packets, flow.Options{IdleTimeout: l.conf.UDPIdleTimeout}, l.openFlow, func(reason string) { l.dropped.add(reason) })
		l.accepting.Go(l.flows.Run)
		return
	}
	if l.looped != nil {
		l.looped.Run(l.serveLooped, l.acceptFailed)
		return
	}
	l.accepting.Go(func() { l.acceptor.Run(l.serve, l.acceptFailed) })
}

func (l *listener) acceptFailed(reason string) {
	if n := l.accept.add(reason); n&(n-1) == 0 { // 1, 2, 4, 8, ...: said often enough, never a flood
		l.log.Warn("accept failed, backing off", "listener", l.name, "reason", reason, "times", n)
	}
}

// admit takes a place for a session, unless max_conns are taken. Whoever is admitted departs.
func (l *listener) admit() bool {
	if !l.limit.take() {
		return false
	}
	l.active.Add(1)
	return true
}

func (l *listener) depart() {
	l.active.Add(-1)
	l.limit.give()
}

// nextSlot is the slot of a session that no loop carries.
func (l *listener) nextSlot() int { return int(l.turn.Add(1) % uint64(l.slots)) }

func (l *listener) trip(client, local netip.AddrPort, slot int) trip {
	return trip{listener: l, slot: slot, client: client, local: local, born: time.Now()}
}

// serve takes over an accepted connection. It does not block.
func (l *listener) serve(c *net.TCPConn) {
	s := l.welcome(sock.AddrPort(c.RemoteAddr()), sock.AddrPort(c.LocalAddr()), l.nextSlot())
	if s == nil {
		sock.Abort(c)
		return
	}
	go s.Run(c, s)
}

// serveLooped says what carries a connection that a loop has accepted; nil refuses it.
func (l *listener) serveLooped(client, local netip.AddrPort, carrier int) (*relay.Session, relay.Director) {
	s := l.welcome(client, local, carrier)
	if s == nil {
		return nil, nil
	}
	return &s.Session, s
}

// welcome admits a session; nil means that its client is to be refused.
func (l *listener) welcome(client, local netip.AddrPort, slot int) *tcpSession {
	s := &tcpSession{trip: l.trip(client, local, slot)}
	s.begin()
	if !l.admit() {
		l.rejected.add("max_conns")
		s.finish(end.Limit, 0, 0, 0, netip.AddrPort{})
		return nil
	}
	s.Options = relay.Options{
		ConnectTimeout: l.pool.conf.ConnectTimeout, IdleTimeout: l.conf.IdleTimeout, HalfCloseTimeout: l.conf.HalfCloseTimeout,
	}
	l.serving.Add(1)        // until Done
	l.live.enter(s.slot, s) // here, so that no session is missed by a kill that follows stop
	return s
}

// stop takes no new sessions: when it returns, every session is registered. Those that live go on.
func (l *listener) stop() {
	switch {
	case l.acceptor != nil:
		l.acceptor.Close()
	case l.looped != nil:
		l.looped.Close()
	}
	if l.flows != nil {
		l.flows.Stop()
	} else if l.packets != nil {
		_ = l.packets.Close()
	}
	l.accepting.Wait()
}

// wait returns when every session has ended. Call it after stop.
func (l *listener) wait() {
	l.serving.Wait()
	if l.flows != nil {
		l.flows.Close()
	}
}
