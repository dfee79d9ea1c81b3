package lb

import (
	"io"
	"net"
	"testing"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// What is on a backup when the primary is back has the fate that on.failback gives it.
func TestFailbackDecidesOnSessions(t *testing.T) {
	for _, word := range []string{"keep", "close", "quiet"} {
		t.Run(word, func(t *testing.T) {
			r, peers := primaryAndBackup(t, func(p *config.Pool) { p.On.Failback = word })
			onPrimary := r.dial()
			greeting(t, onPrimary)
			r.order(peers[0].addr, admin.Order{Word: "drain"})
			onBackup := r.dial()
			if who := greeting(t, onBackup); who != peers[1].addr {
				t.Fatalf("served by %s", who)
			}
			r.order(peers[0].addr, admin.Order{Word: "ready"})
			switch word {
			case "keep":
				if !lives(onBackup) {
					t.Error("the session on the backup does not live")
				}
				r.reloads(func(c *config.Config) { c.Pools[0].On.Failback = "close" }, "pool db: changed on.failback")
				fallthrough
			default:
				if _, err := onBackup.Read(make([]byte, 1)); err != io.EOF {
					t.Errorf("the session on the backup sees %v, expected its end", err)
				}
			}
			if !lives(onPrimary) {
				t.Error("the session on the primary does not live")
			}
			if ends := r.awaitEnds(1); ends[0] != "drained" {
				t.Errorf("ends %v", ends)
			}
			again := r.dial()
			if who := greeting(t, again); who != peers[0].addr {
				t.Errorf("served by %s", who)
			}
			for _, c := range []net.Conn{onPrimary, again} {
				c.Close()
			}
			r.closed()
		})
	}
}

func TestFailbackMovesFlows(t *testing.T) {
	r, _ := datagrams(t, "127.0.0.2", "127.0.0.3")
	r.pool().Backends[1].Tier = 1
	r.pool().On.Failback = "drain"
	r.serve()
	c := r.udp()
	primary := c.ask()
	addr := r.status().Peers[0]
	if addr.Addr != primary {
		t.Fatalf("served by %s, expected %s", primary, addr.Addr)
	}
	say := func(word string) {
		t.Helper()
		if _, err := r.server.OrderPeer("db", primary, admin.Order{Word: word}); err != nil {
			t.Fatal(err)
		}
	}
	say("drain")
	if who := c.ask(); who == primary {
		t.Errorf("served by %s, which is drained", who)
	}
	say("ready")
	if who := c.ask(); who != primary {
		t.Errorf("served by %s, which stands by", who)
	}
	for _, end := range r.awaitEnds(2) {
		if end != "drained" {
			t.Errorf("end %s", end)
		}
	}
	r.cutAll()
}
