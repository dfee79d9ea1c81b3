package lb

import (
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// passed finds the socket of a kind that the service manager has passed on under a name. It stays open, whatever becomes of the
// listener that uses it: a later one may use it again, and until then its clients wait in the kernel.
func (s *Server) passed(kind, name string) (*os.File, error) {
	var found []*os.File
	var others []string
	for _, f := range s.opts.Sockets {
		is, err := sock.KindOf(f)
		switch {
		case f.Name() == name && err != nil:
			return nil, fmt.Errorf("the socket %q of the service manager: %w", name, err)
		case f.Name() == name && is == kind:
			found = append(found, f)
		default:
			others = append(others, fmt.Sprintf("%q (%s)", f.Name(), is))
		}
	}
	switch {
	case len(found) == 1:
		return found[0], nil
	case len(found) > 1:
		return nil, fmt.Errorf("the service manager has passed %d sockets of %s named %q, expected one: FileDescriptorName= in a .socket names it", len(found), kind, name)
	case len(others) > 0:
		return nil, fmt.Errorf("the service manager has passed no socket of %s named %q, but %s", kind, name, strings.Join(others, ", "))
	}
	return nil, fmt.Errorf("the service manager has passed no sockets, expected one of %s named %q: a .socket unit has it", kind, name)
}

// tellUnused names the sockets that were passed on and serve nobody: their clients wait in vain.
func (s *Server) tellUnused(conf *config.Config) {
	for _, f := range s.opts.Sockets {
		kind, _ := sock.KindOf(f)
		used := kind != "udp" && conf.Admin.Listen == config.PassedPrefix+f.Name()
		for _, l := range conf.Listeners {
			used = used || slices.Contains(l.Listen, config.Endpoint{Network: kind, Passed: f.Name()})
		}
		if !used {
			s.log.Warn("socket not used", "name", f.Name(), "protocol", kind)
		}
	}
}
