package lb

import (
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
)

// udpClient is a client of a rig whose listener is UDP.
type udpClient struct {
	*net.UDPConn
	r *rig
}

func (r *rig) udp() udpClient {
	r.t.Helper()
	c, err := net.Dial("udp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return udpClient{c.(*net.UDPConn), r}
}

func (c udpClient) send() {
	c.r.t.Helper()
	if _, err := c.Write([]byte("who")); err != nil {
		c.r.t.Fatal(err)
	}
}

// ask says which peer answers.
func (c udpClient) ask() string {
	c.r.t.Helper()
	c.send()
	b := make([]byte, 64)
	n, err := c.Read(b)
	if err != nil {
		c.r.t.Fatal(err)
	}
	return string(b[:n])
}

// datagrams is a rig with a UDP listener and one peer on each address; the peers have one port.
func datagrams(t *testing.T, ips ...string) (r *rig, peers map[string]*net.UDPConn) {
	r = newRig(t)
	r.listener().Listen[0].Network = "udp"
	peers = make(map[string]*net.UDPConn)
	port := uint16(0)
	for _, ip := range ips {
		c := echoUDP(t, ip, port)
		at := netip.MustParseAddrPort(c.LocalAddr().String())
		port = at.Port()
		peers[at.String()] = c
		r.pool().Backends = append(r.pool().Backends, named(ip, port))
	}
	return r, peers
}

// cutAll ends the flows that live, instead of the idle timeout, and checks the books.
func (r *rig) cutAll() {
	r.t.Helper()
	for _, l := range r.server.running().everyListener() {
		l.live.killAll(end.Shutdown)
	}
	r.closed()
}

// UD-7: hash leads a client to the same peer again and again; after a refusal the next datagram goes to another.
func TestUD7NextDatagramGoesToAnotherPeer(t *testing.T) {
	r, peers := datagrams(t, "127.0.0.2", "127.0.0.3")
	r.pool().Balance = "hash"
	r.serve()
	c := r.udp()
	who := c.ask()
	peers[who].Close()
	c.send() // lost with the refusal
	if ends := r.awaitEnds(1); ends[0] != "server_reset" {
		t.Errorf("ends %v", ends)
	}
	if again := c.ask(); again == who {
		t.Errorf("served by %s, which is closed", again)
	}
	r.cutAll()
}

// The only peer is tried again, though it has just refused.
func TestUD7TheOnlyPeerIsTriedAgain(t *testing.T) {
	r, peers := datagrams(t, "127.0.0.2")
	r.serve()
	c := r.udp()
	who := c.ask()
	peers[who].Close()
	c.send()
	r.awaitEnds(1)
	echoUDP(t, "127.0.0.2", netip.MustParseAddrPort(who).Port())
	if again := c.ask(); again != who {
		t.Errorf("served by %s", again)
	}
	r.cutAll()
}

func TestUD8FlowsAboveMaxConnsAreDropped(t *testing.T) {
	r, _ := datagrams(t, "127.0.0.2")
	r.listener().MaxConns = 3
	r.serve()
	var clients []udpClient
	for range 3 {
		c := r.udp()
		c.ask()
		clients = append(clients, c)
	}
	l := r.server.running().listeners[0]
	r.udp().send()
	eventually(t, "the drop", func() bool { return l.dropped.all()["max_conns"] == 1 })
	for _, c := range clients {
		c.ask()
	}
	if n := l.total.Load(); n != 3 {
		t.Errorf("%d flows", n)
	}
	r.server.KillConns(admin.ConnFilter{ID: 1})
	r.awaitEnds(1)
	eventually(t, "its place is free", func() bool { return l.limit.held.Load() == 2 }) // after its line
	r.udp().ask()
	r.cutAll()
}

func TestUD13FlowsFollowTheName(t *testing.T) {
	const flows = 100
	r, peers := datagrams(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 0, "127.0.0.2")
	b := r.pool().Backends[0]
	b.Host = "db.test"
	r.pool().Backends = []config.Backend{b}
	r.serve()
	var clients []udpClient
	for range flows {
		c := r.udp()
		c.ask()
		clients = append(clients, c)
	}
	r.dns.SetA("db.test", 0, "127.0.0.3")
	r.awaitListed("127.0.0.3")
	for _, c := range clients {
		if who := netip.MustParseAddrPort(c.ask()); who.Addr() != netip.MustParseAddr("127.0.0.3") || peers[who.String()] == nil {
			t.Errorf("served by %v", who)
		}
	}
	for _, word := range r.awaitEnds(flows) {
		if word != "peer_removed" {
			t.Errorf("end %s", word)
		}
	}
	eventually(t, "the old peer is gone", func() bool { return len(r.status().Peers) == 1 })
	r.cutAll()
}

func TestUD16ModesAreOfTheConfigAndOfItsReload(t *testing.T) {
	r, _ := datagrams(t, "127.0.0.2")
	r.listener().Mode, r.listener().Responses = "reqresp", 1
	r.serve()
	c := r.udp()
	for n := range 3 {
		c.ask()
		if ends := r.awaitEnds(n + 1); slices.ContainsFunc(ends, func(w string) bool { return w != "complete" }) {
			t.Fatalf("ends %v", ends)
		}
	}
	if _, err := r.reload(func(c *config.Config) { c.Listeners[0].Mode = "oneway" }); err != nil {
		t.Fatal(err)
	}
	c.send()
	l := r.server.running().listeners[0]
	eventually(t, "the answer is dropped", func() bool { return l.dropped.all()["one_way"] == 1 })
	r.cutAll()
}

func TestUD9OwnListenersAreNoClients(t *testing.T) {
	r, _ := datagrams(t, "127.0.0.2")
	r.serve()
	at := netip.MustParseAddrPort(r.addr())
	owner := flowOwner{r.server.running().listeners[0].port}
	for _, tc := range []struct {
		addr netip.AddrPort
		own  bool
	}{
		{at, true},
		{netip.AddrPortFrom(at.Addr(), at.Port()^1), false},
		{netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), at.Port()), false},
	} {
		if got := owner.IsOwn(tc.addr); got != tc.own {
			t.Errorf("%v: %v", tc.addr, got)
		}
	}
}

