// Package lb is the wiring: listeners, sessions, pools, checks, names, status, shutdown. It is the only package that
// knows both the epoch table and the DNS watcher.
//
//	err := lb.Run(ctx, conf, lb.RunOptions{Log: log})
//
// The model: a listener accepts, a pool's table lends a peer to each session, the relay moves the bytes, and one exit
// gives the lease back, counts, and writes one line. Answers become members, members become epochs; a change of either
// never touches a session but by the pool's own session policy.
//
// Invariants:
//
//	L1  What is accepted is counted, ends with one word of a closed list, is counted under it, and gets one log line.
//	L2  A lease is given back once, whatever the session's way, and what ended on the peer is counted before that.
//	L3  A change of members or health fails no session: one that is connecting goes to another peer, one that is
//	    established ends only where the pool's session policy says so.
//	L4  max_conns holds over all addresses of a listener, and a refusal never stops the accepting.
//	L5  A failure of DNS takes no peer away before max_stale, and one family or name never harms another.
//	L6  Shutdown goes in order: not ready, delay, no new sessions, time for those that live, the rest cut.
//
// It does not parse flags or files (lb/config), move bytes (lb/internal/relay, lb/internal/flow), or choose peers (pool).
package lb

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/relay"
	"github.com/ebb-lb/ebb/lb/internal/sock"
	"github.com/ebb-lb/ebb/pool"
)

// RunOptions are what the process gives to Run besides its config.
type RunOptions struct {
	Log     *slog.Logger
	Version string
	Sink    *LogSink        // whose dropped lines are exported; may be nil
	Ready   func()          // called once, when every pool has a peer to offer
	Started func(*Server)   // called once, when the listeners are bound
	Hurry   <-chan struct{} // closed to stop waiting for sessions while shutting down
}

// Server is a running balancer.
type Server struct {
	conf    *config.Config
	opts    RunOptions
	log     *slog.Logger
	born    time.Time
	slots   int
	engine  string       // how TCP is carried
	loops   *relay.Loops // nil is the portable relay
	ids     atomic.Uint64
	metrics *admin.Metrics
	admin   *admin.Server

	reclaimer *pool.Reclaimer
	hub       *check.Hub
	watcher   *dnswatch.Watcher
	pools     []*livePool
	listeners []*listener

	queries   counts[queryKey]
	discarded counts[string]
	refused   counts[refusedKey]

	accepting atomic.Bool
	stopping  atomic.Bool
}

// startupWait bounds how long clients wait in the listen queue for the first answers; then they are told the truth.
const startupWait = 5 * time.Second

// Run serves until ctx is done, then shuts down in order: no longer ready, shutdown_delay, no new sessions, sessions
// until shutdown_timeout, the rest cut. An error before that names what could not be started; nothing is left behind.
func Run(ctx context.Context, conf *config.Config, o RunOptions) error {
	s, err := newServer(conf, o)
	if err != nil {
		return err
	}
	if err := s.open(ctx); err != nil {
		s.abandon()
		return err
	}
	if o.Started != nil {
		o.Started(s)
	}
	s.serve(ctx)
	s.shutdown()
	return nil
}

func newServer(conf *config.Config, o RunOptions) (*Server, error) {
	s := &Server{conf: conf, opts: o, log: o.Log, born: time.Now(), slots: conf.Relay.Loops}
	if s.slots == 0 {
		s.slots = cores
	}
	s.metrics = admin.NewMetrics(s.sample)
	watcher, err := dnswatch.New(dnswatch.Options{
		Resolvers: resolvers(conf.Resolvers),
		OnQuery:   func(resolver, server, result string) { s.queries.add(queryKey{resolver, server, result}) },
		OnDiscard: func(reason string) { s.discarded.add(reason) },
		OnWarning: func(resolver, server, text string) {
			s.log.Warn("dns server", "resolver", resolver, "server", server, "warning", text)
		},
	})
	if err != nil {
		return nil, err
	}
	s.watcher = watcher
	s.reclaimer = pool.NewReclaimer()
	s.hub = check.NewHub()
	return s, nil
}

// resolvers tells the watcher what the config says of the servers.
func resolvers(conf []config.Resolver) []dnswatch.ResolverConfig {
	list := make([]dnswatch.ResolverConfig, len(conf))
	for i, r := range conf {
		list[i] = dnswatch.ResolverConfig{
			Name: r.Name, Servers: r.Servers, Strategy: r.Strategy, AttemptTimeout: r.AttemptTimeout, Attempts: r.Attempts,
			Deadline: r.Deadline, EDNSSize: r.EDNSSize, CaseRandomization: r.CaseRandomization, CAFile: r.CAFile, HostsFile: r.HostsFile,
		}
	}
	return list
}

