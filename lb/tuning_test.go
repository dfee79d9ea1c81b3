package lb

import (
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// primaryAndBackup is a rig with a peer in tier 0 and one in tier 1.
func primaryAndBackup(t *testing.T, change func(*config.Pool)) (*rig, []*backendServer) {
	t.Helper()
	return two(t, func(r *rig) {
		r.pool().Backends[1].Tier = 1
		change(r.pool())
	})
}

// awaitServedBy asks until a peer serves.
func (r *rig) awaitServedBy(b *backendServer) {
	r.t.Helper()
	eventually(r.t, "served by "+b.addr.String(), func() bool { return r.ask() == b.addr })
}

// allTo makes 30 sessions, which all have to be served by one peer.
func (r *rig) allTo(b *backendServer) {
	r.t.Helper()
	for i := range 30 {
		if who := r.ask(); who != b.addr {
			r.t.Fatalf("session %d went to %s, expected %s", i, who, b.addr)
		}
	}
}

// The primary fails and recovers: 30 of 30 sessions go to the backup, then, when failback lets them, 30 of 30 to the primary.
func TestRH6PrimariesRecover(t *testing.T) {
	r, peers := primaryAndBackup(t, func(p *config.Pool) { p.Failback = config.NeverFailback })
	r.allTo(peers[0])
	r.order(peers[0].addr, admin.Order{Word: "drain"})
	r.allTo(peers[1])
	r.order(peers[0].addr, admin.Order{Word: "ready"})
	r.allTo(peers[1])
	if p := r.status().Peers[0]; p.State != "standby" || p.Standing != "standby" {
		t.Errorf("the primary is %s, %s", p.State, p.Standing)
	}
	r.reloads(func(c *config.Config) { c.Pools[0].Failback = time.Hour }, "pool db: changed failback")
	r.allTo(peers[1])
	r.reloads(func(c *config.Config) { c.Pools[0].Failback = 0 }, "pool db: changed failback")
	r.allTo(peers[0])
	r.reloads(func(c *config.Config) { c.Pools[0].Failback = 50 * time.Millisecond }, "pool db: changed failback")
	r.order(peers[0].addr, admin.Order{Word: "drain"})
	r.allTo(peers[1])
	r.order(peers[0].addr, admin.Order{Word: "ready"})
	r.awaitServedBy(peers[0])
	r.allTo(peers[0])
	r.reloads(func(c *config.Config) { c.Pools[0].MinUp = 2 }, "pool db: changed min_up")
	r.allTo(peers[0]) // no tier has two
	r.closed()
}

func TestReloadKeepsTheTierThatServes(t *testing.T) {
	r, peers := primaryAndBackup(t, func(p *config.Pool) { p.Failback = config.NeverFailback })
	r.allTo(peers[0])
	r.order(peers[0].addr, admin.Order{Word: "drain"})
	r.allTo(peers[1])
	r.order(peers[0].addr, admin.Order{Word: "ready"})
	r.anotherTable()
	r.allTo(peers[1])
}

func TestSlowStartOfAPeerThatIsBack(t *testing.T) {
	r, peers := two(t, func(r *rig) { r.pool().SlowStart = time.Hour })
	share := func() float64 { return r.status().Peers[1].Figures["share"] }
	r.ask()
	if got := share(); got != 0.5 {
		t.Errorf("at the start the share is %v", got)
	}
	back := func() {
		r.order(peers[1].addr, admin.Order{Word: "maint"})
		r.order(peers[1].addr, admin.Order{Word: "ready"})
	}
	back()
	if got := share(); got != 1./21 {
		t.Errorf("when it is back its share is %v", got)
	}
	r.reloads(func(c *config.Config) { c.Pools[0].SlowStart = 0 }, "pool db: changed slow_start")
	if got := share(); got != 0.5 {
		t.Errorf("without slow start its share is %v", got)
	}
	r.reloads(func(c *config.Config) { c.Pools[0].SlowStart = 100 * time.Millisecond }, "pool db: changed slow_start")
	back()
	eventually(t, "its whole share", func() bool { return share() == 0.5 })
	r.closed()
}
