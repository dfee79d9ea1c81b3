package lb

import (
	"fmt"
	"maps"
	"net/netip"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/pool"
)

// Status describes the balancer at this moment. It may be called at any time after Started, from any goroutine.
func (s *Server) Status() admin.Status {
	ready, reasons := s.Ready()
	now := s.running()
	st := admin.Status{
		Version: s.opts.Version, Engine: s.engine, Loops: s.slots, PID: os.Getpid(), Uptime: time.Since(s.born).Seconds(),
		Ready: ready, Reasons: reasons, Stopping: s.stopping.Load(),
		Pools: []admin.Pool{}, Listeners: []admin.Listener{}, DNS: []admin.Name{},
	}
	for i, p := range now.everyPool() {
		st.Pools = append(st.Pools, p.status())
		st.Pools[i].Leaving = i >= len(now.pools)
	}
	for i, l := range now.everyListener() {
		in, out := l.live.bytes()
		st.Listeners = append(st.Listeners, admin.Listener{
			Name: l.name, Address: l.port.address(), Protocol: l.port.proto, Pool: l.pool.name,
			Active: l.active.Load(), Total: l.total.Load(), In: in, Out: out, Leaving: i >= len(now.listeners),
			Datagrams: l.datagramStatus(),
		})
	}
	st.DNS = s.names(now.everyPool())
	st.LogDropped = s.logDropped()
	return st
}

// names describes what is known of every name, and what comes of it.
func (s *Server) names(pools []*livePool) []admin.Name {
	known := s.watcher.Status()
	fed := make(map[string]map[feedKey][]admin.Feed) // by resolver
	for _, p := range pools {
		of := fed[p.conf().Resolver]
		if of == nil {
			of = make(map[feedKey][]admin.Feed, len(known))
			fed[p.conf().Resolver] = of
		}
		p.members.feeds(func(k feedKey, addr netip.AddrPort) {
			of[k] = append(of[k], admin.Feed{Pool: p.name, Addr: addr.String()})
		})
	}
	list := make([]admin.Name, 0, len(known))
	for _, n := range known {
		name := admin.Name{
			Name: n.Name, Type: n.Type.String(), Resolver: n.Resolver, Server: n.Server, Kind: n.Kind.String(), Rcode: n.RcodeName(),
			TTL: n.TTL.Seconds(), Age: n.Age.Seconds(), Stale: n.Stale, Next: n.Next.Seconds(), Failures: n.Failures,
			Chain: n.Chain, Records: n.Records,
			Peers: fed[n.Resolver][feedKey{n.Name, n.Type}],
		}
		if name.Peers == nil {
			name.Peers = []admin.Feed{} // a list in every document
		}
		if n.Err != nil {
			name.Error = n.Err.Error()
		}
		list = append(list, name)
	}
	return list
}

// RefreshNames asks for a name now, or for all with "", though not sooner than their min_refresh allows. It says how many
// questions that makes, by name and type.
func (s *Server) RefreshNames(name string) int { return s.watcher.Refresh(name) }

func (p *livePool) status() admin.Pool { return p.describe(p.table.Status()) }

// describe is the pool with what its table says.
func (p *livePool) describe(table pool.Status) admin.Pool {
	published, reclaimed := p.table.Counts()
	tier, selectable := p.table.Serving()
	st := admin.Pool{
		Name: table.Name, Balance: p.conf().Balance, Epoch: table.Epoch, Selectable: selectable, Tier: tier,
		EpochsPublished: published, EpochsReclaimed: reclaimed,
		Epochs: make([]admin.Epoch, len(table.Epochs)), Peers: make([]admin.Peer, len(table.Peers)), Overrides: p.said().Peers,
		Held: p.queue.held.Load(), Waiting: p.queue.n.Load(),
	}
	for i, e := range table.Epochs {
		st.Epochs[i] = admin.Epoch{ID: e.ID, Cause: e.Cause.String(), Born: e.Born.UTC(), Sessions: e.Sessions, Retired: e.Retired}
	}
	for i, peer := range table.Peers {
		st.Peers[i] = peerStatus(peer)
		p.describeCheck(&st.Peers[i], peer.Addr)
	}
	return st
}

