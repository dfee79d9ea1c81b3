package lb

import (
	"context"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

func (r *rig) explain(client string) admin.Explanation {
	r.t.Helper()
	var at netip.AddrPort
	if client != "" {
		var err error
		if at, err = admin.ParseClient(client); err != nil {
			r.t.Fatal(err)
		}
	}
	x, err := admin.NewClient(r.server.running().admin.Addr(), "").Explain(context.Background(), "front", at, "")
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

// standings are the words of all peers, in order.
func standings(peers []admin.Peer) (words []string) {
	for _, p := range peers {
		words = append(words, p.Standing)
	}
	return words
}

// Whoever explain names is who the next client gets.
func TestExplainNamesWhoIsNext(t *testing.T) {
	for _, balance := range []string{"first", "sticky", "hash"} {
		t.Run(balance, func(t *testing.T) {
			r, peers := two(t, func(r *rig) { r.pool().Balance, r.pool().HashKey = balance, "source" })
			for i := range 3 {
				x := r.explain("127.0.0.1")
				if x.Outcome != "peer" || x.Drawn || len(x.Next) != 1 || x.Listener != "front" || x.Pool != "db" || x.Balance != balance || x.Source != "127.0.0.1" {
					t.Fatalf("%+v", x)
				}
				if who := r.ask(); who.String() != x.Next[0] {
					t.Errorf("%s served, and %v was said", who, x.Next)
				}
				word := []string{"drain", "ready", "maint"}[i]
				r.order(peers[0].addr, admin.Order{Word: word})
				if got := standings(r.explain("").Peers)[0]; got != map[string]string{"drain": "drain", "ready": "good", "maint": "maint"}[word] {
					t.Errorf("after %s it is %s", word, got)
				}
			}
			r.closed()
		})
	}
}

func TestExplainSaysWhatAClientWouldGet(t *testing.T) {
	r, peer := one(t, func(p *config.Pool) { p.MaxConns, p.Queue = 1, 1 })
	expect := func(what, outcome, reason string) {
		t.Helper()
		if x := r.explain(""); x.Outcome != outcome || x.Reason != reason || (outcome == "peer") != (len(x.Next) > 0) {
			t.Errorf("%s: %+v", what, x)
		}
	}
	expect("at rest", "peer", "")
	first := r.dial()
	greeting(t, first)
	expect("full", "wait", "every peer is at its limit")
	if x := r.explain(""); x.Peers[0].Standing != "full" || !strings.Contains(x.Peers[0].Why, "max_conns") {
		t.Errorf("%+v", x)
	}
	waits := r.park(1)
	expect("one waits", "refused", "limit (queue)")
	r.hold(true)
	first.Close()
	expect("held", "wait", "an operator holds the pool")
	r.hold(false)
	greeting(t, waits)
	waits.Close()
	eventually(t, "rest", func() bool { return r.explain("").Outcome == "peer" })
	r.order(peer.addr, admin.Order{Word: "drain"})
	expect("drained", "refused", "no_peer")
	r.closed()
}

func TestExplainOfAFullListenerAndOfMissingFacts(t *testing.T) {
	r, _ := two(t, func(r *rig) {
		r.listener().MaxConns = 1
		r.pool().Balance, r.pool().HashKey = "hash", "source_port"
	})
	for client, missing := range map[string]string{"": "the client's address", "127.0.0.1": "the client's port"} {
		if x := r.explain(client); x.Outcome != "unknown" || !strings.Contains(x.Reason, missing) || len(x.Next) != 0 {
			t.Errorf("%+v", x)
		}
	}
	if x := r.explain("127.0.0.1:7"); x.Outcome != "peer" || x.Source != "127.0.0.1:7" || x.Peers[0].Figures["share"] != 0.5 || x.Peers[0].Figures["draw"] <= 0 {
		t.Errorf("%+v", x)
	}
	c := r.dial()
	greeting(t, c)
	if x := r.explain("127.0.0.1:7"); x.Outcome != "refused" || x.Reason != "limit (max_conns)" {
		t.Errorf("%+v", x)
	}
	c.Close()
	if _, err := r.server.Explain("back", netip.AddrPort{}, ""); err == nil || !slices.Equal(err.(*admin.Unknown).Listeners, []string{"front"}) {
		t.Errorf("%v", err)
	}
	r.closed()
}

// The destination is known if the listener has one address.
func TestExplainByDestination(t *testing.T) {
	r, _ := two(t, func(r *rig) { r.pool().Balance, r.pool().HashKey = "hash", "destination" })
	x := r.explain("")
	if who := r.ask(); x.Outcome != "peer" || !slices.Equal(x.Next, []string{who.String()}) {
		t.Errorf("%s served, and %+v was said", who, x)
	}
	p := r.server.running().pools[0]
	anywhere := netip.AddrPortFrom(netip.IPv4Unspecified(), 1)
	if p.missing(netip.AddrPort{}, anywhere, "", false) == "" || p.missing(netip.AddrPort{}, netip.MustParseAddrPort("127.0.0.1:1"), "", true) == "" {
		t.Error("a destination that nobody has said")
	}
	r.closed()
}
