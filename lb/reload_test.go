package lb

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// another is a config like that which runs, changed.
func (r *rig) another(change func(*config.Config)) *config.Config {
	c := *r.server.running().conf
	c.Resolvers, c.Listeners, c.Pools = slices.Clone(c.Resolvers), slices.Clone(c.Listeners), slices.Clone(c.Pools)
	for i := range c.Pools {
		c.Pools[i].Backends = slices.Clone(c.Pools[i].Backends)
		if check := c.Pools[i].Check; check != nil {
			other := *check
			c.Pools[i].Check = &other
		}
	}
	change(&c)
	return &c
}

// reload changes what runs.
func (r *rig) reload(change func(*config.Config)) ([]string, error) {
	r.next.Store(r.another(change))
	return r.server.Reload()
}

func (r *rig) reloads(change func(*config.Config), want ...string) {
	r.t.Helper()
	changes, err := r.reload(change)
	if err != nil || !slices.Equal(changes, want) {
		r.t.Fatalf("reload: %q %v, want %q", changes, err, want)
	}
}

func TestRU4AnUnchangedReloadChangesNothing(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{literal(list[0].addr), literal(list[1].addr)}
	r.pool().Check = fastCheck()
	r.serve()
	r.awaitListed("127.0.0.2", "127.0.0.3")
	eventually(t, "healthy", func() bool { p := r.status().Peers; return p[0].Health == "up" && p[1].Health == "up" })
	c := r.dial()
	greeting(t, c)
	before := r.server.Status()
	for range 20 {
		r.reloads(func(*config.Config) {})
	}
	after := r.server.Status()
	if a, b := before.Pools[0], after.Pools[0]; a.Epoch != b.Epoch || a.Peers[0].Total != b.Peers[0].Total || b.Peers[0].Health != "up" || len(after.Pools) != 1 {
		t.Errorf("%+v became %+v", a, b)
	}
	eventually(t, "a probe to be accepted", func() bool { return list[0].seen.Load() > 0 })
	c.Close()
	r.closed()
}

// Sessions begin, live and end over reloads that change everything that there is.
func TestRU1ReloadsUnderLoadFailNothing(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	r.dns.SetA("db.test", 1, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.listener().Listen[0].Addr = netip.MustParseAddrPort("127.0.0.1:0")
	r.serve()
	var long []*net.TCPConn
	for range 30 {
		c := r.dial()
		greeting(t, c)
		long = append(long, c)
	}
	addr := r.addr()
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 3 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				if n, err := c.Read(make([]byte, 64)); n == 0 {
					t.Errorf("a session failed: %v", err)
				}
				c.Close()
			}
		})
	}
	for i := range 100 {
		_, err := r.reload(func(c *config.Config) {
			l, p := &c.Listeners[0], &c.Pools[0]
			switch i % 8 {
			case 0:
				l.IdleTimeout = time.Duration(i+100) * time.Second
			case 1:
				l.Name = fmt.Sprintf("front%d", i)
			case 2:
				p.Backends = append(p.Backends, literal(list[2].addr))
			case 3:
				p.Backends = p.Backends[:1]
			case 4:
				p.Balance = map[string]string{"roundrobin": "leastconn", "leastconn": "roundrobin"}[p.Balance]
			case 5:
				c.Resolvers[0].Attempts++
			case 6:
				p.Name = fmt.Sprintf("db%d", i)
				l.Pool = p.Name
			case 7:
				p.Check = fastCheck()
				if i%16 == 15 {
					p.Check = nil
				}
			}
		})
		if err != nil {
			t.Errorf("reload %d: %v", i, err)
		}
	}
	close(stop)
	load.Wait()
	for i, c := range long {
		word := []byte(fmt.Sprintf("still %d", i))
		got := make([]byte, len(word))
		if _, err := c.Write(word); err != nil {
			t.Errorf("session %d: %v", i, err)
		} else if _, err := io.ReadFull(c, got); err != nil || string(got) != string(word) {
			t.Errorf("session %d: %q %v", i, got, err)
		}
		c.Close()
	}
	eventually(t, "what left is gone", func() bool {
		s := r.server.Status()
		return len(s.Pools) == 1 && len(s.Listeners) == 1
	})
	if ends := r.logs.find("session"); slices.ContainsFunc(ends, func(l map[string]any) bool {
		return l["end"] != "client_fin" && l["end"] != "client_reset" && l["end"] != "server_fin" && l["end"] != "server_reset"
	}) {
		t.Error("a session ended otherwise than by its client")
	}
	eventually(t, "rest", func() bool { return r.server.running().active() == 0 })
}

