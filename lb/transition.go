package lb

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// transition is the way from one generation to the next.
type transition struct {
	s         *Server
	old, next *generation
	differ    map[string]bool // the pools of both whose configs do

	ids        []string // of resolvers in the watcher, made for next
	freshPorts []*port
	freshPools []*livePool
	proposals  map[*livePool]*proposal // of pools that stay and change
	unchanged  []*livePool
	settings   []*settings // of listeners, as the config lists them

	useLog, dropLog func() // nil if the log cannot change
}

// prepare makes everything that can fail.
func (t *transition) prepare() error {
	conf := t.next.conf
	if err := t.resolvers(); err != nil {
		return err
	}
	if err := t.pools(); err != nil {
		return err
	}
	var problems config.Problems
	fail := func(what string, err error) { problems = append(problems, conf.Problem(what, err.Error())) }
	t.listeners(fail)
	if t.old.conf.Admin.Listen == conf.Admin.Listen {
		t.next.admin = t.old.admin
	} else if conf.Admin.Listen != "off" {
		var err error
		if t.next.admin, err = t.s.newAdmin(conf.Admin); err != nil {
			t.next.admin = nil
			fail("admin.listen", err)
		}
	}
	if prepare := t.s.opts.PrepareLog; prepare != nil {
		var err error
		var wrong config.Problems
		switch t.useLog, t.dropLog, err = prepare(conf); {
		case errors.As(err, &wrong):
			problems = append(problems, wrong...)
		case err != nil:
			return err
		}
	}
	if len(problems) > 0 {
		return problems
	}
	if t.next.bound = t.old.bound; !slices.Equal(t.old.listeners, t.next.listeners) {
		t.next.bound = newBindings(&t.s.own, t.next.listeners)
	}
	hasIPv6 := sock.HasIPv6()
	for _, p := range t.freshPools {
		p.members.own = t.next.bound.of(p)
		if err := p.members.start(t.s.watcher, t.next.resolvers[p.conf().Resolver], hasIPv6); err != nil {
			return fmt.Errorf("pool %s: %w", p.name, err)
		}
	}
	t.await()
	return nil
}

// resolvers adds to the watcher those that are new or differ; those that do not stay, with what they know.
func (t *transition) resolvers() error {
	before := make(map[string]config.Resolver)
	for _, r := range t.old.conf.Resolvers {
		before[r.Name] = r
	}
	t.next.resolvers = make(map[string]string)
	var problems config.Problems
	for i, c := range resolvers(t.next.conf.Resolvers) {
		if was, there := before[c.Name]; there && len(config.Changed(&was, &t.next.conf.Resolvers[i])) == 0 {
			t.next.resolvers[c.Name] = t.old.resolvers[c.Name]
			continue
		}
		c.ID = fmt.Sprintf("%s#%d", c.Name, t.s.resolverIDs.Add(1)) // no name of the config has a #
		if err := t.s.watcher.Add(c); err != nil {
			problems = append(problems, t.next.conf.Problem("resolver "+c.Name, err.Error()))
			continue
		}
		t.ids = append(t.ids, c.ID)
		t.next.resolvers[c.Name] = c.ID
	}
	if len(problems) > 0 {
		return problems
	}
	return nil
}

// pools keeps those whose table can stay, and makes the others. Nothing is done for those that do not change at all.
func (t *transition) pools() error {
	before := make(map[string]*livePool, len(t.old.pools))
	for _, p := range t.old.pools {
		before[p.name] = p
	}
	for i := range t.next.conf.Pools {
		c := &t.next.conf.Pools[i]
		p := before[c.Name]
		if p != nil && !needsTable(p.conf(), c) {
			t.next.pools = append(t.next.pools, p)
			resolver := t.next.resolvers[c.Resolver]
			if resolver == t.old.resolvers[c.Resolver] && !t.differ[c.Name] {
				t.unchanged = append(t.unchanged, p)
				continue
			}
			proposal, err := p.members.propose(c.Backends, resolver)
			t.proposals[p] = proposal
			if err != nil {
				return fmt.Errorf("pool %s: %w", c.Name, err)
			}
			continue
		}
		made, err := t.s.newPool(*c, p, poolState{})
		if err != nil {
			return err
		}
		t.freshPools = append(t.freshPools, made)
		t.next.pools = append(t.next.pools, made)
	}
	return nil
}

