package dnswatch

import (
	"context"
	"fmt"
	"slices"
	"sync/atomic"

	"github.com/miekg/dns"
)

// resolver turns names into answers, by way of literals, the hosts file and servers.
type resolver struct {
	conf     ResolverConfig
	fixed    []server // parsed; where "system" stands, the zero server
	hosts    *hostsFile
	system   *resolvConf // nil if "system" is not among the servers
	wire     *wire
	exchange func(context.Context, server, query) (*dns.Msg, error)
	opts     Options
	health   health
	turn     atomic.Uint32 // counts questions, for rotation
}

func newResolver(c ResolverConfig, o Options) (*resolver, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	c = c.withDefaults()
	roots, err := loadRoots(c.CAFile)
	if err != nil {
		return nil, fmt.Errorf("resolver %q: CA file: %w", c.Name, err)
	}
	r := &resolver{conf: c, hosts: newHostsFile(c.HostsFile), wire: newWire(roots, o.OnDiscard), opts: o}
	r.exchange = r.wire.exchange
	for _, text := range c.Servers {
		var s server
		if text == systemServer {
			r.system = newResolvConf(c.ResolvConf)
		} else {
			s, _ = parseServer(text) // Validate has seen it
		}
		r.fixed = append(r.fixed, s)
	}
	return r, nil
}

func (r *resolver) close() { r.wire.close() }

// changed looks at the files and says whether one has changed.
func (r *resolver) changed() bool {
	hosts := r.hosts.reload()
	return r.system != nil && r.system.reload() || hosts
}

// servers lists the servers in the order in which they are asked now. Those that fail are left out while others do not.
func (r *resolver) servers() []server {
	rotate := r.conf.Strategy == StrategyRotate
	list := r.fixed
	if r.system != nil {
		list = nil
		for _, s := range r.fixed {
			if s != (server{}) {
				list = append(list, s)
				continue
			}
			of := r.system.settings()
			list = append(list, of.servers...)
			rotate = rotate || of.rotate
		}
	}
	list = r.health.well(list)
	if rotate && len(list) > 1 {
		at := int(r.turn.Add(1) % uint32(len(list)))
		list = append(slices.Clone(list[at:]), list[:at]...)
	}
	return list
}
