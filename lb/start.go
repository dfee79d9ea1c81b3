package lb

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// startupWait bounds how long clients wait in the listen queue for the first answers; then they are told the truth.
const startupWait = 5 * time.Second

// open makes everything that can fail: loops, pools, sockets, the admin server, subscriptions.
func (s *Server) open(ctx context.Context, conf *config.Config) error {
	if err := s.openEngine(conf.Relay); err != nil {
		return err
	}
	s.access.set(conf.Log)
	g := &generation{conf: conf, resolvers: make(map[string]string)}
	for _, r := range conf.Resolvers {
		g.resolvers[r.Name] = r.Name
	}
	defer s.generation.Store(g) // on an error, too: abandon ends what there is
	kept := s.loadState(conf.StateFile)
	byName := make(map[string]*livePool)
	for _, c := range conf.Pools {
		p, err := s.newPool(c, nil, kept[c.Name])
		if err != nil {
			return err
		}
		g.pools = append(g.pools, p)
		byName[c.Name] = p
	}
	var errs []error
	for i := range conf.Listeners {
		c := &conf.Listeners[i]
		said, bound := newSettings(c, nil), newLimit(c)
		for _, at := range c.Listen {
			at, err := s.openPort(ctx, at, said)
			if err != nil {
				errs = append(errs, fmt.Errorf("listener %s: %w", c.Name, err))
				continue
			}
			l := s.newListener(said, at, byName[c.Pool], bound)
			at.owner.Store(l)
			g.listeners = append(g.listeners, l)
		}
	}
	if conf.Admin.Listen != "off" {
		var err error
		if g.admin, err = s.newAdmin(conf.Admin); err != nil {
			errs = append(errs, err)
		}
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	hasIPv6 := sock.HasIPv6()
	g.bound = newBindings(&s.own, g.listeners)
	for _, p := range g.pools {
		p.members.own = g.bound.of(p)
		if err := p.members.start(s.watcher, p.conf().Resolver, hasIPv6); err != nil {
			return fmt.Errorf("pool %s: %w", p.name, err)
		}
	}
	return nil
}

func (s *Server) newAdmin(c config.Admin) (*admin.Server, error) {
	settings := admin.Settings{Listen: c.Listen, Mode: c.Mode, Group: c.Group, Access: access(c)}
	if name, is := strings.CutPrefix(c.Listen, config.PassedPrefix); is {
		var err error
		if settings.Socket, err = s.passed("unix", name); err != nil {
			var tcp error
			if settings.Socket, tcp = s.passed("tcp", name); tcp != nil {
				return nil, err
			}
		}
	}
	return admin.NewServer(settings, s, s.metrics, s.events, s.log)
}

func access(c config.Admin) admin.Access {
	return admin.Access{Token: string(c.Token), ReadToken: string(c.ReadToken), Hosts: c.Hosts}
}

// newPool makes a pool that knows no peer yet. What operators have said of the addresses of its predecessor, if it has one,
// holds for it too, and what was kept of another run.
func (s *Server) newPool(c config.Pool, before *livePool, kept poolState) (*livePool, error) {
	tier := 0
	if before != nil {
		kept = before.said()
		tier, _ = before.table.Serving()
	}
	said, err := kept.overrides()
	if err != nil { // loadState has looked
		return nil, fmt.Errorf("pool %s: %w", c.Name, err)
	}
	p := newLivePool(c, said, tier, s.slots, s.reclaimer, s.hub, s.log)
	p.queue.held.Store(kept.Held)
	p.teller = &s.teller
	p.connect, p.first = s.metrics.Connect(c.Name), s.metrics.FirstByte(c.Name)
	p.members.refuse = func(reason string, n int) { s.refused.addN(refusedKey{c.Name, reason}, uint64(n)) }
	p.on = func(addr netip.AddrPort) []live { return s.on(p, addr) }
	return p, nil
}

// newListener makes a listener. Its port does not know it yet.
func (s *Server) newListener(c *settings, at *port, p *livePool, bound *limit) *listener {
	l := &listener{
		name: c.Name, port: at, pool: p, log: s.log, access: &s.access, slots: s.slots, ids: &s.ids, limit: bound,
		live: newRegistry(s.slots), isOwn: s.isOwn, gone: make(chan struct{}),
	}
	l.settings.Store(c)
	return l
}

// serve waits for the first answers, lets the clients in, and returns when ctx is done.
func (s *Server) serve(ctx context.Context) {
	g := s.running()
	s.tellBudget(g.conf)
	s.tellUnused(g.conf)
	s.saveState() // a file that cannot be written is better known now
	if g.admin != nil {
		go g.admin.Serve()
	}
	for _, l := range g.listeners {
		s.log.Info("listening", "listener", l.name, "address", l.port.String(), "pool", l.pool.name)
	}
	s.awaitAnswers(ctx)
	for _, p := range g.ports() {
		p.start()
	}
	s.accepting.Store(true)
	s.leavers.Go(func() { s.tellProgress(ctx) })
	s.awaitReady(ctx)
	<-ctx.Done()
}

// poll is how often start-up looks at what it waits for.
const poll = 5 * time.Millisecond

// awaitAnswers returns when every name has had an answer, good or bad, and every check that finds the role of peers, or
// startupWait is over.
func (s *Server) awaitAnswers(ctx context.Context) {
	timeout := time.NewTimer(startupWait)
	defer timeout.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for {
		waiting := 0
		for _, p := range s.running().pools {
			waiting += len(p.members.answered()) + p.unasked()
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
			g := s.running()
			s.log.Info("ready", "version", s.opts.Version, "engine", s.engine, "loops", s.slots, "listeners", len(g.listeners), "pools", len(g.pools))
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