// listeners finds each address its socket, and each socket its listener.
func (t *transition) listeners(fail func(what string, err error)) {
	ports := make(map[config.Endpoint]*listener, len(t.old.listeners))
	before := make(map[string]*listener, len(t.old.listeners))
	for _, l := range t.old.listeners {
		ports[l.port.wish] = l
		before[l.name] = l
	}
	byName := make(map[string]*livePool, len(t.next.pools))
	for _, p := range t.next.pools {
		byName[p.name] = p
	}
	for i := range t.next.conf.Listeners {
		c := &t.next.conf.Listeners[i]
		var said *settings
		var bound *limit
		if was := before[c.Name]; was != nil {
			said, bound = newSettings(c, was.conf()), was.limit
		} else {
			said, bound = newSettings(c, nil), newLimit(c)
		}
		t.settings = append(t.settings, said)
		for _, at := range c.Listen {
			was := ports[at]
			switch {
			case was == nil:
				p, err := t.s.openPort(context.Background(), at, said)
				if err != nil {
					fail("listener "+c.Name, err)
					continue
				}
				t.freshPorts = append(t.freshPorts, p)
				t.next.listeners = append(t.next.listeners, t.s.newListener(said, p, byName[c.Pool], bound))
			case was.name == c.Name && was.pool == byName[c.Pool]:
				t.next.listeners = append(t.next.listeners, was)
			default:
				t.next.listeners = append(t.next.listeners, t.s.newListener(said, was.port, byName[c.Pool], bound))
			}
		}
	}
}

// await gives new names, and checks that find roles, the time for a first answer that they have at a start.
func (t *transition) await() {
	t.s.pause(startupWait, func() bool {
		waiting := 0
		for _, p := range t.freshPools {
			waiting += len(p.members.answered()) + p.unasked()
		}
		for p, proposal := range t.proposals {
			waiting += len(p.members.unanswered(proposal))
		}
		return waiting == 0 || t.s.stopping.Load()
	})
}

// undo ends what prepare has made.
func (t *transition) undo() {
	for p, proposal := range t.proposals {
		p.members.withdraw(proposal)
	}
	for _, p := range t.freshPools {
		p.close()
	}
	for _, p := range t.freshPorts {
		p.stop()
		p.close()
	}
	if t.next.admin != nil && t.next.admin != t.old.admin {
		t.next.admin.Close()
	}
	for _, id := range t.ids {
		t.s.watcher.Remove(id)
	}
	if t.dropLog != nil {
		t.dropLog()
	}
}

// commit makes the next generation the present one. Nothing in it can fail.
func (t *transition) commit() {
	s, conf := t.s, t.next.conf
	if t.useLog != nil {
		t.useLog()
	}
	s.access.set(conf.Log)
	for i, p := range t.next.pools {
		if proposal := t.proposals[p]; proposal != nil {
			p.adopt(conf.Pools[i])
			p.members.accept(proposal, t.next.bound.of(p))
		}
	}
	if t.next.bound != t.old.bound {
		for _, p := range t.unchanged {
			p.members.rebind(t.next.bound.of(p))
		}
	}
	at := 0
	for _, said := range t.settings {
		for range said.Listen {
			l := t.next.listeners[at]
			at++
			l.limit.adopt(said.Listener)
			l.settings.Store(said)
			l.port.retune(said.socket)
		}
	}
	left := slices.DeleteFunc(slices.Clone(t.old.listeners), func(l *listener) bool { return slices.Contains(t.next.listeners, l) })
	gone := slices.DeleteFunc(slices.Clone(t.old.pools), func(p *livePool) bool { return slices.Contains(t.next.pools, p) })
	s.holds.mu.Lock() // who holds or releases finds all of these pools, or none
	for _, p := range t.freshPools {
		for _, before := range gone {
			if before.name == p.name {
				p.queue.hold(before.queue.held.Load())
			}
		}
	}
	s.changing.Lock()
	now := s.running() // what left before may have gone meanwhile
	t.next.leavingListeners = slices.Concat(now.leavingListeners, left)
	t.next.leavingPools = slices.Concat(now.leavingPools, gone)
	s.generation.Store(t.next)
	s.changing.Unlock()
	s.holds.mu.Unlock()
	for _, l := range t.next.listeners { // after that: whoever looks for sessions finds where they may be from now on
		l.port.owner.Store(l)
	}

	for _, p := range t.freshPorts {
		s.log.Info("listening", "listener", p.owner.Load().name, "address", p.String(), "pool", p.owner.Load().pool.name)
		p.start()
	}
	served := t.next.ports()
	for _, l := range left {
		stopped := !slices.Contains(served, l.port)
		if stopped {
			l.port.stop()
			s.log.Info("no longer listening", "listener", l.name, "address", l.port.String())
		}
		l.leave()
		s.leavers.Go(func() {
			<-l.gone
			if stopped {
				l.port.close()
			}
			s.forget(l)
		})
	}
	for _, p := range gone {
		p.members.close() // its peers stay as they are, for the sessions that are on their way to them
	}
	s.forget(nil)
	for _, id := range slices.Sorted(maps.Values(t.old.resolvers)) {
		if !slices.Contains(slices.Collect(maps.Values(t.next.resolvers)), id) {
			s.watcher.Remove(id)
		}
	}
	t.moveAdmin()
}

