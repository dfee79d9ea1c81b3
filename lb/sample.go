package lb

import (
	"net/netip"
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/pool"
)

// sample gives every metric that is read and not fed. The addresses of one listener, and the resolvers of one name, share
// series: the collector merges them.
func (s *Server) sample(emit admin.Emit) {
	now := s.running()
	for _, l := range now.everyListener() {
		l.sample(emit)
	}
	for _, p := range now.everyPool() {
		p.sample(emit)
	}
	for k, n := range s.queries.all() {
		emit(admin.DNSQueries, float64(n), k.resolver, k.server, k.result)
	}
	for reason, n := range s.discarded.all() {
		emit(admin.DNSDiscarded, float64(n), reason)
	}
	for k, n := range s.refused.all() {
		emit(admin.DNSRefused, float64(n), k.pool, k.reason)
	}
	for result, n := range s.reloaded.all() {
		emit(admin.Reloads, float64(n), result)
	}
	for _, n := range s.watcher.Status() {
		if n.Server == dnswatch.ServerLiteral { // an address, which nobody is asked for
			continue
		}
		stale := 0.0
		if n.Stale {
			stale = 1
		}
		emit(admin.DNSStale, stale, n.Name, n.Type.String())
		if n.Kind != dnswatch.KindFailure || n.Stale { // else there never was an answer, and no age
			emit(admin.DNSAnswerAge, n.Age.Seconds(), n.Name, n.Type.String())
		}
	}
	if s.loops != nil {
		n := s.loops.Counts()
		emit(admin.RelayPaused, float64(n.Paused))
		emit(admin.RelayResumed, float64(n.Resumed))
		emit(admin.RelayStarved, float64(n.Starved))
		emit(admin.RelaySpliced, float64(n.Spliced))
	}
	emit(admin.LogDropped, float64(s.logDropped()))
}

// logDropped counts lines that the target of the log did not take.
func (s *Server) logDropped() uint64 {
	if s.opts.Sink == nil {
		return 0
	}
	return s.opts.Sink.Dropped()
}

func (l *listener) sample(emit admin.Emit) {
	name, pool := l.name, l.pool.name
	emit(admin.SessionsActive, float64(l.active.Load()), name, pool)
	for w := range l.ended {
		if n := l.ended[w].Load(); n > 0 {
			emit(admin.SessionsTotal, float64(n), name, pool, end.Word(w).String())
		}
	}
	in, out := l.live.bytes()
	emit(admin.BytesTotal, float64(in), name, pool, "in")
	emit(admin.BytesTotal, float64(out), name, pool, "out")
	for reason, n := range l.accept.all() {
		emit(admin.AcceptErrors, float64(n), name, reason)
	}
	for reason, n := range l.rejected.all() {
		emit(admin.Rejected, float64(n), name, reason)
	}
	if l.port.proto == "udp" {
		l.sampleDatagrams(emit)
	}
}

func (p *livePool) sample(emit admin.Emit) {
	table := p.table.Status()
	_, reclaimed := p.table.Counts()
	tier, selectable := p.table.Serving()
	emit(admin.PoolSelectable, float64(selectable), table.Name)
	if selectable > 0 {
		emit(admin.PoolTier, float64(tier), table.Name)
	}
	emit(admin.PoolWaiting, float64(p.queue.n.Load()), table.Name)
	emit(admin.EpochCurrent, float64(table.Epoch), table.Name)
	emit(admin.EpochsLive, float64(len(table.Epochs)), table.Name)
	emit(admin.EpochsReclaimed, float64(reclaimed), table.Name)
	oldest := 0.0
	if len(table.Epochs) > 0 && table.Epochs[0].Retired {
		oldest = time.Since(table.Epochs[0].Born).Seconds()
	}
	emit(admin.EpochOldest, oldest, table.Name)
	if guards(p.conf().Check) {
		emit(admin.PoolPrimaries, float64(p.guard.primaries.Load()), table.Name)
	}
	for _, peer := range table.Peers {
		addr := peer.Addr.String()
		up := 0.0
		switch {
		case peer.State == "up", peer.State == "standby" && (p.conf().Check == nil || peer.Health == pool.HealthUp):
			up = 1
		}
		emit(admin.PeerUp, up, table.Name, addr)
		emit(admin.PeerSessionsActive, float64(peer.Active), table.Name, addr)
		p.sampleCheck(emit, peer.Addr)
		c, ok := p.counts.Load(peer.Addr)
		if !ok { // nothing has ended there yet
			continue
		}
		ended := &c.(*peerCount).ended
		for w := range ended {
			if n := ended[w].Load(); n > 0 {
				emit(admin.PeerSessionsTotal, float64(n), table.Name, addr, end.Word(w).String())
			}
		}
	}
}

// sampleCheck gives what the check of a peer found.
func (p *livePool) sampleCheck(emit admin.Emit, addr netip.AddrPort) {
	c, last, ok := p.checkOf(addr)
	conf := p.conf().Check
	if !ok || conf == nil {
		return
	}
	emit(admin.CheckSeconds, last.Latency.Seconds(), p.name, addr.String(), conf.Kind)
	if role := c.state.Role.String(); role != "" {
		emit(admin.PeerRole, 1, p.name, addr.String(), role)
	}
	if lag, known := lagOf(&c, last); known {
		emit(admin.PeerLag, lag.Seconds(), p.name, addr.String())
	}
	if c.verdict.health == pool.HealthUnfit && c.verdict.cause != "" {
		emit(admin.PeerUnwanted, 1, p.name, addr.String(), c.verdict.reason)
	}
}

// lagOf is how far a replica was behind at its last probe.
func lagOf(c *peerCheck, last check.Result) (time.Duration, bool) {
	return last.Lag, c.state.Role == check.Replica && last.Alive && last.Role == check.Replica && last.LagKnown
}