func TestRU3AddressesStayWhenThePortChangesWhileDNSFails(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2")
	other, otherPort := backends(t, "127.0.0.2")
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.serve()
	if who := r.ask(); who != list[0].addr {
		t.Fatal(who)
	}
	r.dns.Rcode("db.test", dns.RcodeServerFailure)
	r.reloads(func(c *config.Config) { c.Pools[0].Backends[0].Port = int(otherPort) }, "pool db: changed backend")
	if who := r.ask(); who != other[0].addr {
		t.Errorf("served by %v", who)
	}
	r.closed()
}

func TestDNS53AReloadWhileDNSIsDead(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2")
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.pool().Check = fastCheck()
	r.serve()
	eventually(t, "healthy", func() bool { return r.status().Peers[0].Health == "up" })
	c := r.dial()
	greeting(t, c)
	r.dns.Silent("", true)
	before := r.status()
	r.reloads(func(c *config.Config) { c.Listeners[0].HalfCloseTimeout = time.Hour }, "listener front: changed half_close_timeout")
	after := r.status()
	if after.Epoch != before.Epoch || after.Peers[0].Active != 1 || after.Peers[0].Health != "up" {
		t.Errorf("%+v", after)
	}
	// Another resolver, which fails as well: what is in force stays.
	r.reloads(func(c *config.Config) { c.Resolvers[0].EDNSSize = 1400 }, "resolver default: changed edns_size")
	eventually(t, "a failure", func() bool { n := r.server.Status().DNS; return len(n) == 1 && n[0].Kind == "failure" })
	if who := r.ask(); who != list[0].addr || r.status().Epoch != before.Epoch {
		t.Errorf("served by %v, epoch %d", who, r.status().Epoch)
	}
	r.dns.Silent("", false)
	eventually(t, "an answer", func() bool { return r.server.Status().DNS[0].Kind == "ok" })
	c.Close()
	r.closed()
}

func TestRU5WeightsAloneMoveNoSession(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{literal(list[0].addr), literal(list[1].addr)}
	r.serve()
	r.awaitListed("127.0.0.2", "127.0.0.3")
	var long []*net.TCPConn
	for range 4 {
		c := r.dial()
		greeting(t, c)
		long = append(long, c)
	}
	r.reloads(func(c *config.Config) { c.Pools[0].Backends[0].Weight = 0 }, "pool db: changed backend")
	for range 30 {
		if who := r.ask(); who != list[1].addr {
			t.Errorf("served by %v", who)
		}
	}
	for _, c := range long {
		if _, err := c.Write([]byte{1}); err != nil {
			t.Error(err)
		}
		if _, err := io.ReadFull(c, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		c.Close()
	}
	r.closed()
}

func TestRU6AReloadIsAllOrNothing(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.serve()
	addr := r.addr()
	long := r.dial()
	greeting(t, long)
	taken := listenOn(t, "127.0.0.1", 0)
	before := r.server.Status()
	free := listenOn(t, "127.0.0.4", 0) // no client has a port there
	freeAddr := netip.MustParseAddrPort(free.Addr().String())
	free.Close()
	change := func(z netip.AddrPort) func(*config.Config) {
		return func(c *config.Config) {
			y := c.Listeners[0]
			y.Name, y.Listen = "y", []config.Endpoint{{Network: "tcp", Addr: freeAddr}}
			c.Listeners = []config.Listener{y}
			if z.IsValid() {
				y.Name, y.Listen = "z", []config.Endpoint{{Network: "tcp", Addr: z}}
				c.Listeners = append(c.Listeners, y)
			}
			c.Pools[0].ConnectAttempts = 1
		}
	}
	_, err := r.reload(change(netip.MustParseAddrPort(taken.Addr().String())))
	if err == nil || !strings.Contains(err.Error(), "listener z") || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("reload: %v", err)
	}
	after := r.server.Status()
	if len(after.Listeners) != 1 || after.Listeners[0].Address != before.Listeners[0].Address || after.Pools[0].Epoch != before.Pools[0].Epoch {
		t.Errorf("%+v", after.Listeners)
	}
	if who := r.ask(); who != list[0].addr || r.server.running().pools[0].conf().ConnectAttempts != 3 {
		t.Errorf("served by %v", who)
	}
	again := listenOn(t, "127.0.0.4", freeAddr.Port()) // what had been bound for it is free again
	again.Close()

	r.reloads(change(netip.AddrPort{}), "pool db: changed connect_attempts", "listener front: removed", "listener y: added")
	if _, err := net.Dial("tcp", addr); err == nil {
		t.Error("the removed listener accepts")
	}
	if st := r.server.Status(); len(st.Listeners) != 2 || st.Listeners[0].Name != "y" || !st.Listeners[1].Leaving {
		t.Errorf("%+v", st.Listeners)
	}
	if _, err := long.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(long, make([]byte, 1)); err != nil {
		t.Errorf("a session of the removed listener: %v", err)
	}
	if who := r.ask(); who != list[0].addr {
		t.Errorf("served by %v", who)
	}
	long.Close()
	eventually(t, "the removed listener is gone", func() bool { return len(r.server.Status().Listeners) == 1 })
}

