package lb

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/flow"
	"github.com/ebb-lb/ebb/lb/internal/relay"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// port is one bound address and what takes clients from it. It outlives the listener that it serves: a reload that
// changes the name or the pool gives it another, and not one client in the kernel's queue notices.
type port struct {
	wish  config.Endpoint // as the config has it
	proto string          // tcp, udp or unix
	addr  netip.AddrPort  // as it is bound
	file  fs.FileInfo     // of its path, which is ours to remove
	six   bool            // it is a wildcard of IPv6 that does not take IPv4
	owner atomic.Pointer[listener]

	loops    *relay.Loops        // nil is the portable relay
	looped   *relay.LoopAcceptor // tcp, on loops
	acceptor *relay.Acceptor     // tcp, portable
	flows    *flow.Group         // udp
	asked    *sock.Options       // of the socket
	started  bool

	accepting sync.WaitGroup // the loop that takes clients
}

// openPort binds an address, or takes a socket that was passed on. The kernel queues connections from now on; none is
// accepted before start.
func (s *Server) openPort(ctx context.Context, at config.Endpoint, said *settings) (_ *port, err error) {
	defer func() { err = advise(err, at) }()
	o := said.socket
	p := &port{wish: at, proto: at.Network, loops: s.loops, asked: o, six: o.Listening.V6Only}
	if at.Network == "udp" {
		if err := s.openFlows(ctx, p); err != nil {
			return nil, err
		}
		return p, nil
	}
	ln, err := s.listen(ctx, at, said)
	if err != nil {
		return nil, err
	}
	if p.addr = sock.AddrPort(ln.Addr()); at.Path != "" {
		p.file, _ = os.Lstat(at.Path)
	}
	if p.loops == nil {
		p.acceptor = relay.NewAcceptor(ln, o)
		return p, nil
	}
	lns := []sock.Listener{ln}
	for o.Listening.ReusePort && at.Passed == "" && at.Path == "" && len(lns) < p.loops.Count() {
		if ln, err = sock.ListenTCP(ctx, p.addr, o); err != nil {
			for _, ln := range lns {
				_ = ln.Close()
			}
			return nil, err
		}
		lns = append(lns, ln)
	}
	if p.looped, err = p.loops.Acceptor(lns...); err != nil {
		return nil, fmt.Errorf("listen on %s: %w", at, err)
	}
	return p, nil
}

// advise adds to an error of a bind what to do about it.
func advise(err error, at config.Endpoint) error {
	advice := ""
	switch {
	case at.Path != "" || at.Passed != "":
	case errors.Is(err, syscall.EADDRINUSE):
		advice = fmt.Sprintf("ss -ltunp 'sport = :%d' says who has it", at.Addr.Port())
	case errors.Is(err, syscall.EADDRNOTAVAIL):
		advice = "no interface has this address; with socket.freebind one may listen on it all the same"
	case errors.Is(err, fs.ErrPermission) && at.Addr.Port() < 1024:
		advice = "ports below 1024 take CAP_NET_BIND_SERVICE, as ebb's unit for systemd gives it"
	}
	if advice == "" {
		return err
	}
	return fmt.Errorf("%w: %s", err, advice)
}

// openFlows binds an address of UDP: to one socket, or with reuse_port to one for each loop.
func (s *Server) openFlows(ctx context.Context, p *port) error {
	at, engine := p.wish, "portable"
	pc, err := s.listenUDP(ctx, at, p.asked)
	if err != nil {
		return err
	}
	pcs := []*sock.PacketConn{pc}
	p.addr = sock.AddrPort(pc.LocalAddr())
	if p.loops != nil {
		engine = p.loops.Engine()
		for p.asked.Listening.ReusePort && at.Passed == "" && len(pcs) < p.loops.Count() {
			if pc, err = sock.ListenUDP(ctx, p.addr, p.asked); err != nil {
				for _, pc := range pcs {
					_ = pc.Close()
				}
				return err
			}
			pcs = append(pcs, pc)
		}
	}
	if p.flows, err = flow.NewGroup(pcs, flowOwner{p}, engine); err != nil {
		return fmt.Errorf("listen on %s: %w", at, err)
	}
	p.flows.Retune(p.asked)
	return nil
}

// listen opens what streams are accepted from.
func (s *Server) listen(ctx context.Context, at config.Endpoint, said *settings) (sock.Listener, error) {
	switch {
	case at.Path != "":
		ln, err := sock.ListenPath(ctx, at.Path, said.Socket.Mode, said.Socket.Group)
		if err != nil {
			return nil, err
		}
		ln.SetUnlinkOnClose(false) // stop does it: loops have descriptors of their own, and the first to be closed is not the last
		return ln, nil
	case at.Passed == "":
		return sock.ListenTCP(ctx, at.Addr, said.socket)
	}
	f, err := s.passed(at.Network, at.Passed)
	if err != nil {
		return nil, err
	}
	return sock.PassedTCP(f, said.socket)
}

