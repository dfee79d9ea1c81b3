// Package lb is the wiring: listeners, sessions, pools, checks, names, status, shutdown. It is the only package that
// knows both the epoch table and the DNS watcher.
//
//	err := lb.Run(ctx, conf, lb.RunOptions{Log: log})
//
// The model: a listener accepts, a pool's table lends a peer to each session, the relay moves the bytes, and one exit
// gives the lease back, counts, and writes one line. Answers become members, members become epochs; a change of either
// never touches a session but by the pool's own session policy.
//
// Invariants:
//
//	L1  What is accepted is counted, ends with one word of a closed list, is counted under it, and gets one log line.
//	L2  A lease is given back once, whatever the session's way, and what ended on the peer is counted before that.
//	L3  A change of members or health fails no session: one that is connecting goes to another peer, one that is
//	    established ends only where the pool's session policy says so.
//	L4  max_conns holds over all addresses of a listener, and a refusal never stops the accepting.
//	L5  A failure of DNS takes no peer away before max_stale, and one family or name never harms another.
//	L6  Shutdown goes in order: not ready, delay, no new sessions, time for those that live, the rest cut.
//
// It does not parse flags or files (lb/config), move bytes (lb/internal/relay, lb/internal/flow), or choose peers (pool).
package lb

import (
	"context"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/farewell"
	"github.com/ebb-lb/ebb/lb/internal/relay"
	"github.com/ebb-lb/ebb/pool"
)

// RunOptions are what the process gives to Run besides its config.
type RunOptions struct {
	Log     *slog.Logger
	Version string
	Sink    *LogSink        // whose dropped lines are exported; may be nil
	Ready   func()          // called once, when every pool has a peer to offer
	Started func(*Server)   // called once, when the listeners are bound
	Hurry   <-chan struct{} // closed to stop waiting for sessions while shutting down
	Sockets []*os.File      // what the service manager has passed on, by name; they stay open

	// What a reload needs. Without Load there is none.
	Load  func() (*config.Config, error)                  // reads the config again
	Parse func(file, text string) (*config.Config, error) // is Load for a text
	// PrepareLog makes ready what a config says of the log: then one of the two is called, to log so or to let go of it.
	PrepareLog func(*config.Config) (use, drop func(), err error)
	Reloading  func()          // a reload begins
	Reloaded   func(err error) // it has ended; with an error, what ran before runs on
}

// Server is a running balancer.
type Server struct {
	opts    RunOptions
	log     *slog.Logger
	born    time.Time
	slots   int
	engine  string       // how TCP is carried
	loops   *relay.Loops // nil is the portable relay
	ids     atomic.Uint64
	access  accessLog
	metrics *admin.Metrics
	events  *admin.Events

	reclaimer *pool.Reclaimer
	hub       *check.Hub
	watcher   *dnswatch.Watcher
	teller    farewell.Teller
	own       ownAddresses

	generation  atomic.Pointer[generation] // read it by running
	changing    sync.Mutex                 // who puts another in its place
	saving      sync.Mutex                 // who writes what operators have said
	reloads     reloads
	holds       holds
	leavers     sync.WaitGroup // what a reload has let go
	resolverIDs atomic.Uint64

	queries   counts[queryKey]
	discarded counts[string]
	refused   counts[refusedKey]
	reloaded  counts[string]

	accepting atomic.Bool
	stopping  atomic.Bool
}

// Run serves until ctx is done, then shuts down in order: no longer ready, shutdown_delay, no new sessions, sessions
// until shutdown_timeout, the rest cut. An error before that names what could not be started; nothing is left behind.
func Run(ctx context.Context, conf *config.Config, o RunOptions) error {
	if problems := Probe(conf); len(problems) > 0 {
		return problems
	}
	s, err := newServer(conf, o)
	if err != nil {
		return err
	}
	if err := s.open(ctx, conf); err != nil {
		s.abandon()
		return err
	}
	if o.Started != nil {
		o.Started(s)
	}
	s.serve(ctx)
	s.shutdown()
	return nil
}

func newServer(conf *config.Config, o RunOptions) (*Server, error) {
	s := &Server{opts: o, events: admin.NewEvents(), born: time.Now(), slots: conf.Relay.Loops}
	if s.slots == 0 {
		s.slots = cores
	}
	s.generation.Store(&generation{conf: conf})
	s.log = slog.New(&eventHandler{Handler: o.Log.Handler(), events: s.events})
	s.metrics = admin.NewMetrics(s.sample)
	watcher, err := dnswatch.New(dnswatch.Options{
		Resolvers: resolvers(conf.Resolvers),
		OnQuery:   func(resolver, server, result string) { s.queries.add(queryKey{resolver, server, result}) },
		OnDiscard: func(reason string) { s.discarded.add(reason) },
		OnWarning: func(resolver, server, text string) {
			s.log.Warn("dns server", "resolver", resolver, "server", server, "warning", text)
		},
	})
	if err != nil {
		return nil, err
	}
	s.watcher = watcher
	s.reclaimer = pool.NewReclaimer()
	s.hub = check.NewHub()
	return s, nil
}

// resolvers tells the watcher what the config says of the servers.
func resolvers(conf []config.Resolver) []dnswatch.ResolverConfig {
	list := make([]dnswatch.ResolverConfig, len(conf))
	for i, r := range conf {
		list[i] = dnswatch.ResolverConfig{
			Name: r.Name, Servers: r.Servers, Strategy: r.Strategy, AttemptTimeout: r.AttemptTimeout, Attempts: r.Attempts,
			Deadline: r.Deadline, EDNSSize: r.EDNSSize, CaseRandomization: r.CaseRandomization, CAFile: r.CAFile, HostsFile: r.HostsFile,
		}
	}
	return list
}
