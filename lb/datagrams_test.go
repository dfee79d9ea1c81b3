package lb

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/internal/flow"
)

func TestBatchesAreCountedBySize(t *testing.T) {
	var r received
	for _, n := range []int{1, 1, 2, 3, 4, 5, 64, 65, 4096} {
		r.add(n)
	}
	want := []uint64{2, 1, 2, 1, 0, 0, 1, 2}
	for i := range r.batches {
		if n := r.batches[i].Load(); n != want[i] {
			t.Errorf("up to %s: %d, want %d", admin.UDPBatch.Bucket(i), n, want[i])
		}
	}
	if n := r.datagrams.Load(); n != 4241 {
		t.Errorf("%d datagrams", n)
	}
}

// What a UDP listener has seen stands in /v1/status and in /metrics, with the reasons of what it has dropped.
func TestDatagramsAreInStatusAndMetrics(t *testing.T) {
	r, _ := datagrams(t, "127.0.0.2")
	r.listener().MaxConns = 1
	r.serve()
	r.udp().ask()
	r.udp().send()
	l := r.server.running().listeners[0]
	eventually(t, "the drop", func() bool { return l.dropped.all()["max_conns"] == 1 })
	flowOwner{l.port}.Overflowed(flow.In, 3)
	flowOwner{l.port}.Overflowed(flow.Out, 4)
	flowOwner{l.port}.Joined(flow.In, 5)
	client := admin.NewClient(r.server.running().admin.Addr(), "")
	st, err := client.Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	d := st.Listeners[0].Datagrams
	if d == nil || d.Received["in"] != 2 || d.Received["out"] != 1 || d.Batches["out"]["1"] != 1 || d.Batches["in"]["+Inf"] != 0 || d.Joined["in"] != 5 || d.Joined["out"] != 0 {
		t.Errorf("%+v", d)
	}
	if want := map[string]uint64{"max_conns": 1, "overflow": 3, "reply_overflow": 4}; !maps.Equal(d.Dropped, want) {
		t.Errorf("dropped %v, want %v", d.Dropped, want)
	}
	reply, err := http.Get("http://" + r.server.running().admin.Addr() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer reply.Body.Close()
	text, err := io.ReadAll(reply.Body)
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for _, want := range []string{
		"# TYPE ebb_udp_batch_datagrams histogram",
		`ebb_udp_batch_datagrams_bucket{direction="out",listener="front",le="1"} 1`,
		`ebb_udp_batch_datagrams_bucket{direction="out",listener="front",le="64"} 1`,
		`ebb_udp_batch_datagrams_bucket{direction="out",listener="front",le="+Inf"} 1`,
		`ebb_udp_batch_datagrams_sum{direction="in",listener="front"} 2`,
		`ebb_udp_batch_datagrams_count{direction="out",listener="front"} 1`,
		`ebb_udp_joined_total{direction="in",listener="front"} 5`,
		`ebb_udp_dropped_total{listener="front",reason="overflow"} 3`,
		`ebb_udp_dropped_total{listener="front",reason="max_conns"} 1`,
	} {
		if !slices.Contains(lines, want) {
			t.Errorf("no line %s", want)
		}
	}
	r.cutAll()
}

// Flows are listed like TCP sessions, and the same filters choose among them.
func TestConnsListsFlows(t *testing.T) {
	r, _ := datagrams(t, "127.0.0.2", "127.0.0.3")
	r.pool().Balance = "roundrobin"
	r.serve()
	one, two := r.udp(), r.udp()
	who := one.ask()
	two.ask()
	epoch := r.status().Epoch
	client := admin.NewClient(r.server.running().admin.Addr(), "")
	for _, tc := range []struct {
		f    admin.ConnFilter
		want int
	}{
		{admin.ConnFilter{}, 2},
		{admin.ConnFilter{Listener: "front", Pool: "db", Epoch: epoch}, 2},
		{admin.ConnFilter{Epoch: epoch + 1}, 0},
		{admin.ConnFilter{Peer: who}, 1},
		{admin.ConnFilter{Peer: "127.0.0.4"}, 0},
		{admin.ConnFilter{Source: netip.MustParsePrefix("127.0.0.1/32")}, 2},
		{admin.ConnFilter{Source: netip.MustParsePrefix("10.0.0.0/8")}, 0},
	} {
		if list, n, err := client.Conns(context.Background(), tc.f); err != nil || len(list) != tc.want || n != tc.want {
			t.Errorf("%+v: %d of %d, want %d: %v", tc.f, len(list), n, tc.want, err)
		}
	}
	var c admin.Conn
	eventually(t, "the bytes are counted", func() bool {
		list, _, err := client.Conns(context.Background(), admin.ConnFilter{Peer: who})
		if err != nil || len(list) != 1 {
			t.Fatal(list, err)
		}
		c = list[0]
		return c.Out > 0
	})
	up, err := netip.ParseAddrPort(c.Upstream)
	if err != nil || up.Port() == 0 || c.Protocol != "udp" || c.Peer != who || c.Client != one.LocalAddr().String() || c.Local != r.addr() ||
		c.Epoch != epoch || c.In != 3 || c.Out != int64(len(who)) || c.Age <= 0 || c.Idle < 0 || c.Idle > c.Age {
		t.Errorf("%+v", c)
	}
	if err := client.KillConn(context.Background(), c.ID); err != nil {
		t.Fatal(err)
	}
	if ends := r.awaitEnds(1); ends[0] != "admin_killed" {
		t.Errorf("ends %v", ends)
	}
	r.cutAll()
}
