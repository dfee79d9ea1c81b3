package lb

import (
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
)

func TestOwnAddressesThatAListenerCovers(t *testing.T) {
	var o ownAddresses
	o.local = map[netip.Addr]bool{netip.MustParseAddr("192.0.2.1"): true, netip.MustParseAddr("2001:db8::1"): true, netip.MustParseAddr("fe80::1"): true}
	o.looked = time.Now()
	for _, tc := range []struct {
		bound, addr string
		want        bool
	}{
		{"127.0.0.1", "127.0.0.1", true},
		{"127.0.0.1", "127.0.0.2", false},
		{"192.0.2.1", "192.0.2.1", true},
		{"0.0.0.0", "192.0.2.1", true},
		{"0.0.0.0", "127.9.9.9", true},
		{"0.0.0.0", "192.0.2.2", false},
		{"0.0.0.0", "2001:db8::1", false},
		{"0.0.0.0", "::1", false},
		{"::", "2001:db8::1", true},
		{"::", "::1", true},
		{"::", "192.0.2.1", true},
		{"::", "127.0.0.1", true},
		{"::", "fe80::1%eth0", true},
		{"::", "192.0.2.2", false},
		{"::1", "::1", true},
	} {
		if got := o.covers(netip.MustParseAddr(tc.bound), netip.MustParseAddr(tc.addr)); got != tc.want {
			t.Errorf("bound to %s, connecting to %s: %v", tc.bound, tc.addr, got)
		}
	}
	var host ownAddresses
	list, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range list {
		p := netip.MustParsePrefix(a.String())
		if !host.isLocal(p.Addr()) {
			t.Errorf("%s is an address of this host", p.Addr())
		}
	}
	if host.isLocal(netip.MustParseAddr("192.0.2.254")) {
		t.Error("192.0.2.254 is no address of this host")
	}
}

func TestDN16ANameThatLeadsToOurselves(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.1", "127.0.0.2")
	list[0].stop() // its address is ours
	at := list[0].addr
	r.listener().Listen = []config.Endpoint{{Network: "tcp", Addr: at}}
	r.dns.SetA("db.test", 0, "127.0.0.1", "127.0.0.2")
	r.dns.Set("_db._tcp.test", "SRV", fmt.Sprintf("_db._tcp.test. 0 IN SRV 0 0 %d me.test.", port))
	r.dns.SetA("me.test", 0, "127.0.0.1")
	s := named("_db._tcp.test", 0)
	s.Type = "srv"
	r.pool().Backends = []config.Backend{named("db.test", port), s}
	r.serve()
	r.awaitListed("127.0.0.2")
	for range 20 {
		if who := r.ask(); who.Addr() == at.Addr() {
			t.Fatal("connected to itself")
		}
	}
	asked := r.dns.QueryCount("db.test", "A")
	eventually(t, "more answers", func() bool { return r.dns.QueryCount("db.test", "A") > asked+5 })
	if lines := r.logs.find("peer refused: ebb listens there itself"); len(lines) != 1 || lines[0]["peer"] != at.String() {
		t.Errorf("%v", lines)
	}
	if n := r.server.refused.all()[refusedKey{"db", "own_listener"}]; n != 1 {
		t.Errorf("counted %d", n)
	}
	r.dns.SetA("db.test", 0, "127.0.0.1") // nothing is left, and that is said
	eventually(t, "not ready", func() bool { ready, _ := r.server.Ready(); return !ready })
	r.closed()
}

// Another protocol on the same address and port is another server.
func TestOurOwnListenerOfAnotherProtocolIsNotUs(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2")
	r.conf.Listeners = append(r.conf.Listeners, r.conf.Listeners[0])
	r.conf.Listeners[1].Name = "udp"
	r.conf.Listeners[1].Pool = "other"
	r.conf.Listeners[1].Listen = []config.Endpoint{{Network: "udp", Addr: list[0].addr}}
	other := r.conf.Pools[0]
	other.Name, other.Backends = "other", []config.Backend{named("192.0.2.1", port)}
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.conf.Pools = append(r.conf.Pools, other)
	r.serve()
	if who := r.ask(); who != list[0].addr {
		t.Errorf("%v", who)
	}
}

func TestALiteralThatIsItsOwnListener(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3")
	list[1].stop()
	at := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.3"), port)
	r.listener().Listen = []config.Endpoint{{Network: "tcp", Addr: at}}
	r.pool().Backends = []config.Backend{named("127.0.0.3", port)}
	// Another pool may send to the first by way of its listener.
	r.conf.Listeners = append(r.conf.Listeners, r.conf.Listeners[0])
	r.conf.Listeners[1].Name, r.conf.Listeners[1].Pool = "chain", "chain"
	r.conf.Listeners[1].Listen = []config.Endpoint{{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0")}}
	r.conf.Pools = append(r.conf.Pools, r.conf.Pools[0])
	r.conf.Pools[1].Name = "chain"
	r.start()
	eventually(t, "it is refused", func() bool { return len(r.logs.find("peer refused: ebb listens there itself")) == 1 })
	eventually(t, "the chain has a peer", func() bool { return len(r.server.Status().Pools[1].Peers) == 1 })
	_, why := r.server.Ready()
	if len(why) == 0 || !strings.Contains(fmt.Sprint(why), at.String()+" refused: ebb listens there itself") {
		t.Errorf("%q", why)
	}
}

// A pool that a reload does not change is told when a listener goes.
func TestAReloadTakesAwayTheListenerThatWasInTheWay(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.serve()
	r.reloads(func(c *config.Config) {
		more := c.Listeners[0]
		more.Name, more.Listen = "more", []config.Endpoint{{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.3:0")}}
		c.Listeners = append(c.Listeners, more)
	}, "listener more: added")
	at := r.server.running().listeners[1].port.addr
	r.dns.SetA("db.test", 0, "127.0.0.3")
	r.reloads(func(c *config.Config) {
		c.Pools[0].Backends = []config.Backend{named("127.0.0.2", port), named("db.test", at.Port())}
	}, "pool db: changed backend")
	eventually(t, "it is refused", func() bool { return len(r.logs.find("peer refused: ebb listens there itself")) == 1 })
	r.awaitListed("127.0.0.2")
	r.reloads(func(c *config.Config) { c.Listeners = c.Listeners[:1] }, "listener more: removed")
	r.awaitListed("127.0.0.2", "127.0.0.3")
}
