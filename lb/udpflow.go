package lb

import (
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/flow"
)

// udpFlow is one UDP flow: a trip and the flow that carries it. It counts as a session once it has its socket; a datagram
// for which no flow can be made is counted as dropped, and that is all, for a flood of them must cost nothing more.
type udpFlow struct {
	trip
	*flow.Flow
}

// welcomeFlow admits a flow that has joined; nil means that its datagram is dropped, for the reason beside it.
func (l *listener) welcomeFlow(f *flow.Flow) (*udpFlow, string) {
	if no := l.admit(f.Client.Addr()); no.word != end.None {
		l.part()
		return nil, no.reason
	}
	f.IdleTimeout = l.conf().UDPIdleTimeout
	return &udpFlow{trip: l.trip(f.Client, f.Local, l.nextSlot()), Flow: f}, ""
}

func (s *udpFlow) moved() (in, out int64) { return s.In.Load(), s.Out.Load() }

// Connected registers the flow: from now on it can be cut.
func (s *udpFlow) Connected() {
	l := s.listener
	s.reached()
	s.begin()
	l.live.enter(s.slot, s)
	l.live.settle(s.slot, s, s.peer.Addr(), func() bool { return true })
	if w := l.pool.unwanted(s.peer); w != end.None { // the kill may have come just before
		s.Kill(w)
	}
}

// Fit tells whether the peer still serves: listed by the newest epoch and not down.
func (s *udpFlow) Fit() bool { return s.listener.pool.table.Serves(s.peer) }

// Done is told by the flow that its socket is closed, or that it never had one.
func (s *udpFlow) Done(w end.Word) {
	l := s.listener
	if s.id != 0 {
		l.live.leave(s.slot, s)
		in, out := s.moved()
		s.finish(w, in, out, 0, s.Upstream())
	}
	l.depart()
	l.part()
}