func peerStatus(p pool.PeerStatus) admin.Peer {
	st := admin.Peer{
		Addr: p.Addr.String(), Weight: p.Weight, Tier: p.Tier, State: p.State, Health: p.Health.String(),
		Admin: p.Admin.String(), Active: p.Active, Total: p.Total, Sources: append([]string{}, p.Sources...),
		Standing: p.Standing.String(), Why: p.Standing.Why(), Failures: p.Failures,
	}
	if len(p.Figures) > 0 {
		st.Figures = make(map[string]float64, len(p.Figures))
		for _, f := range p.Figures {
			st.Figures[f.Name] = f.Value
		}
	}
	if p.AdminWeight != pool.NoWeight {
		st.AdminWeight = &p.AdminWeight
	}
	if !p.EjectedUntil.IsZero() {
		until := p.EjectedUntil.UTC()
		st.EjectedUntil = &until
	}
	return st
}

// describeCheck adds what the check of a peer found.
func (p *livePool) describeCheck(st *admin.Peer, addr netip.AddrPort) {
	c, last, ok := p.checkOf(addr)
	if c.watch == nil {
		return
	}
	if c.verdict.health == pool.HealthUnfit {
		if st.Health = "unknown"; c.state.Known {
			st.Health = "up"
		}
	}
	if st.Standing == pool.StandingUnfit.String() {
		st.Why = c.verdict.detail
	}
	st.Role, st.Reason, st.Detail, st.Percent = c.state.Role.String(), c.verdict.reason, c.verdict.detail, c.verdict.percent
	if c.verdict.health == pool.HealthDown {
		st.Reason, st.Detail = c.complaint(last, ok)
	}
	if c.state.Role == check.Primary {
		st.Timeline = c.state.Timeline
	}
	if lag, known := lagOf(&c, last); ok && known {
		seconds := lag.Seconds()
		st.Lag = &seconds
	}
	if ok {
		took := last.Latency.Seconds()
		st.Latency = &took
	}
	if !c.since.IsZero() {
		since := c.since.UTC()
		st.Since = &since
	}
}

// complaint is what is wrong with a peer that is down: what took it down may have turned into something else.
func (c *peerCheck) complaint(last check.Result, ok bool) (reason, detail string) {
	if ok && !last.Alive {
		return last.Reason, last.Detail
	}
	return c.verdict.reason, c.verdict.detail
}

// unwantedPeers says why peers are not used: of each that is alive, and of one of those that are down.
func (p *livePool) unwantedPeers() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	var parts []string
	down, first := 0, ""
	for _, addr := range slices.SortedFunc(maps.Keys(p.checks), netip.AddrPort.Compare) {
		switch c := p.checks[addr]; c.verdict.health {
		case pool.HealthUnfit:
			parts = append(parts, fmt.Sprintf("%s: %s (%s)", addr, c.verdict.detail, c.verdict.reason))
		case pool.HealthDown:
			if down++; down == 1 {
				reason, _ := c.complaint(c.watch.Last())
				first = fmt.Sprintf("%s (%s)", addr, reason)
			}
		}
	}
	if down > 0 {
		parts = append(parts, fmt.Sprintf("%d of %d peers fail their check, such as %s", down, len(p.checks), first))
	}
	return strings.Join(parts, "; ")
}

// Ready tells whether every pool has a peer to offer and clients are let in; if not, why not.
func (s *Server) Ready() (bool, []string) {
	reasons := []string{}
	if s.stopping.Load() {
		reasons = append(reasons, "stopping")
	}
	if !s.accepting.Load() {
		reasons = append(reasons, "starting: clients wait for the first answers")
	}
	for _, p := range s.running().pools {
		if p.table.Selectable() == 0 {
			reason := fmt.Sprintf("pool %s has no peer to offer: %s", p.name, p.members.describe())
			if unwanted := p.unwantedPeers(); unwanted != "" {
				reason += "; " + unwanted
			}
			if n := p.takenOut(); n > 0 {
				reason += fmt.Sprintf("; in drain or maint: %d", n)
			}
			reasons = append(reasons, reason)
		}
	}
	return len(reasons) == 0, reasons
}
