package lb

import (
	"fmt"
	"runtime"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/relay"
)

// cores is how many this process may use, by its affinity and cgroup: what GOMAXPROCS is before loops raise it.
var cores = runtime.GOMAXPROCS(0)

// openEngine starts the loops that carry TCP, or settles on the portable relay.
func (s *Server) openEngine(conf config.Relay) error {
	s.engine = "portable"
	if conf.Engine == s.engine {
		return nil
	}
	loops, err := relay.NewLoops(s.slots, conf.Engine)
	switch {
	case err == nil:
		s.loops, s.engine = loops, loops.Engine()
		if why := loops.Why(); why != "" {
			s.log.Warn("falling back", "engine", s.engine, "reason", why)
		}
	case conf.Engine == "auto":
		s.log.Warn("falling back", "engine", s.engine, "reason", err)
		return nil
	default:
		return fmt.Errorf("relay: %w", err)
	}
	return nil
}
