package lb

import (
	"sync"
	"testing"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// Orders of an operator race with reloads that add and remove the peer, change its weight and give its pool another table. In the
// end the last order and the last file hold, both: the weight of an operator goes before that of the file.
func TestRU12OrdersRaceReloads(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2", "127.0.0.3")
	first, second := literal(list[0].addr), literal(list[1].addr)
	r.pool().Backends = []config.Backend{first, second}
	r.serve()
	peer := list[1].addr.String()
	const rounds = 300
	var racing sync.WaitGroup
	racing.Go(func() {
		for i := range rounds {
			_, err := r.reload(func(c *config.Config) {
				p := &c.Pools[0]
				p.Backends = []config.Backend{first, second}
				p.Backends[1].Weight = 1 + i
				if i%5 == 3 {
					p.Backends = p.Backends[:1]
				}
				p.Balance = []string{"roundrobin", "leastconn"}[i/10%2]
				p.ConnectAttempts = 1 + i%7
			})
			if err != nil {
				t.Error(err)
			}
		}
	})
	word, weight := "ready", admin.NoWeight // of the last orders that were done
	racing.Go(func() {
		for i := range rounds {
			next := []string{"drain", "maint", "ready"}[i%3]
			if _, err := r.server.OrderPeer("db", peer, admin.Order{Word: next}); err == nil { // else the peer is away
				word = next
			}
			if _, err := r.server.OrderPeer("db", peer, admin.Order{Word: "weight", Weight: i}); err == nil {
				weight = i
			}
		}
	})
	racing.Wait()
	p := r.server.Status().Pools[0]
	if p.Balance != "leastconn" || len(p.Peers) != 2 || len(r.server.running().pools) != 1 {
		t.Fatalf("%+v", p)
	}
	if last := p.Peers[1]; last.Admin != word || last.AdminWeight == nil || *last.AdminWeight != weight || last.Weight != weight {
		t.Errorf("%+v, want %s with weight %d", last, word, weight)
	}
	if _, err := r.server.OrderPeer("db", peer, admin.Order{Word: "weight", Weight: admin.NoWeight}); err != nil {
		t.Error(err)
	}
	if last := r.server.Status().Pools[0].Peers[1]; last.Weight != rounds {
		t.Errorf("%+v, want the weight of the file, %d", last, rounds)
	}
	r.ask()
}
