package admin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Source is a balancer as this package sees it. Its methods are called from many goroutines.
type Source interface {
	Status() Status
	// Ready tells whether every pool can serve; if not, why not.
	Ready() (bool, []string)
	// OrderPeer does what an operator says of a peer. The error is *Unknown if there is no such pool or peer.
	OrderPeer(pool, peer string, o Order) (PeerReply, error)
	// Explain says what a new client of a listener would get now; its address may be the zero value, its port 0. The error is
	// *Unknown if there is no such listener.
	Explain(listener string, client netip.AddrPort, sni string) (Explanation, error)
	// Reload reads the config again and does what it says, all of it or nothing. It gives what changed; the error is *Invalid
	// if the config cannot be used.
	Reload() (changes []string, err error)
	// Plan gives what a reload would change if the config had this text.
	Plan(file, text string) (changes []string, err error)
	// HoldPool makes the new clients of a pool wait, or lets those that wait go. The error is *Unknown if there is no such pool.
	HoldPool(pool string, on bool) (HoldReply, error)
	// SwitchPool holds a pool until a peer is its primary, for at most timeout and no longer than ctx lasts, and tells each step. An
	// error says why nothing was done.
	SwitchPool(ctx context.Context, pool, to string, timeout time.Duration, tell func(SwitchStep)) error
	// RefreshNames asks DNS for a name now, or for all with "", and says how many questions that makes.
	RefreshNames(name string) int
	// Named gives an *Unknown if a filter names a listener or a pool that is not there.
	Named(ConnFilter) error
	// Conns lists the sessions that a filter lets pass, the oldest first and at most its limit, and says how many there are.
	Conns(ConnFilter) (list []Conn, matched int)
	// KillConns ends the sessions that a filter lets pass and says how many.
	KillConns(ConnFilter) int
}

// Bounds of the server (A3). Readiness probes and scrapes are short; an idle connection makes room soon.
const (
	maxConns      = 64
	maxHeader     = 16 << 10
	headerTimeout = 5 * time.Second
	readTimeout   = 5 * time.Second // of a whole request, but for a config
	configTimeout = 30 * time.Second
	writeTimeout  = 30 * time.Second
	idleTimeout   = 10 * time.Second
)

// Server is the HTTP API of one balancer.
type Server struct {
	http http.Server
	ln   net.Listener
	done chan struct{} // closed when Serve has returned
	stop chan struct{} // closed when Shutdown begins

	gate    gate
	streams *streams
	log     *slog.Logger
}

// NewServer binds the address. One that other hosts reach needs a token. The kernel queues clients until Serve.
func NewServer(c Settings, source Source, metrics prometheus.Gatherer, events *Events, log *slog.Logger) (*Server, error) {
	ln, local, err := c.bind()
	if err != nil {
		return nil, fmt.Errorf("admin: %w", err)
	}
	stop := make(chan struct{})
	s := &Server{
		streams: newStreams(events, stop), stop: stop, ln: limit(ln, maxConns), log: log, done: make(chan struct{}), gate: gate{local: local},
	}
	s.SetAccess(c.Access)
	s.http = http.Server{
		Handler: handler(source, metrics, s.streams, &s.gate), MaxHeaderBytes: maxHeader, ReadHeaderTimeout: headerTimeout,
		ReadTimeout: readTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// SetAccess says who may ask from now on. Without a token, an address that other hosts reach answers nobody.
func (s *Server) SetAccess(a Access) { s.gate.access.Store(&a) }

// Addr is the address or the path that is bound.
func (s *Server) Addr() string { return s.ln.Addr().String() }

// Serve answers until Shutdown. It is called once.
func (s *Server) Serve() {
	defer close(s.done)
	if err := s.http.Serve(s.ln); !errors.Is(err, http.ErrServerClosed) {
		s.log.Error("admin stopped", "address", s.Addr(), "error", err)
	}
}

// Close frees the address of a server that was never served.
func (s *Server) Close() { _ = s.ln.Close() }

// Shutdown takes no new requests, lets those that run finish for as long as ctx lasts, and waits for Serve. It
// is called once.
func (s *Server) Shutdown(ctx context.Context) {
	close(s.stop)
	if s.http.Shutdown(ctx) != nil {
		_ = s.http.Close()
	}
	<-s.done
}
