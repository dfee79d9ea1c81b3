package lb

import (
	"slices"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// generation is what runs: what a config asks for, and what is left of earlier ones. It is immutable. A reload, and the
// end of something that leaves, put another in its place; a status or a scrape sees one of them whole.
type generation struct {
	conf      *config.Config
	pools     []*livePool // by name
	listeners []*listener // one for each address, in the order of the config
	admin     *admin.Server
	resolvers map[string]string // by name, as the watcher knows them
	bound     *bindings         // of listeners

	// What the config does not name any more, while sessions are on it.
	leavingPools     []*livePool
	leavingListeners []*listener
}

// running gives the present generation.
func (s *Server) running() *generation { return s.generation.Load() }

// everyListener lists those that leave, too.
func (g *generation) everyListener() []*listener {
	return slices.Concat(g.listeners, g.leavingListeners)
}

// everyPool lists those that leave, too.
func (g *generation) everyPool() []*livePool { return slices.Concat(g.pools, g.leavingPools) }

// active counts the sessions.
func (g *generation) active() (n int64) {
	for _, l := range g.everyListener() {
		n += l.active.Load()
	}
	return n
}

// ports lists the sockets that clients are taken from.
func (g *generation) ports() []*port {
	list := make([]*port, len(g.listeners))
	for i, l := range g.listeners {
		list[i] = l.port
	}
	return list
}
