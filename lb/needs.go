package lb

import (
	"net/netip"
	"slices"

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
	n.Flows = flowsFromOne(conf)
	return n
}

// flowsFromOne is how many UDP flows one address of this machine may have at most; 0 is none, or no limit. Pools without a source
// share the wildcard. Those that say which ports they take do not take them from the kernel's range.
func flowsFromOne(conf *config.Config) (most int) {
	of := make(map[netip.Addr]int)
	for _, l := range conf.Listeners {
		if !slices.ContainsFunc(l.Listen, func(e config.Endpoint) bool { return e.Network == "udp" }) {
			continue
		}
		at := slices.IndexFunc(conf.Pools, func(p config.Pool) bool { return p.Name == l.Pool })
		s := &conf.Pools[at].Socket
		if s.FromClient || s.SourcePorts != [2]uint16{} {
			continue
		}
		if len(s.Source) == 0 {
			of[netip.Addr{}] += l.MaxConns
		}
		four := 0
		for _, a := range s.Source {
			if a.Is4() {
				four++
			}
		}
		for _, a := range s.Source {
			if a.Is4() {
				of[a] += l.MaxConns / four
			} else {
				of[a] += l.MaxConns / (len(s.Source) - four)
			}
		}
	}
	for _, flows := range of {
		most = max(most, flows)
	}
	return most
}

// tellBudget warns where the limit of descriptors is below what max_conns promises. Go has raised it as far as it goes.
func (s *Server) tellBudget(conf *config.Config) {
	if f := doctor.ThisMachine().Budget(Needs(conf)); f.State != doctor.OK {
		s.log.Warn("few descriptors", "found", f.Found, "cost", f.Cost, "fix", f.Fix)
	}
}
