package lb

import (
	"net"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
)

// parked is n clients of a pool that is held.
func (r *rig) parked(n int) (list []*net.TCPConn) {
	r.t.Helper()
	r.hold(true)
	for i := range n {
		list = append(list, r.park(int64(i+1)))
	}
	return list
}

// Those that were held go at connect_rate and no faster, in order: when the last is served, nobody waits.
func TestAReleaseGoesAtConnectRateInOrder(t *testing.T) {
	r, _ := one(t, func(p *config.Pool) { p.ConnectRate = 50 })
	clients := r.parked(6)
	begin := time.Now()
	r.hold(false)
	greeting(t, clients[5])
	if took := time.Since(begin); took < 5*time.Second/50 {
		t.Errorf("six sessions began within %v", took)
	}
	if n := r.status().Waiting; n != 0 {
		t.Errorf("the last is served, and %d wait", n)
	}
	for _, c := range clients {
		if c != clients[5] {
			greeting(t, c)
		}
		c.Close()
	}
	r.closed()
}

// Each connect that succeeds lets the next client go: none of these sessions ends.
func TestMaxConnectingLetsThemGoOneByOne(t *testing.T) {
	r, _ := one(t, func(p *config.Pool) { p.MaxConnecting = 1 })
	clients := r.parked(10)
	r.hold(false)
	for _, c := range clients {
		greeting(t, c)
	}
	for _, c := range clients {
		if !lives(c) {
			t.Error("it has ended")
		}
		c.Close()
	}
	r.closed()
}

// While those that were held go one by one, who comes waits behind them, also without a queue.
func TestWhoComesDuringAPacedReleaseWaits(t *testing.T) {
	r, peer := one(t, func(p *config.Pool) { p.ConnectRate = 1000 })
	q := &r.server.running().pools[0].queue
	ask := func() (reason, bool) {
		q.n.Add(1)
		defer q.n.Add(-1)
		return q.reason()
	}
	if why, wait := ask(); !wait || why != isHeld {
		t.Errorf("with connect_rate: %v, %v", why, wait)
	}
	r.reloads(func(c *config.Config) { c.Pools[0].ConnectRate = 0 }, "pool db: changed connect_rate")
	if _, wait := ask(); wait {
		t.Error("somebody waits without a limit and without a queue")
	}
	r.reloads(func(c *config.Config) { c.Pools[0].MaxConnecting, c.Pools[0].MinUp = 3, 2 }, "pool db: changed max_connecting, min_up")
	if who := r.ask(); who != peer.addr {
		t.Errorf("served by %v", who)
	}
	r.closed()
}