// moveAdmin says who may ask from now on. If the address is another, it lets the old API finish its answers, the one to who asked for this included.
func (t *transition) moveAdmin() {
	if t.next.admin == t.old.admin {
		if t.next.admin != nil {
			t.next.admin.SetAccess(access(t.next.conf.Admin))
		}
		return
	}
	if t.next.admin != nil {
		go t.next.admin.Serve()
	}
	if was := t.old.admin; was != nil {
		t.s.leavers.Go(func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			was.Shutdown(ctx)
		})
	}
}

// forget takes a listener that has gone out of the generation, and the pools that leave and have no listener any more.
func (s *Server) forget(gone *listener) {
	s.changing.Lock()
	now := *s.running()
	now.leavingListeners = slices.DeleteFunc(slices.Clone(now.leavingListeners), func(l *listener) bool { return l == gone })
	var ended []*livePool
	now.leavingPools = slices.DeleteFunc(slices.Clone(now.leavingPools), func(p *livePool) bool {
		if slices.ContainsFunc(now.everyListener(), func(l *listener) bool { return l.pool == p }) {
			return false
		}
		ended = append(ended, p)
		return true
	})
	s.generation.Store(&now)
	s.changing.Unlock()
	for _, p := range ended {
		p.close()
		if !slices.ContainsFunc(now.everyPool(), func(other *livePool) bool { return other.name == p.name }) {
			s.metrics.Forget(p.name)
		}
		p.log.Info("pool gone")
	}
}

// adopt gives a pool that keeps its table another config. A check that is asked for differently begins anew; until its
// first word the last one counts. A session policy holds for the peers that are leaving, too.
func (p *livePool) adopt(c config.Pool) {
	was := p.settings.Swap(&c)
	p.dial.Store(new(peerSocket(&c.Socket)))
	p.mu.Lock()
	if was.On != c.On || was.DrainTimeout != c.DrainTimeout || was.QuietTime != c.QuietTime {
		p.decideAllLocked()
	}
	if p.table.Tune(tuning(&c)) {
		p.tellLocked()
	}
	p.mu.Unlock()
	if c.Check == nil || len(config.Changed(was.Check, c.Check))+len(config.Changed(&was.Socket, &c.Socket)) == 0 {
		return
	}
	p.mu.Lock()
	var ended []*peerCheck
	for _, addr := range slices.Collect(maps.Keys(p.checks)) {
		before := p.checks[addr]
		delete(p.checks, addr)
		p.watchLocked(addr)
		if now := p.checks[addr]; now != nil {
			heir := *before
			heir.watch = now.watch
			*now = heir
		}
		ended = append(ended, before)
	}
	p.mu.Unlock()
	for _, c := range ended {
		c.watch.Close()
	}
}