// A pool whose table cannot stay gets another, and what operators have said of its addresses with it.
func TestReloadTheAdminStateOutlivesTheTable(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{literal(list[0].addr), literal(list[1].addr)}
	r.serve()
	r.awaitListed("127.0.0.2", "127.0.0.3")
	long := r.dial()
	greeting(t, long)
	if _, err := r.server.OrderPeer("db", list[0].addr.String(), admin.Order{Word: "drain"}); err != nil {
		t.Fatal(err)
	}
	r.anotherTable()
	for range 10 {
		if who := r.ask(); who != list[1].addr {
			t.Errorf("served by %v", who)
		}
	}
	if st := r.server.Status(); len(st.Pools) != 2 || st.Pools[0].Peers[0].State != "drain" || !st.Pools[1].Leaving {
		t.Errorf("%+v", st.Pools)
	}
	if _, err := r.server.OrderPeer("db", list[0].addr.String(), admin.Order{Word: "ready"}); err != nil {
		t.Fatal(err)
	}
	r.share(10)
	long.Close()
	eventually(t, "one pool", func() bool { return len(r.server.Status().Pools) == 1 })
	r.reloads(func(c *config.Config) { // and one that is gone for good
		c.Pools[0].Name, c.Listeners[0].Pool = "other", "other"
	}, "pool db: removed", "pool other: added", "listener front: changed pool")
	eventually(t, "one pool", func() bool { s := r.server.Status(); return len(s.Pools) == 1 && s.Pools[0].Name == "other" })
	eventually(t, "rest", func() bool { return r.server.running().active() == 0 })
}

// A check that is asked for differently begins anew; until it has spoken, the last word of the old one counts.
func TestReloadOfACheckForgetsNoHealth(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{literal(list[0].addr), literal(list[1].addr)}
	r.pool().Check = fastCheck()
	r.serve()
	list[0].ln.Close()
	eventually(t, "one is down", func() bool { p := r.status().Peers; return p[0].Health == "down" && p[1].Health == "up" })
	epoch := r.status().Epoch
	r.reloads(func(c *config.Config) { c.Pools[0].Check.Interval = 30 * time.Millisecond }, "pool db: changed check.interval")
	for range 20 {
		if who := r.ask(); who != list[1].addr {
			t.Errorf("served by %v", who)
		}
	}
	if now := r.status(); now.Epoch != epoch || now.Peers[0].Health != "down" {
		t.Errorf("%+v", now)
	}
	again := serveBackend(t, "127.0.0.2", list[0].addr.Port())
	eventually(t, "both are up", func() bool { return r.status().Peers[0].Health == "up" })
	_ = again
	r.closed()
}

