package lb

import (
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/farewell"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// dialects are what refuse_with may say, but for "reset".
var dialects = map[string]farewell.Dialect{
	"fin": farewell.FIN, "postgres": farewell.Postgres, "mysql": farewell.MySQL, "redis": farewell.Redis,
}

// polite tells that clients are turned away with more than a reset, and how.
func (p *livePool) polite() (farewell.Dialect, bool) {
	d, ok := dialects[p.conf().RefuseWith]
	return d, ok
}

// farewell gives who tells a client why its session ended before it had a peer; nil if it is to be reset.
func (p *livePool) farewell(w end.Word) func(sock.Conn) {
	switch w {
	case end.Limit, end.QueueTimeout, end.NoPeer, end.ConnectFailed, end.ConnectTimeout, end.NoSourcePort, end.Internal, end.Shutdown:
	default: // it has gone, or is not to be spoken to
		return nil
	}
	dialect, polite := p.polite()
	if !polite || !p.teller.Reserve() {
		return nil
	}
	return func(c sock.Conn) {
		if c == nil {
			p.teller.Cancel()
			return
		}
		p.teller.Say(c, dialect, farewell.Reason{Busy: w == end.Limit || w == end.QueueTimeout, Word: w.String()})
	}
}
