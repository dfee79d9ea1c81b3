package lb

import (
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/doctor"
)

// Needs says what a config is about to use of the machine.
func Needs(conf *config.Config) doctor.Needs {
	n := doctor.Needs{Loops: conf.Relay.Loops, Engine: conf.Relay.Engine}
	if n.Loops == 0 {
		n.Loops = cores
	}
	unlimited := false
	for _, l := range conf.Listeners {
		unlimited = unlimited || l.MaxConns == 0
		n.Sessions += l.MaxConns
		for _, at := range l.Listen {
			if port := int(at.Addr.Port()); port > 0 && port < 1024 {
				n.LowPorts = append(n.LowPorts, port)
			}
		}
	}
	if unlimited {
		n.Sessions = 0
	}
	return n
}

// tellBudget warns where the limit of descriptors is below what max_conns promises. Go has raised it as far as it goes.
func (s *Server) tellBudget(conf *config.Config) {
	if f := doctor.ThisMachine().Budget(Needs(conf)); f.State != doctor.OK {
		s.log.Warn("few descriptors", "found", f.Found, "cost", f.Cost, "fix", f.Fix)
	}
}
