package lb

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// literal is a backend that is an address.
func literal(addr netip.AddrPort) config.Backend { return named(addr.Addr().String(), addr.Port()) }

func TestConnsListsWhatLives(t *testing.T) {
	r := newRig(t)
	peers, _ := backends(t, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{literal(peers[0].addr), literal(peers[1].addr)}
	r.serve()
	client := admin.NewClient(r.server.running().admin.Addr(), "")
	ask := func(f admin.ConnFilter) ([]admin.Conn, int) {
		t.Helper()
		list, n, err := client.Conns(context.Background(), f)
		if err != nil {
			t.Fatal(err)
		}
		return list, n
	}
	if list, n := ask(admin.ConnFilter{}); len(list) != 0 || n != 0 || list == nil {
		t.Errorf("before any session: %v %d", list, n)
	}
	var held []*net.TCPConn
	on := make(map[string]*net.TCPConn)
	for range 2 {
		c := r.dial()
		on[greeting(t, c).String()] = c
		held = append(held, c)
	}
	fmt.Fprint(held[0], "four")
	if _, err := io.ReadFull(held[0], make([]byte, 4)); err != nil {
		t.Fatal(err)
	}
	epoch := r.status().Epoch
	var list []admin.Conn
	eventually(t, "the bytes are counted", func() bool {
		list, _ = ask(admin.ConnFilter{})
		return len(list) == 2 && list[0].In == 4 && list[0].Out > 4
	})
	for i, c := range list {
		conn := on[c.Peer]
		up, err := netip.ParseAddrPort(c.Upstream)
		if conn == nil || err != nil || up.Port() == 0 || c.Client != conn.LocalAddr().String() || c.Local != r.addr() || c.Listener != "front" ||
			c.Pool != "db" || c.Protocol != "tcp" || c.Epoch != epoch || c.ID == 0 || c.Age <= 0 || c.Idle < 0 || c.Idle > c.Age {
			t.Errorf("%d: %+v", i, c)
		}
	}
	if list[0].ID >= list[1].ID {
		t.Errorf("not in order: %+v", list)
	}
	quiet := list[0].Idle
	eventually(t, "nothing moves, and idle grows", func() bool { l, _ := ask(admin.ConnFilter{}); return l[0].Idle > quiet+0.02 })
	fmt.Fprint(held[0], "x")
	eventually(t, "something moved, and idle is small again", func() bool {
		l, _ := ask(admin.ConnFilter{})
		return l[0].In == 5 && l[0].Idle < l[1].Idle
	})
	source := netip.MustParseAddrPort(list[0].Client)
	for _, tc := range []struct {
		f    admin.ConnFilter
		want int
	}{
		{admin.ConnFilter{ID: list[1].ID}, 1},
		{admin.ConnFilter{Listener: "front", Pool: "db", Epoch: epoch}, 2},
		{admin.ConnFilter{Epoch: epoch + 1}, 0},
		{admin.ConnFilter{Peer: peers[0].addr.String()}, 1},
		{admin.ConnFilter{Peer: "127.0.0.2"}, 1},
		{admin.ConnFilter{Peer: "127.0.0.4"}, 0},
		{admin.ConnFilter{Source: netip.MustParsePrefix("127.0.0.0/8")}, 2},
		{admin.ConnFilter{Source: netip.PrefixFrom(source.Addr(), 32)}, 2},
		{admin.ConnFilter{Source: netip.MustParsePrefix("10.0.0.0/8")}, 0},
		{admin.ConnFilter{MinAge: time.Hour}, 0},
		{admin.ConnFilter{MinAge: time.Nanosecond}, 2},
	} {
		if got, n := ask(tc.f); len(got) != tc.want || n != tc.want {
			t.Errorf("%+v: %d of %d, want %d", tc.f, len(got), n, tc.want)
		}
	}
	for _, tc := range []struct {
		f    admin.ConnFilter
		want string
	}{
		{admin.ConnFilter{Listener: "back"}, `no listener is named "back", expected one of front`},
		{admin.ConnFilter{Pool: "other"}, `no pool is named "other", expected one of db`},
	} {
		if _, _, err := client.Conns(context.Background(), tc.f); err == nil || err.Error() != tc.want {
			t.Errorf("%+v: %v", tc.f, err)
		}
		if _, err := client.KillConns(context.Background(), tc.f); err == nil || err.Error() != tc.want {
			t.Errorf("kill of %+v: %v", tc.f, err)
		}
	}
	if got, n := ask(admin.ConnFilter{Limit: 1}); len(got) != 1 || got[0].ID != list[0].ID || n != 2 {
		t.Errorf("one: %+v of %d", got, n)
	}
	for _, c := range held {
		c.Close()
	}
	r.closed()
	if list, n := ask(admin.ConnFilter{}); len(list) != 0 || n != 0 {
		t.Errorf("at rest: %v %d", list, n)
	}
}

// However many there are, and in whatever order they come, the oldest are kept.
func TestTheOldestAreKept(t *testing.T) {
	for _, tc := range []struct{ of, most, want int }{{0, 10, 0}, {9, 10, 9}, {10, 10, 10}, {1000, 10, 10}, {1000, 1, 1}, {1000, 0, 1000}} {
		o := oldest{most: tc.most}
		for _, i := range rand.Perm(tc.of) {
			o.add(settled{live: &parked{trip{id: uint64(i)}}})
		}
		ids := make(map[uint64]bool)
		for _, c := range o.list {
			ids[c.walk().id] = true
			if c.walk().id >= uint64(tc.want) {
				t.Errorf("%+v: %d is kept", tc, c.walk().id)
			}
		}
		if len(ids) != tc.want || len(o.list) != tc.want {
			t.Errorf("%+v: %d are kept", tc, len(o.list))
		}
	}
}

func TestKillEndsWhatIsMeant(t *testing.T) {
	r := newRig(t)
	peers, _ := backends(t, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{literal(peers[0].addr), literal(peers[1].addr)}
	r.serve()
	client := admin.NewClient(r.server.running().admin.Addr(), "")
	on := make(map[netip.AddrPort][]*net.TCPConn)
	for range 4 {
		c := r.dial()
		who := greeting(t, c)
		on[who] = append(on[who], c)
	}
	list, _, err := client.Conns(context.Background(), admin.ConnFilter{Peer: peers[0].addr.String()})
	if err != nil || len(list) != 2 {
		t.Fatal(list, err)
	}
	if err := client.KillConn(context.Background(), list[0].ID); err != nil {
		t.Fatal(err)
	}
	eventually(t, "one is gone", func() bool { return r.server.running().active() == 3 })
	if err := client.KillConn(context.Background(), list[0].ID); err == nil || err.Error() != fmt.Sprintf("no session has the id %d", list[0].ID) {
		t.Errorf("again: %v", err)
	}
	if n, err := client.KillConns(context.Background(), admin.ConnFilter{Peer: peers[1].addr.String()}); n != 2 || err != nil {
		t.Errorf("by peer: %d %v", n, err)
	}
	eventually(t, "one is left", func() bool { return r.server.running().active() == 1 })
	left := 0
	for _, c := range on[peers[0].addr] {
		fmt.Fprint(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 1)); err == nil {
			left++
			c.Close()
		}
	}
	if left != 1 {
		t.Errorf("%d sessions of the first peer live", left)
	}
	ends := r.awaitEnds(4)
	killed := 0
	for _, word := range ends {
		if word == "admin_killed" {
			killed++
		}
	}
	if killed != 3 {
		t.Errorf("ends: %v", ends)
	}
	if n := len(r.logs.find("sessions killed")); n != 2 {
		t.Errorf("%d lines say so", n)
	}
	r.closed()
}

func TestConnsKnowsFlows(t *testing.T) {
	r := newRig(t)
	r.listener().Listen[0].Network = "udp"
	peer := echoUDP(t, "127.0.0.2", 0).LocalAddr().(*net.UDPAddr).AddrPort()
	r.pool().Backends = []config.Backend{literal(peer)}
	r.serve()
	c, err := net.Dial("udp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(c, "four")
	if _, err := c.Read(make([]byte, 10)); err != nil {
		t.Fatal(err)
	}
	var list []admin.Conn
	eventually(t, "the flow and its bytes", func() bool {
		list, _ = r.server.Conns(admin.ConnFilter{Peer: peer.String()})
		return len(list) == 1 && list[0].In > 0 && list[0].Out > 0
	})
	if list[0].Protocol != "udp" || list[0].Client != c.LocalAddr().String() || list[0].Local != r.addr() || list[0].In != 4 || list[0].Out != int64(len(peer.String())) ||
		list[0].Peer != peer.String() || list[0].Upstream == "" || list[0].Epoch == 0 || list[0].Idle > list[0].Age {
		t.Fatalf("%+v", list)
	}
	if n := r.server.KillConns(admin.ConnFilter{ID: list[0].ID}); n != 1 {
		t.Errorf("%d killed", n)
	}
	if ends := r.awaitEnds(1); ends[0] != "admin_killed" {
		t.Errorf("%v", ends)
	}
	r.closed()
}