// open makes everything that can fail: loops, pools, sockets, the admin server, subscriptions.
func (s *Server) open(ctx context.Context) error {
	if err := s.openEngine(); err != nil {
		return err
	}
	byName := make(map[string]*livePool)
	for _, c := range s.conf.Pools {
		p, err := newLivePool(c, s.slots, s.reclaimer, s.hub, s.log)
		if err != nil {
			return fmt.Errorf("pool %s: %w", c.Name, err)
		}
		p.connect, p.first = s.metrics.Connect(c.Name), s.metrics.FirstByte(c.Name)
		p.members.refuse = func(reason string, n int) { s.refused.addN(refusedKey{c.Name, reason}, uint64(n)) }
		p.kill = func(w end.Word, addr netip.AddrPort) int { return s.killPeer(p, w, addr) }
		s.pools = append(s.pools, p)
		byName[c.Name] = p
	}
	var errs []error
	for _, c := range s.conf.Listeners {
		bound := &limit{max: int64(c.MaxConns)}
		for _, at := range c.Listen {
			l := &listener{
				name: c.Name, conf: c, pool: byName[c.Pool], log: s.log, access: s.conf.Log.Access != "off",
				slots: s.slots, ids: &s.ids, limit: bound, live: newRegistry(s.slots), loops: s.loops,
			}
			if err := l.open(ctx, at); err != nil {
				errs = append(errs, err)
				continue
			}
			s.listeners = append(s.listeners, l)
		}
	}
	if s.conf.Admin.Listen != "off" {
		var err error
		if s.admin, err = admin.NewServer(s.conf.Admin.Listen, s, admin.NewRegistry(s.metrics), s.log); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	hasIPv6 := sock.HasIPv6()
	own := &ownAddresses{listeners: s.listeners}
	for _, p := range s.pools {
		p.members.own = own.of(p)
		if err := p.members.start(s.watcher, p.conf.Resolver, hasIPv6); err != nil {
			return fmt.Errorf("pool %s: %w", p.conf.Name, err)
		}
	}
	return nil
}

// serve waits for the first answers, lets the clients in, and returns when ctx is done.
func (s *Server) serve(ctx context.Context) {
	if s.admin != nil {
		go s.admin.Serve()
	}
	for _, l := range s.listeners {
		s.log.Info("listening", "listener", l.name, "address", l.proto+"://"+l.addr.String(), "pool", l.pool.conf.Name)
	}
	s.awaitAnswers(ctx)
	for _, l := range s.listeners {
		l.start()
	}
	s.accepting.Store(true)
	s.awaitReady(ctx)
	<-ctx.Done()
}

// poll is how often start-up looks at what it waits for.
const poll = 5 * time.Millisecond

// awaitAnswers returns when every name has had an answer, good or bad, or startupWait is over.
func (s *Server) awaitAnswers(ctx context.Context) {
	timeout := time.NewTimer(startupWait)
	defer timeout.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		waiting := 0
		for _, p := range s.pools {
			waiting += len(p.members.answered())
		}
		if waiting == 0 {
			return
		}
		select {
		case <-tick.C:
		case <-timeout.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// awaitReady says so when every pool has a peer to offer; if that takes long, it says what is missing, once, and looks
// less often.
func (s *Server) awaitReady(ctx context.Context) {
	tick := time.NewTicker(poll)
	defer tick.Stop()
	told := false
	for since := time.Now(); ; {
		ok, why := s.Ready()
		if ok {
			s.log.Info("ready", "version", s.opts.Version, "engine", s.engine, "loops", s.slots, "listeners", len(s.listeners), "pools", len(s.pools))
			if s.opts.Ready != nil {
				s.opts.Ready()
			}
			return
		}
		if !told && time.Since(since) > time.Second {
			told = true
			tick.Reset(20 * poll)
			for _, reason := range why {
				s.log.Warn("not ready", "reason", reason)
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// shutdown ends everything in order. Sessions have until shutdown_timeout.
func (s *Server) shutdown() {
	s.stopping.Store(true)
	s.log.Info("stopping", "sessions", s.active(), "delay", s.conf.ShutdownDelay, "timeout", s.conf.ShutdownTimeout)
	s.pause(s.conf.ShutdownDelay, func() bool { return false })
	for _, l := range s.listeners {
		l.stop()
	}
	s.pause(s.conf.ShutdownTimeout, func() bool { return s.active() == 0 })
	cut := 0
	for _, l := range s.listeners {
		cut += l.live.killAll(end.Shutdown)
	}
	for _, l := range s.listeners {
		l.wait()
	}
	s.release()
	if s.admin != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		s.admin.Shutdown(ctx)
	}
	s.log.Info("stopped", "cut", cut, "uptime", time.Since(s.born))
}

// pause waits for d, until done, or until Hurry.
func (s *Server) pause(d time.Duration, done func() bool) {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-timeout.C:
			return
		case <-s.opts.Hurry:
			return
		}
	}
}

// abandon undoes open after it failed.
func (s *Server) abandon() {
	for _, l := range s.listeners {
		l.stop()
	}
	s.release()
	if s.admin != nil {
		s.admin.Close()
	}
}

// release ends what sessions need no more: names, checks, tables.
func (s *Server) release() {
	if s.loops != nil {
		s.loops.Close()
	}
	for _, p := range s.pools {
		p.close()
	}
	s.hub.Close()
	s.watcher.Close()
	s.reclaimer.Close()
}

// killPeer cuts a pool's sessions on one address, those on old epochs included.
func (s *Server) killPeer(p *livePool, w end.Word, addr netip.AddrPort) int {
	n := 0
	for _, l := range s.listeners {
		if l.pool == p {
			n += l.live.killPeer(w, addr)
		}
	}
	return n
}

func (s *Server) active() (n int64) {
	for _, l := range s.listeners {
		n += l.active.Load()
	}
	return n
}
