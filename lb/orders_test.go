package lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
)

// two is a rig with two literal peers.
func two(t *testing.T, change func(*rig)) (*rig, []*backendServer) {
	t.Helper()
	r := newRig(t)
	peers, _ := backends(t, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{literal(peers[0].addr), literal(peers[1].addr)}
	change(r)
	return r.serve(), peers
}

func (r *rig) order(peer netip.AddrPort, o admin.Order) admin.PeerReply {
	r.t.Helper()
	reply, err := admin.NewClient(r.server.running().admin.Addr(), "").OrderPeer(context.Background(), "db", peer.String(), o)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply
}

// on makes a session on a peer.
func (r *rig) on(peer netip.AddrPort) *net.TCPConn {
	r.t.Helper()
	for range 100 {
		c := r.dial()
		if greeting(r.t, c) == peer {
			return c
		}
		c.Close()
	}
	r.t.Fatalf("nothing reaches %s", peer)
	return nil
}

// lives tells whether a session still carries bytes.
func lives(c *net.TCPConn) bool {
	b := make([]byte, 1)
	_, err := c.Write([]byte("x"))
	if err == nil {
		_, err = io.ReadFull(c, b)
	}
	return err == nil
}

func TestDR1DrainReadyAndMaint(t *testing.T) {
	r, peers := two(t, func(r *rig) { r.pool().Check = fastCheck() })
	a := peers[0].addr
	eventually(t, "both up", func() bool { // each first result is an epoch of its own
		p := r.status().Peers
		return len(p) == 2 && p[0].Health == "up" && p[1].Health == "up"
	})
	var held []*net.TCPConn
	for range 50 {
		held = append(held, r.on(a))
	}
	reply := r.order(a, admin.Order{Word: "drain"})
	if !reply.Changed || reply.Peer.State != "drain" || reply.Peer.Admin != "drain" || reply.Peer.Active < 50 || reply.Epoch != r.status().Epoch {
		t.Errorf("%+v", reply)
	}
	for range 100 {
		if who := r.ask(); who == a {
			t.Fatal("a new session on a drained peer")
		}
	}
	for _, c := range held {
		if !lives(c) {
			t.Fatal("a session of a drained peer has ended")
		}
	}
	if again := r.order(a, admin.Order{Word: "drain"}); again.Changed || again.Epoch != reply.Epoch {
		t.Errorf("again: %+v", again)
	}
	if o := r.status().Overrides; len(o) != 1 || o[0].Addr != a.String() || o[0].Admin != "drain" || o[0].Weight != nil {
		t.Errorf("overrides: %+v", o)
	}
	// Maintenance closes what lives, and checks nothing.
	r.order(a, admin.Order{Word: "maint"})
	for _, c := range held {
		if _, err := io.ReadAll(c); err != nil {
			t.Errorf("the client sees %v, want an end", err)
		}
	}
	eventually(t, "no probe any more", func() bool {
		n := peers[0].seen.Load()
		time.Sleep(100 * time.Millisecond)
		return peers[0].seen.Load() == n
	})
	if p := r.status().Peers[0]; p.State != "maint" || p.Health != "unknown" {
		t.Errorf("%+v", p)
	}
	r.order(a, admin.Order{Word: "ready"})
	eventually(t, "up again", func() bool { p := r.status().Peers[0]; return p.State == "up" && p.Health == "up" })
	r.on(a).Close()
	for _, msg := range []string{"peer drain", "peer maint", "peer ready"} {
		if l := r.logs.find(msg); len(l) != 1 || l[0]["peer"] != a.String() || l[0]["reason"] != "admin" || l[0]["epoch"] == nil {
			t.Errorf("%s: %v", msg, l)
		}
	}
	r.closed() // every line is there
	if n := r.words()["admin_killed"]; n != 50 {
		t.Errorf("%d sessions ended with admin_killed, want 50", n)
	}
}

func TestDrainObeysItsPolicy(t *testing.T) {
	for _, tc := range []struct {
		drain, word string
		timeout     time.Duration
		end         string // "" lives on
	}{
		{"keep", "drain", time.Millisecond, ""},
		{"drain", "drain", 0, ""},
		{"drain", "drain", 50 * time.Millisecond, "drained"},
		{"close", "drain", 0, "admin_killed"},
		{"keep", "maint", time.Millisecond, ""},
		{"drain", "maint", 50 * time.Millisecond, "drained"},
		{"close", "maint", 0, "admin_killed"},
	} {
		t.Run(fmt.Sprint(tc.word, " ", tc.drain, " ", tc.timeout), func(t *testing.T) {
			r, peers := two(t, func(r *rig) {
				r.pool().On.AdminDrain, r.pool().On.AdminMaint, r.pool().DrainTimeout = tc.drain, tc.drain, tc.timeout
			})
			c := r.on(peers[0].addr)
			r.order(peers[0].addr, admin.Order{Word: tc.word})
			if tc.end == "" {
				time.Sleep(20 * time.Millisecond) // a timeout of 1 ms would have cut it
				if !lives(c) {
					t.Error("it has ended")
				}
			} else if _, err := io.ReadAll(c); err != nil {
				t.Errorf("the client sees %v, want an end", err)
			}
			c.Close()
			r.closed() // every line is there
			if n := r.words()[tc.end]; tc.end != "" && n != 1 {
				t.Errorf("ends %v, want one %s", r.words(), tc.end)
			}
		})
	}
}

func TestOrdersSurviveDNS(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	r.dns.SetA("db.test", 0, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.serve()
	a := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port)
	r.order(a, admin.Order{Word: "drain"})
	r.order(a, admin.Order{Word: "weight", Weight: 9})
	for range 2 {
		r.dns.SetA("db.test", 0, "127.0.0.3", "127.0.0.4")
		r.awaitListed("127.0.0.3", "127.0.0.4")
		eventually(t, "the peer is gone", func() bool { return len(r.status().Peers) == 2 })
		r.dns.SetA("db.test", 0, "127.0.0.2", "127.0.0.3")
		r.awaitListed("127.0.0.2", "127.0.0.3")
		if p := r.status().Peers[0]; p.State != "drain" || p.Weight != 9 || p.AdminWeight == nil || *p.AdminWeight != 9 {
			t.Errorf("%+v", p)
		}
		for range 6 {
			if r.ask() == a {
				t.Fatal("picked")
			}
		}
	}
	r.order(a, admin.Order{Word: "ready"})
	r.order(a, admin.Order{Word: "weight", Weight: admin.NoWeight})
	seen := map[netip.AddrPort]int{}
	for range 10 {
		seen[r.ask()]++
	}
	if seen[a] != 5 || len(r.status().Overrides) != 0 {
		t.Errorf("%v", seen)
	}
	r.closed()
}

func TestOrdersForWhatIsNotThere(t *testing.T) {
	r, peers := two(t, func(*rig) {})
	for _, tc := range [][3]string{
		{"web", peers[0].addr.String(), `no pool is named "web"`},
		{"db", "127.0.0.9:1", `pool db has no peer "127.0.0.9:1"`},
		{"db", "nonsense", `pool db has no peer "nonsense"`},
	} {
		_, err := r.server.OrderPeer(tc[0], tc[1], admin.Order{Word: "drain"})
		var u *admin.Unknown
		if !errors.As(err, &u) || u.Text != tc[2] || len(u.Pools)+len(u.Peers) == 0 {
			t.Errorf("%v: %v", tc, err)
		}
	}
	// The last peer may be drained; then nobody serves, and readiness says so.
	for _, p := range peers {
		r.order(p.addr, admin.Order{Word: "drain"})
	}
	if ok, why := r.server.Ready(); ok || !strings.Contains(fmt.Sprint(why), "in drain or maint: 2") {
		t.Errorf("%v %v", ok, why)
	}
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no reset: %v", err)
	}
	if ends := r.awaitEnds(1); ends[0] != "no_peer" {
		t.Errorf("%v", ends)
	}
}

