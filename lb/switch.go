package lb

import (
	"context"
	"fmt"
	"net/netip"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/pool"
)

// switchOver holds a pool until a peer is its primary.
type switchOver struct {
	name     string // of the pool, which a reload may replace meanwhile
	from, to netip.AddrPort
	begin    time.Time
	ended    chan struct{} // closed when an operator holds or releases the pool
	word     string        // which of the two; read it when ended is closed
}

// How often a switch-over looks at the pool, and how often it says how far it is.
const (
	switchLook = 5 * time.Millisecond
	switchTell = time.Second
)

// SwitchPool makes the new TCP clients of a pool wait until a peer is its primary, and then lets them go. It gives up, and lets
// them go where the pool sends them then, when timeout is over or ctx ends, when another peer becomes the primary, or when an
// operator holds or releases the pool. Each step is told. An error says why nothing was done.
func (s *Server) SwitchPool(ctx context.Context, name, to string, timeout time.Duration, tell func(admin.SwitchStep)) error {
	o, err := s.beginSwitch(name, to, timeout)
	if err != nil {
		return err
	}
	if o.from == o.to {
		tell(s.step(o, "done", "it is the primary already"))
		return nil
	}
	s.log.Info("switch begun", "pool", name, "to", o.to.String(), "from", word(o.from), "timeout", timeout)
	tell(s.step(o, "held", ""))
	tell(s.awaitPrimary(ctx, o, timeout, tell))
	return nil
}

// awaitPrimary waits for the role to move, and gives the last step.
func (s *Server) awaitPrimary(ctx context.Context, o *switchOver, timeout time.Duration, tell func(admin.SwitchStep)) admin.SwitchStep {
	look, progress := time.NewTicker(switchLook), time.NewTicker(switchTell)
	defer look.Stop()
	defer progress.Stop()
	for {
		now, lost := s.holder(o)
		switch {
		case lost != "":
			return s.endSwitch(o, lost)
		case now == o.to:
			return s.endSwitch(o, "")
		case now.IsValid() && now != o.from:
			return s.endSwitch(o, fmt.Sprintf("%s became the primary, and not %s", now, o.to))
		case time.Since(o.begin) >= timeout:
			return s.endSwitch(o, fmt.Sprintf("%s did not become the primary within %v", o.to, timeout))
		}
		select {
		case <-look.C:
		case <-progress.C:
			tell(s.step(o, "waiting", ""))
		case <-o.ended:
			return s.endSwitch(o, "an operator has said "+o.word)
		case <-ctx.Done():
			return s.endSwitch(o, "who asked for it has left")
		}
	}
}

// beginSwitch holds the pool, unless the peer is its primary already, or something is in the way that waiting would not mend.
func (s *Server) beginSwitch(name, to string, timeout time.Duration) (*switchOver, error) {
	s.holds.mu.Lock()
	defer s.holds.mu.Unlock()
	p, err := s.poolNamed(name)
	if err != nil {
		return nil, err
	}
	o := &switchOver{name: name, begin: time.Now(), ended: make(chan struct{})}
	if o.to, err = p.successor(to); err != nil {
		return nil, err
	}
	if o.from = p.primary(); o.from == o.to {
		return o, nil
	}
	most := p.conf().HoldTimeout
	switch other := s.holds.switches[name]; {
	case other != nil:
		return nil, fmt.Errorf("pool %s: a switch to %s is under way", name, other.to)
	case p.queue.held.Load():
		return nil, fmt.Errorf("pool %s is held already: ebb release %s", name, name)
	case timeout > most:
		return nil, fmt.Errorf("pool %s: found a timeout of %v, expected at most its hold_timeout, %v: clients that wait for longer are refused", name, timeout, most)
	}
	if s.holds.switches == nil {
		s.holds.switches = make(map[string]*switchOver)
	}
	s.holds.switches[name] = o
	s.holdLocked(name, true)
	s.seek(name, true)
	return o, nil
}