// A client that may not come in costs nobody else anything, and itself only as long as it may not.
func TestUD14DeniedClientsAreDroppedAlone(t *testing.T) {
	r, _ := datagrams(t, "127.0.0.2")
	r.listener().Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
	r.serve()
	at := net.UDPAddrFromAddrPort(netip.MustParseAddrPort(r.addr()))
	c, err := net.DialUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 9)}, at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	denied := udpClient{c, r}
	other := r.udp()
	other.ask()
	denied.send()
	l := r.server.running().listeners[0]
	eventually(t, "the drop", func() bool { return l.dropped.all()["denied"] == 1 })
	other.ask()
	r.udp().ask()
	r.reloads(func(c *config.Config) { c.Listeners[0].Deny = nil }, "listener front: changed deny")
	denied.ask()
	if n := l.total.Load(); n != 3 {
		t.Errorf("%d flows", n)
	}
	r.cutAll()
}

// Ports and descriptors are this host's: a new flow for which there are none is dropped for that reason, nobody is blamed, and
// flows that live go on.
func TestOutOfPortsIsNoPeersFault(t *testing.T) {
	r, peers := datagrams(t, "127.0.0.2")
	r.pool().Socket.SourcePorts = [2]uint16{41000, 41001}
	if problems := Probe(r.conf); len(problems) > 0 {
		t.Skip("not here: ", problems)
	}
	r.serve()
	l := r.server.running().listeners[0]
	flows := func() int {
		list, _ := r.server.Conns(admin.ConnFilter{})
		return len(list)
	}
	var live []udpClient
	for range 6 {
		c := r.udp()
		before := l.dropped.all()["no_source_port"]
		c.send()
		eventually(t, "a flow or a drop", func() bool {
			return l.dropped.all()["no_source_port"] > before || flows() > len(live)
		})
		if flows() > len(live) {
			live = append(live, c)
			if _, err := c.Read(make([]byte, 64)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if drops := l.dropped.all(); len(live) > 2 || drops["no_source_port"] != uint64(6-len(live)) || len(drops) != 1 { // others may hold the ports
		t.Errorf("%d flows, dropped %v", len(live), drops)
	}
	for _, c := range live {
		c.ask()
	}
	for _, p := range r.status().Peers {
		if p.State != "up" || peers[p.Addr] == nil {
			t.Errorf("%+v", p)
		}
	}
	r.cutAll()
}

// Flows are shared out as sessions are: 5/5 and 3/6 by leastconn, who stands by has nothing, and all when the others are out (nginx:
// stream_udp_upstream).
func TestRH6FlowsAreSharedOut(t *testing.T) {
	r, peers := datagrams(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	r.pool().Balance, r.pool().MaxConns = "leastconn", 100 // with a limit, loops count in common
	r.pool().Backends[2].Tier = 1
	r.serve()
	r.awaitListed("127.0.0.2", "127.0.0.3", "127.0.0.4")
	share := func(flows int, want ...int) {
		t.Helper()
		seen := make(map[string]int)
		for range flows {
			seen[r.udp().ask()[len("127.0.0."):][:1]]++
		}
		if got := []int{seen["2"], seen["3"], seen["4"]}; !slices.Equal(got, want) {
			t.Errorf("%d flows: %v, expected %v", flows, got, want)
		}
		for _, l := range r.server.running().everyListener() {
			l.live.killAll(end.Shutdown)
		}
		eventually(t, "no flow", func() bool {
			return r.status().Peers[0].Active+r.status().Peers[1].Active+r.status().Peers[2].Active == 0
		})
	}
	share(10, 5, 5, 0)
	r.reloads(func(c *config.Config) { c.Pools[0].Backends[1].Weight = 2 }, "pool db: changed backend")
	share(9, 3, 6, 0)
	for at := range peers {
		if !strings.HasPrefix(at, "127.0.0.4:") {
			r.order(netip.MustParseAddrPort(at), admin.Order{Word: "maint"})
		}
	}
	share(10, 0, 0, 10)
	r.cutAll()
}

// LI-5: what UDP keeps for flows to come is given up when TCP lacks a descriptor.
func TestLI5IdleSocketsGiveWay(t *testing.T) {
	r := newRig(t)
	peer, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
	if err != nil {
		t.Fatal(err)
	}
	defer peer.Close()
	at := netip.MustParseAddrPort(peer.LocalAddr().String())
	r.listener().Listen[0].Network, r.listener().Mode, r.listener().Responses = "udp", "reqresp", 1
	r.pool().Backends = append(r.pool().Backends, named(at.Addr().String(), at.Port()))
	r.start()
	c := r.udp()
	flow := func() (from netip.AddrPort) {
		c.send()
		b := make([]byte, 8)
		peer.SetReadDeadline(time.Now().Add(patience))
		n, from, err := peer.ReadFromUDPAddrPort(b)
		if err == nil {
			_, err = peer.WriteToUDPAddrPort(b[:n], from)
		}
		if err == nil {
			_, err = c.Read(b)
		}
		if err != nil {
			t.Fatal(err)
		}
		return from
	}
	first := flow()
	for _, p := range r.server.running().ports() {
		p.acceptFailed("emfile")
	}
	flow() // turns of the loop
	again, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(first))
	if err != nil {
		t.Fatalf("the socket of the first flow is there: %v", err)
	}
	again.Close()
}