func TestUDPFlowLeavesADrainedPeer(t *testing.T) {
	r := newRig(t)
	first := echoUDP(t, "127.0.0.2", 0)
	port := netip.MustParseAddrPort(first.LocalAddr().String()).Port()
	second := echoUDP(t, "127.0.0.3", port)
	r.pool().Backends = []config.Backend{named("127.0.0.2", port), named("127.0.0.3", port)}
	r.listener().Listen[0].Network = "udp"
	r.serve()
	c, err := net.Dial("udp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	ask := func() string {
		t.Helper()
		b := make([]byte, 64)
		c.Write([]byte("who"))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	who, other := ask(), first.LocalAddr().String()
	if who == other {
		other = second.LocalAddr().String()
	}
	r.order(netip.MustParseAddrPort(who), admin.Order{Word: "drain"})
	if again := ask(); again != other {
		t.Errorf("served by %s, which is drained", again)
	}
	if ends := r.awaitEnds(1); ends[0] != "drained" {
		t.Errorf("ends %v", ends)
	}
	r.order(netip.MustParseAddrPort(other), admin.Order{Word: "drain"})
	if again := ask(); again != other {
		t.Errorf("moved to %s, though all are drained", again)
	}
	r.order(netip.MustParseAddrPort(who), admin.Order{Word: "ready"})
	r.order(netip.MustParseAddrPort(other), admin.Order{Word: "maint"})
	if again := ask(); again != who {
		t.Errorf("served by %s under maintenance", again)
	}
	r.server.running().listeners[0].live.killAll(end.Shutdown) // instead of the idle timeout
	r.closed()
}
