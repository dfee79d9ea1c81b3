package lb

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience is how long a test waits for what must come; it is no expectation.
const patience = 20 * time.Second

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for give := time.Now().Add(patience); !f(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(give) {
			t.Fatalf("not within %v: %s", patience, what)
		}
	}
}

// logLines keeps what was logged.
type logLines struct {
	mu    sync.Mutex
	lines []map[string]any
}

func (l *logLines) Write(b []byte) (int, error) {
	var line map[string]any
	if err := json.NewDecoder(bytes.NewReader(b)).Decode(&line); err != nil {
		return 0, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines = append(l.lines, line)
	return len(b), nil
}

// find gives the lines with a message.
func (l *logLines) find(msg string) (found []map[string]any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		if line["msg"] == msg {
			found = append(found, line)
		}
	}
	return found
}

// messages gives the messages from a line on, in order.
func (l *logLines) messages() (list []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range l.lines {
		list = append(list, fmt.Sprint(line["msg"]))
	}
	return list
}

// backendServer greets each client with its own address and then echoes.
type backendServer struct {
	addr netip.AddrPort
	ln   net.Listener
	wg   sync.WaitGroup
	mu   sync.Mutex
	open map[net.Conn]struct{}
	seen atomic.Int64 // connections, probes included
}

// listenOn binds a port on an address; port 0 is any.
func listenOn(t testing.TB, ip string, port uint16) *net.TCPListener {
	t.Helper()
	ln, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(ip), port).String())
	if err != nil {
		t.Fatal(err)
	}
	return ln.(*net.TCPListener)
}

func serveBackend(t testing.TB, ip string, port uint16) *backendServer {
	t.Helper()
	return serveOn(t, listenOn(t, ip, port))
}

func serveOn(t testing.TB, ln *net.TCPListener) *backendServer {
	t.Helper()
	b := &backendServer{addr: netip.MustParseAddrPort(ln.Addr().String()), ln: ln, open: make(map[net.Conn]struct{})}
	b.wg.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b.seen.Add(1)
			b.mu.Lock()
			b.open[c] = struct{}{}
			b.mu.Unlock()
			b.wg.Go(func() {
				fmt.Fprintln(c, b.addr)
				io.Copy(c, c)
				c.Close()
				b.mu.Lock()
				delete(b.open, c)
				b.mu.Unlock()
			})
		}
	})
	t.Cleanup(b.stop)
	return b
}