// successor is the peer of that name, if it can become the primary.
func (p *livePool) successor(to string) (netip.AddrPort, error) {
	addr, err := netip.ParseAddrPort(to)
	if err != nil {
		return addr, p.unknownPeer(to)
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	if !guards(p.conf().Check) {
		return addr, fmt.Errorf("pool %s has no single primary (check.want and check.single): hold and release it by hand", p.name)
	}
	if !p.lists(addr) {
		return addr, p.unknownPeer(to)
	}
	for _, peer := range p.status().Peers {
		switch {
		case peer.Addr != addr.String():
		case peer.Admin != pool.AdminReady.String():
			return addr, fmt.Errorf("peer %s is in %s, and would get no sessions: ebb ready %s %s", addr, peer.Admin, p.name, addr)
		case peer.Weight == 0:
			return addr, fmt.Errorf("peer %s has weight 0, and would get no sessions", addr)
		case peer.Health == pool.HealthDown.String():
			return addr, fmt.Errorf("peer %s is down: %s: %s", addr, peer.Reason, peer.Detail)
		}
	}
	return addr, nil
}

// primary is the peer that gets new sessions because it is the primary; not valid if there is none.
func (p *livePool) primary() netip.AddrPort {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.table.Selectable() == 0 {
		return netip.AddrPort{}
	}
	return p.guard.used
}

// holder is the primary of the pool now, or why there is no use in waiting for one.
func (s *Server) holder(o *switchOver) (now netip.AddrPort, lost string) {
	p, err := s.poolNamed(o.name)
	switch {
	case s.stopping.Load():
		return now, errStopping.Error()
	case err != nil:
		return now, err.Error()
	case !guards(p.conf().Check):
		return now, "a reload has left the pool without a single primary"
	case !p.lists(o.to):
		return now, fmt.Sprintf("%s has left the pool", o.to)
	}
	return p.primary(), ""
}

// endSwitch releases the pool, unless an operator holds it, and gives the last step. Why it failed is empty if it did not.
func (s *Server) endSwitch(o *switchOver, failed string) admin.SwitchStep {
	s.holds.mu.Lock()
	s.seek(o.name, false)
	var waiting int64
	if s.holds.switches[o.name] == o {
		delete(s.holds.switches, o.name)
		_, waiting = s.holdLocked(o.name, false)
	} else if failed == "" { // it had come to its end all the same
		failed = "an operator has said " + o.word
	}
	s.holds.mu.Unlock()
	if failed == "" {
		step := s.step(o, "done", "")
		step.Waiting = waiting
		s.log.Info("switch done", "pool", o.name, "to", o.to.String(), "waiting", waiting, "took", time.Since(o.begin))
		return step
	}
	step := s.step(o, "failed", failed)
	switch {
	case step.Held:
		step.Detail += "; the pool is held"
	case step.Primary == "":
		step.Detail += "; the pool is released, and has no primary"
	default:
		step.Detail += "; the pool is released, to " + step.Primary
	}
	s.log.Warn("switch given up", "pool", o.name, "to", o.to.String(), "reason", failed, "used", step.Primary, "waiting", waiting, "took", time.Since(o.begin))
	return step
}

// step describes the pool as it is now.
func (s *Server) step(o *switchOver, name, detail string) admin.SwitchStep {
	step := admin.SwitchStep{
		Step: name, Pool: o.name, To: o.to.String(), From: word(o.from), Waiting: s.waiting(o.name), Took: time.Since(o.begin).Seconds(), Detail: detail,
	}
	if p, err := s.poolNamed(o.name); err == nil {
		step.Primary, step.Held = word(p.primary()), p.queue.held.Load()
		if peer := p.table.Peer(o.from); peer != nil {
			step.Sessions = peer.Active()
		}
	}
	return step
}

// word is an address for people; empty if there is none.
func word(addr netip.AddrPort) string {
	if !addr.IsValid() {
		return ""
	}
	return addr.String()
}