func TestRU11ReloadsThatMeetAreOne(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.serve()
	r.next.Store(r.another(func(c *config.Config) { c.Pools[0].ConnectAttempts = 9 }))
	var all sync.WaitGroup
	for range 1000 {
		all.Go(func() {
			if _, err := r.server.Reload(); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	if n := r.loads.Load(); n >= 1000 || r.server.running().pools[0].conf().ConnectAttempts != 9 {
		t.Errorf("%d runs for 1000 requests", n)
	}
	r.ask()
	r.closed()
}

// What takes a restart is named each time, and the rest is done.
func TestReloadNamesWhatNeedsARestart(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.serve()
	loops := r.conf.Relay.Loops
	change := func(c *config.Config) { c.Relay.Loops, c.Pools[0].ConnectAttempts = 7, 9 }
	r.reloads(change, "relay: changed loops (needs restart)", "pool db: changed connect_attempts")
	r.reloads(change, "relay: changed loops (needs restart)")
	if now := r.server.running().conf; now.Pools[0].ConnectAttempts != 9 || now.Relay.Loops != loops {
		t.Errorf("%d attempts, %d loops", now.Pools[0].ConnectAttempts, now.Relay.Loops)
	}
	r.reloads(func(c *config.Config) { c.Pools[0].ConnectAttempts = 9 })
	r.ask()
	r.closed()
}

// The log that a reload has made ready is used if all of it can be done, and let go of otherwise.
func TestReloadOfTheLogIsAllOrNothing(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	var used, dropped atomic.Int64
	var fails atomic.Bool
	r.prepareLog = func(c *config.Config) (use, drop func(), err error) {
		if fails.Load() {
			return nil, nil, config.Problems{c.Problem("log.target", "no such place")}
		}
		return func() { used.Add(1) }, func() { dropped.Add(1) }, nil
	}
	r.serve()
	taken := netip.MustParseAddrPort(r.addr())
	elsewhere := func(c *config.Config) {
		c.Log.Format = "text"
		c.Listeners = append(slices.Clone(c.Listeners), c.Listeners[0])
		c.Listeners[1].Name, c.Listeners[1].Listen = "taken", []config.Endpoint{{Network: "tcp", Addr: taken}}
	}
	if _, err := r.reload(elsewhere); err == nil || used.Load() != 0 || dropped.Load() != 1 {
		t.Errorf("%v: used %d, let go %d", err, used.Load(), dropped.Load())
	}
	fails.Store(true)
	if _, err := r.reload(elsewhere); err == nil || !strings.Contains(err.Error(), "log.target: no such place") || !strings.Contains(err.Error(), "listener taken") {
		t.Errorf("%v", err)
	}
	fails.Store(false)
	r.reloads(func(c *config.Config) { c.Log.Format = "text" }, "log: changed format")
	if used.Load() != 1 || dropped.Load() != 1 {
		t.Errorf("used %d, let go %d", used.Load(), dropped.Load())
	}
	r.ask()
	r.closed()
}

func TestRU9DatagramsPassOverAReload(t *testing.T) {
	r := newRig(t)
	peer, err := net.ListenPacket("udp", "127.0.0.2:0")
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	go func() {
		b := make([]byte, 2048)
		for {
			n, from, err := peer.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = peer.WriteTo(b[:n], from)
		}
	}()
	at := netip.MustParseAddrPort(peer.LocalAddr().String())
	r.listener().Listen[0].Network = "udp"
	r.pool().Backends = []config.Backend{named(at.Addr().String(), at.Port())}
	r.serve()
	c, err := net.Dial("udp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	for i := range 100 {
		word := fmt.Sprint(i)
		if _, err := c.Write([]byte(word)); err != nil {
			t.Fatal(err)
		}
		if i%10 == 5 {
			if _, err := r.reload(func(c *config.Config) {
				c.Listeners[0].Name = fmt.Sprint("udp", i)
				c.Pools[0].ConnectAttempts = 3 + i
			}); err != nil {
				t.Error(err)
			}
		}
		b := make([]byte, 64)
		if n, err := c.Read(b); err != nil || string(b[:n]) != word {
			t.Fatalf("datagram %d: %q %v", i, b[:n], err)
		}
	}
}

// Whoever is told of reloads hears how each has ended.
func TestReloadsAreTold(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.serve()
	var ends []error
	begun := 0
	r.server.opts.Reloading, r.server.opts.Reloaded = func() { begun++ }, func(err error) { ends = append(ends, err) }
	r.reloads(func(c *config.Config) { c.Pools[0].ConnectAttempts++ }, "pool db: changed connect_attempts")
	broken := config.Problems{{File: "a.toml", Line: 1, Text: "no"}}
	r.server.opts.Load = func() (*config.Config, error) { return nil, broken }
	_, err := r.server.Reload()
	if begun != 2 || len(ends) != 2 || ends[0] != nil || err == nil || ends[1] != err {
		t.Errorf("%d reloads begun, ended with %v, and the last one with %v", begun, ends, err)
	}
}
