package lb

import (
	"net/netip"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/flow"
	"github.com/ebb-lb/ebb/pool"
)

// udpFlow is one UDP flow: a trip and the flow that carries it. It counts as a session once it has its socket; a datagram
// for which no flow can be made is counted as dropped, and that is all, for a flood of them must cost nothing more.
type udpFlow struct {
	trip
	*flow.Flow
}

// welcomeFlow admits a flow that has joined; nil means that its datagram is dropped, for the reason beside it.
func (l *listener) welcomeFlow(f *flow.Flow) (*udpFlow, string) {
	place, no := l.admit(f.Client.Addr())
	if no.word != end.None {
		l.part()
		return nil, no.reason
	}
	s := &udpFlow{trip: l.trip(f.Client, f.Local(), l.nextSlot()), Flow: f}
	s.place = place
	if f.Avoid().IsValid() {
		s.tried = append(s.tried, f.Avoid())
	}
	return s, ""
}

// flowOptions is what a flow is told that begins now.
func (l *listener) flowOptions() flow.Options {
	c := l.conf()
	o := flow.Options{
		IdleTimeout: c.UDPIdleTimeout, Responses: c.Responses, Requests: c.Requests, PerSource: c.MaxFlowsPerSource,
		QUIC: flow.QUIC{IDLength: c.QUICIDLength, ServerLength: c.QUICServerLength},
		Dial: l.pool.dial.Load(),
	}
	if c.PassECN {
		o.Class |= flow.ECN
	}
	if c.PassDSCP {
		o.Class |= flow.DSCP
	}
	switch c.Mode {
	case "reqresp":
		o.Mode = flow.ReqResp
	case "oneway":
		o.Mode = flow.OneWay
	}
	return o
}

// Next takes the peer that a QUIC connection id names, if it may be had, and avoids the one that has just refused this client, if
// there is another.
func (s *udpFlow) Next() (netip.AddrPort, end.Word) {
	if s.Named().IsValid() && s.Named() != s.Avoid() && s.failures == 0 && s.takeOnly(s.Named()) {
		return s.Named(), end.None
	}
	addr, w := s.trip.Next()
	if w == end.NoPeer && s.Avoid().IsValid() && s.failures == 0 {
		s.tried = nil
		return s.trip.Next()
	}
	return addr, w
}

// takeOnly begins an attempt with one peer; false means that it may not be had.
func (s *udpFlow) takeOnly(addr netip.AddrPort) bool {
	t := s.listener.pool.table
	s.started = time.Now()
	var err error
	s.lease, err = t.Acquire(pool.Request{Slot: s.slot, Now: t.Since(s.started), Exclude: []netip.AddrPort{addr}, Only: true})
	if err != nil {
		return false
	}
	s.take()
	return true
}

func (s *udpFlow) moved() (in, out int64) { return s.In.Load(), s.Out.Load() }

// Connected registers the flow: from now on it can be cut.
func (s *udpFlow) Connected() {
	l := s.listener
	s.reached()
	s.tried = nil // a flow is small
	s.begin()
	l.live.enter(s.slot, s)
	l.live.settle(s.slot, s, func() bool { return true })
	if w, _ := l.pool.unwanted(s.peer); w != end.None { // the kill may have come just before
		s.Kill(w)
	}
}

// Unfit says why the flow leaves its peer: the newest epoch does not list it, it is down, or somebody has taken it out. A
// flow has nothing to finish, so one of a drained peer goes as soon as there is another.
func (s *udpFlow) Unfit() end.Word {
	p := s.listener.pool
	switch {
	case !p.table.Serves(s.peer):
		if s.peer.Health() == pool.HealthDown {
			return end.PeerDead
		}
		return end.PeerRemoved
	case s.peer.Admin() == pool.AdminDrain && p.conf().On.AdminDrain != "keep" && p.table.Selectable() > 0:
		return end.Drained
	case p.conf().On.Failback != "keep" && p.standsBehind(s.peer):
		return end.Drained
	}
	return end.None
}

// Done is told by the flow that its socket is closed, or that it never had one.
func (s *udpFlow) Done(w end.Word) {
	l := s.listener
	if s.id != 0 {
		l.live.leave(s.slot, s)
		in, out := s.moved()
		s.finish(w, in, out, 0, s.Upstream())
	}
	l.depart(s.place)
	l.part()
}