func (b *backendServer) stop() {
	b.ln.Close()
	b.mu.Lock()
	for c := range b.open {
		c.Close()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// backends serves the same port on several addresses.
func backends(t testing.TB, ips ...string) (list []*backendServer, port uint16) {
	t.Helper()
	for range 50 {
		lns, err := samePort(ips)
		if err != nil { // somebody holds the port on one of the addresses
			continue
		}
		for _, ln := range lns {
			list = append(list, serveOn(t, ln))
		}
		return list, list[0].addr.Port()
	}
	t.Fatalf("no port is free on all of %v", ips)
	return nil, 0
}

// samePort listens on one port of several addresses.
func samePort(ips []string) (lns []*net.TCPListener, err error) {
	var port uint16
	for _, ip := range ips {
		ln, err := net.Listen("tcp", netip.AddrPortFrom(netip.MustParseAddr(ip), port).String())
		if err != nil {
			for _, ln := range lns {
				ln.Close()
			}
			return nil, err
		}
		lns = append(lns, ln.(*net.TCPListener))
		port = netip.MustParseAddrPort(ln.Addr().String()).Port()
	}
	return lns, nil
}

// rig is a balancer in this process, with a scripted DNS server.
type rig struct {
	t      testing.TB
	conf   *config.Config
	dns    *dnstest.Server
	logs   *logLines
	logTo  io.Writer // logs, but for who wants the text
	server *Server
	ready  chan struct{}
	hurry  chan struct{}
	next   atomic.Pointer[config.Config] // what a reload reads
	loads  atomic.Int64

	sockets    []*os.File                                         // of the service manager
	prepareLog func(*config.Config) (use, drop func(), err error) // nil for a log that does not change

	cancel context.CancelFunc
	done   chan error
}

// engine is what the tests run on: EBB_TEST_ENGINE, or the best that works here.
func engine() string { return cmp.Or(os.Getenv("EBB_TEST_ENGINE"), "auto") }

// newRig makes a config with one TCP listener and one pool without backends; start runs it.
func newRig(t testing.TB) *rig {
	t.Helper()
	dns, err := dnstest.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(dns.Close)
	return &rig{
		t: t, dns: dns, logs: new(logLines), ready: make(chan struct{}), hurry: make(chan struct{}), done: make(chan error, 1),
		conf: &config.Config{
			Admin:           config.Admin{Listen: "127.0.0.1:0"},
			Log:             config.Log{Target: "stderr", Access: "close"},
			Relay:           config.Relay{Engine: engine(), Loops: 2},
			ShutdownTimeout: patience,
			Resolvers: []config.Resolver{{
				Name: "default", Servers: []string{"udp://" + dns.Addr()}, AttemptTimeout: time.Second, Attempts: 1, Deadline: time.Second, EDNSSize: 1232,
			}},
			Listeners: []config.Listener{{
				Name: "front", Listen: []config.Endpoint{{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0")}}, Pool: "db",
				UDPIdleTimeout: time.Minute, Socket: config.ClientSocket{Socket: config.DefaultSocket(), Mode: 0o600, Group: -1},
			}},
			Pools: []config.Pool{{
				Name: "db", Balance: "roundrobin", HashPrefixIPv4: 32, HashPrefixIPv6: 128, Resolver: "default", ConnectTimeout: 5 * time.Second, ConnectAttempts: 3,
				QueueTimeout: patience, WhenNone: "refuse", HoldTimeout: patience, HoldMax: 1000, QuietTime: 5 * time.Millisecond,
				Socket: config.PeerSocket{Socket: config.DefaultSocket()},
				On:     config.On{Dead: "close", Removed: "drain", AdminDrain: "drain", AdminMaint: "close", Failback: "keep"},
			}},
		},
	}
}

// named is a backend with the defaults of a name that changes quickly.
func named(host string, port uint16) config.Backend {
	return config.Backend{
		Host: host, Port: int(port), Type: "addr", Weight: 1, Family: "ipv4", MinRefresh: 20 * time.Millisecond, MaxRefresh: 50 * time.Millisecond,
		OnEmpty: "hold", EmptyHold: 30 * time.Second, OnError: "keep", MaxStale: 72 * time.Hour, AllowAnswers: []string{"loopback"},
	}
}

func fastCheck() *config.Check {
	return &config.Check{
		Kind: "tcp", Interval: 20 * time.Millisecond, Timeout: time.Second, FastInterval: 10 * time.Millisecond, Fall: 2, Rise: 1, RefusedIsDown: true,
	}
}

// anotherTable reloads so that the pool gets one: it is checked from now on.
func (r *rig) anotherTable() {
	r.t.Helper()
	r.reloads(func(c *config.Config) { c.Pools[0].Check = fastCheck() }, "pool db: changed check (a new epoch table; sessions stay on the old one)")
}

func (r *rig) pool() *config.Pool         { return &r.conf.Pools[0] }
func (r *rig) listener() *config.Listener { return &r.conf.Listeners[0] }

// start runs the balancer until the test ends. It returns when the listeners are bound.
func (r *rig) start() *rig {
	r.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	started := make(chan *Server, 1)
	go func() {
		r.done <- Run(ctx, r.conf, RunOptions{
			Log: NewLogger(cmp.Or(r.logTo, io.Writer(r.logs)), NewLogForm("json"), slog.LevelDebug), Version: "test", Hurry: r.hurry,
			Ready: func() { close(r.ready) }, Started: func(s *Server) { started <- s },
			Load:       func() (*config.Config, error) { r.loads.Add(1); return r.next.Load(), nil },
			PrepareLog: r.prepareLog, Sockets: r.sockets,
		})
	}()
	r.t.Cleanup(func() {
		r.cancel()
		if r.hurry != nil {
			close(r.hurry)
		}
		if err := <-r.done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	select {
	case r.server = <-started:
	case err := <-r.done:
		r.t.Fatalf("Run: %v", err)
	}
	return r
}

// serve is start and the wait until it is ready.
func (r *rig) serve() *rig {
	r.t.Helper()
	r.start()
	select {
	case <-r.ready:
	case <-time.After(patience):
		r.t.Fatal("not ready")
	}
	return r
}

func (r *rig) addr() string { return r.server.Status().Listeners[0].Address }

func (r *rig) dial() *net.TCPConn {
	r.t.Helper()
	c, err := net.Dial("tcp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// greeting reads who serves.
func greeting(t testing.TB, c net.Conn) netip.AddrPort {
	t.Helper()
	var line []byte
	for b := make([]byte, 1); ; {
		if _, err := io.ReadFull(c, b); err != nil {
			t.Fatalf("greeting: %v", err)
		}
		if b[0] == '\n' {
			return netip.MustParseAddrPort(string(line))
		}
		line = append(line, b[0])
	}
}

// ask makes a session that ends at once and says who served it.
func (r *rig) ask() netip.AddrPort {
	r.t.Helper()
	c := r.dial()
	who := greeting(r.t, c)
	c.Close()
	return who
}

func (r *rig) status() admin.Pool { return r.server.Status().Pools[0] }

// listed gives the addresses of the current epoch.
func (r *rig) listed() (list []string) {
	for _, p := range r.status().Peers {
		if p.State != "draining" {
			list = append(list, netip.MustParseAddrPort(p.Addr).Addr().String())
		}
	}
	return list
}

func (r *rig) awaitListed(want ...string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprint("peers ", want), func() bool { return slices.Equal(r.listed(), want) })
}

// awaitEnds waits until n sessions have a line and returns their end words.
func (r *rig) awaitEnds(n int) (ends []string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprint(n, " session lines"), func() bool { return len(r.logs.find("session")) >= n })
	for _, line := range r.logs.find("session") {
		ends = append(ends, fmt.Sprint(line["end"]))
	}
	return ends
}

// closed checks the books at rest: accepted = ended, one line each, no lease, one epoch.
func (r *rig) closed() {
	r.t.Helper()
	eventually(r.t, "rest", func() bool {
		p := r.status()
		return r.server.running().active() == 0 && len(p.Epochs) == 1 && p.Epochs[0].Sessions == 0 && p.EpochsPublished == p.EpochsReclaimed+1
	})
	var accepted, ended uint64
	for _, l := range r.server.running().listeners {
		accepted += l.total.Load()
		for w := range l.ended {
			n := l.ended[w].Load()
			ended += n
			if end.Word(w) == end.None && n != 0 {
				r.t.Errorf("%d sessions ended for no reason", n)
			}
		}
		if n := l.limit.held.Load(); n != 0 {
			r.t.Errorf("%d places are still taken", n)
		}
	}
	lines := r.logs.find("session")
	ids := make(map[any]bool)
	for _, line := range lines {
		ids[line["id"]] = true
	}
	if accepted != ended || uint64(len(lines)) != accepted || len(ids) != len(lines) {
		r.t.Errorf("accepted %d, ended %d, lines %d with %d ids", accepted, ended, len(lines), len(ids))
	}
	eventually(r.t, "no count of what is gone", func() bool {
		left := 0
		for _, p := range r.server.running().pools {
			p.counts.Range(func(addr, _ any) bool {
				if p.table.Peer(addr.(netip.AddrPort)) == nil {
					left++
				}
				return true
			})
		}
		return left == 0
	})
	for _, p := range r.status().Peers {
		if p.Active != 0 {
			r.t.Errorf("%s has %d sessions at rest", p.Addr, p.Active)
		}
	}
}