func (s *Server) listenUDP(ctx context.Context, at config.Endpoint, o *sock.Options) (*sock.PacketConn, error) {
	if at.Passed == "" {
		return sock.ListenUDP(ctx, at.Addr, o)
	}
	f, err := s.passed(at.Network, at.Passed)
	if err != nil {
		return nil, err
	}
	return sock.PassedUDP(f)
}

// retune changes what the socket is asked for, and those of clients that come from now on.
func (p *port) retune(o *sock.Options) {
	was := p.asked
	p.asked = o
	switch {
	case *was == *o, p.wish.Path != "":
	case p.flows != nil:
		p.flows.Retune(o)
	case p.looped != nil:
		p.looped.Retune(was, o)
	case p.acceptor != nil:
		p.acceptor.Retune(o)
	}
}

// isAt tells whether who connects to an address reaches the port.
func (p *port) isAt(host *ownAddresses, addr netip.Addr) bool {
	return !(p.six && addr.Is4()) && host.covers(p.addr.Addr(), addr)
}

func (p *port) String() string {
	if p.wish.Path != "" {
		return p.wish.String()
	}
	return p.proto + "://" + p.addr.String()
}

// address is where the port is, without its protocol.
func (p *port) address() string { return cmp.Or(p.wish.Path, p.addr.String()) }

// unlink removes the path of the port, if it is still the port's: another process may have taken it over.
func (p *port) unlink() {
	if p.file == nil {
		return
	}
	if now, err := os.Lstat(p.wish.Path); err == nil && os.SameFile(p.file, now) {
		_ = os.Remove(p.wish.Path)
	}
}

// start serves clients. The port has an owner.
func (p *port) start() {
	p.started = true
	if p.proto == "udp" {
		p.accepting.Go(p.flows.Run)
		return
	}
	if p.looped != nil {
		p.looped.Run(p.serveLooped, p.acceptFailed)
		return
	}
	p.accepting.Go(func() { p.acceptor.Run(p.serve, p.acceptFailed) })
}

func (p *port) acceptFailed(reason string) {
	flow.GiveWay()
	l := p.owner.Load()
	if n := l.accept.add(reason); n&(n-1) == 0 { // 1, 2, 4, 8, ...: said often enough, never a flood
		l.log.Warn("accept failed, backing off", "listener", l.name, "reason", reason, "times", n)
	}
}

// join counts a client in at the listener that the port serves now.
func (p *port) join() *listener {
	for {
		if l := p.owner.Load(); l.join() { // else it leaves, and the port has another by now
			return l
		}
	}
}

// serve takes over an accepted connection. It does not block.
func (p *port) serve(c sock.Conn) {
	l := p.join()
	s := l.welcome(sock.AddrPort(c.RemoteAddr()), sock.AddrPort(c.LocalAddr()), l.nextSlot())
	if s == nil {
		sock.Abort(c)
		return
	}
	go s.Run(c, s)
}

// serveLooped says what carries a connection that a loop has accepted; nil refuses it.
func (p *port) serveLooped(client, local netip.AddrPort, carrier int) (*relay.Session, relay.Director) {
	s := p.join().welcome(client, local, carrier)
	if s == nil {
		return nil, nil
	}
	return &s.Session, s
}

// flowOwner is the port as its flows see it: the listener that it serves now.
type flowOwner struct{ port *port }

func (o flowOwner) Options() flow.Options { return o.port.owner.Load().flowOptions() }

func (o flowOwner) IsOwn(client netip.AddrPort) bool { return o.port.owner.Load().isOwn(client) }

func (o flowOwner) Received(d flow.Direction, n int) { o.port.owner.Load().received[d].add(n) }

func (o flowOwner) Overflowed(d flow.Direction, n uint32) {
	reason := "overflow"
	if d == flow.Out {
		reason = "reply_overflow"
	}
	o.port.owner.Load().dropped.addN(reason, uint64(n))
}

func (o flowOwner) Joined(d flow.Direction, n int) { o.port.owner.Load().grouped[d].Add(uint64(n)) }

func (o flowOwner) Coalesced(d flow.Direction, n int) {
	o.port.owner.Load().coalesced[d].Add(uint64(n))
}

func (o flowOwner) Reused() { o.port.owner.Load().reused.Add(1) }

func (o flowOwner) Dropped(reason string) { o.port.owner.Load().dropped.add(reason) }

// Open admits a new flow; nil drops its datagram, for the reason beside it.
func (o flowOwner) Open(f *flow.Flow) (flow.Director, string) {
	s, reason := o.port.join().welcomeFlow(f)
	if s == nil {
		return nil, reason
	}
	return s, ""
}

// stop takes no new clients: when it returns, every session is registered. Those that live go on.
func (p *port) stop() {
	p.unlink() // first: who comes now is told at once that nobody is there
	switch {
	case p.acceptor != nil:
		p.acceptor.Close()
	case p.looped != nil:
		p.looped.Close()
	}
	switch {
	case p.flows == nil:
	case p.started:
		p.flows.Stop()
	default:
		p.flows.Close()
	}
	p.accepting.Wait()
}

// close waits for the flows, which have been cut or run out, and lets go of their socket. Call it after stop.
func (p *port) close() {
	if p.flows != nil && p.started {
		p.flows.Close()
	}
}
