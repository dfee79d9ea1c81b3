package lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// one is a rig with one peer.
func one(t *testing.T, change func(*config.Pool)) (*rig, *backendServer) {
	t.Helper()
	r := newRig(t)
	peers, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(peers[0].addr)}
	change(r.pool())
	return r.serve(), peers[0]
}

// park connects a client that is to wait as the n-th.
func (r *rig) park(n int64) *net.TCPConn {
	r.t.Helper()
	c := r.dial()
	r.awaitWaiting(n)
	return c
}

func (r *rig) awaitWaiting(n int64) {
	r.t.Helper()
	eventually(r.t, fmt.Sprint(n, " clients wait"), func() bool { return r.status().Waiting == n })
}

func (r *rig) hold(on bool) admin.HoldReply {
	r.t.Helper()
	reply, err := admin.NewClient(r.server.running().admin.Addr(), "").HoldPool(context.Background(), "db", on)
	if err != nil {
		r.t.Fatal(err)
	}
	return reply
}

// ended gives the ends of sessions, sorted.
func (r *rig) ended(n int) []string {
	r.t.Helper()
	ends := r.awaitEnds(n)
	slices.Sort(ends)
	return ends
}

func TestRH7TheQueueIsServedInOrder(t *testing.T) {
	r, _ := one(t, func(p *config.Pool) { p.MaxConns, p.Queue = 1, 3 })
	first := r.dial()
	greeting(t, first)
	var waiting []*net.TCPConn
	for i := range 3 {
		waiting = append(waiting, r.park(int64(i+1)))
	}
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) { // one more than may wait
		t.Errorf("no reset: %v", err)
	}
	if n := r.server.running().listeners[0].rejected.all()["queue"]; n != 1 {
		t.Errorf("%d rejected by the queue", n)
	}
	first.Close()
	for i, c := range waiting {
		greeting(t, c)
		if n := r.status(); n.Waiting != int64(2-i) || n.Peers[0].Active != 1 {
			t.Errorf("%d served: %d wait, %d active", i+1, n.Waiting, n.Peers[0].Active)
		}
		c.Close()
	}
	if ends := r.ended(5); ends[4] != "limit" {
		t.Errorf("ends %v", ends)
	}
	r.closed()
}

func TestTheQueueTimesOut(t *testing.T) {
	r, _ := one(t, func(p *config.Pool) { p.MaxConns, p.Queue, p.QueueTimeout = 1, 3, 50*time.Millisecond })
	first := r.dial()
	greeting(t, first)
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no reset: %v", err)
	}
	if ends := r.awaitEnds(1); ends[0] != "queue_timeout" {
		t.Errorf("ends %v", ends)
	}
	r.awaitWaiting(0)
	first.Close()
	r.closed()
}

func TestAClientThatLeavesFreesItsPlace(t *testing.T) {
	for _, how := range []string{"client_fin", "client_reset"} {
		t.Run(how, func(t *testing.T) {
			r, peer := one(t, func(p *config.Pool) { p.MaxConns, p.Queue = 1, 2 })
			first := r.dial()
			greeting(t, first)
			gone := r.park(1)
			fmt.Fprint(gone, "what it has sent stays unread")
			stays := r.park(2)
			if how == "client_reset" {
				gone.SetLinger(0)
			}
			gone.Close()
			r.awaitWaiting(1)
			if ends := r.awaitEnds(1); ends[0] != how {
				t.Errorf("ends %v", ends)
			}
			last := r.park(2)
			first.Close()
			greeting(t, stays)
			stays.Close()
			greeting(t, last)
			last.Close()
			r.awaitEnds(4)
			if n := peer.seen.Load(); n != 3 {
				t.Errorf("the peer has seen %d, want 3", n)
			}
			r.closed()
		})
	}
}

func TestWhenNoneHolds(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.dns.NXDomain("db.test")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.pool().WhenNone, r.pool().HoldMax = "hold", 3
	r.start()
	eventually(t, "the listener", func() bool { return r.server.accepting.Load() })
	var held []*net.TCPConn
	for i := range 3 {
		held = append(held, r.park(int64(i+1)))
	}
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no reset: %v", err)
	}
	r.dns.SetA("db.test", 0, "127.0.0.2")
	for _, c := range held {
		greeting(t, c)
		if !lives(c) {
			t.Error("it has ended")
		}
		c.Close()
	}
	if ends := r.ended(4); !slices.Equal(ends, []string{"client_fin", "client_fin", "client_fin", "limit"}) {
		t.Errorf("ends %v", ends)
	}
	r.closed()
}

func TestHoldTimesOut(t *testing.T) {
	r, peer := one(t, func(p *config.Pool) { p.WhenNone, p.HoldTimeout = "hold", 50*time.Millisecond })
	r.order(peer.addr, admin.Order{Word: "drain"})
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no reset: %v", err)
	}
	if ends := r.awaitEnds(1); ends[0] != "no_peer" {
		t.Errorf("ends %v", ends)
	}
	r.closed()
}

func TestHoldAndReleaseForASwitchOver(t *testing.T) {
	r, peers := two(t, func(*rig) {})
	before := r.dial()
	greeting(t, before)
	if h := r.hold(true); !h.Held || !h.Changed || h.Waiting != 0 {
		t.Errorf("%+v", h)
	}
	if h := r.hold(true); h.Changed {
		t.Errorf("again: %+v", h)
	}
	var held []*net.TCPConn
	for i := range 20 {
		held = append(held, r.park(int64(i+1)))
	}
	if !r.status().Held || !lives(before) {
		t.Error("a session of before has ended")
	}
	r.order(peers[0].addr, admin.Order{Word: "maint"})
	if n := r.status().Waiting; n != 20 {
		t.Errorf("an epoch let %d go", 20-n)
	}
	if h := r.hold(false); h.Held || !h.Changed {
		t.Errorf("%+v", h)
	}
	for _, c := range held {
		if who := greeting(t, c); who != peers[1].addr {
			t.Errorf("served by %s", who)
		}
		c.Close()
	}
	r.ask()
	if len(r.logs.find("pool held")) != 1 || len(r.logs.find("pool released")) != 1 {
		t.Error("lines")
	}
	before.Close()
	r.closed()
}

func TestShutdownEndsWhoWaits(t *testing.T) {
	r, _ := one(t, func(*config.Pool) {})
	r.conf.ShutdownTimeout = 50 * time.Millisecond
	r.hold(true)
	c := r.park(1)
	r.cancel()
	close(r.hurry)
	r.hurry = nil
	if _, err := io.ReadAll(c); err == nil {
		t.Error("no reset")
	}
	if ends := r.awaitEnds(1); ends[0] != "shutdown" {
		t.Errorf("ends %v", ends)
	}
}

func TestKillEndsWhoWaits(t *testing.T) {
	r, _ := one(t, func(*config.Pool) {})
	r.hold(true)
	r.park(1)
	if n := r.server.KillConns(admin.ConnFilter{Pool: "db"}); n != 1 {
		t.Errorf("%d killed", n)
	}
	r.awaitWaiting(0)
	if ends := r.awaitEnds(1); ends[0] != "admin_killed" {
		t.Errorf("ends %v", ends)
	}
	r.hold(false)
	r.closed()
}

// However clients come and go, the limit holds, everybody who stays is served, and nothing is left behind (I7).
func TestI7TheQueueUnderChurn(t *testing.T) {
	r, peer := one(t, func(p *config.Pool) { p.MaxConns, p.Queue = 3, 1000 })
	stop := make(chan struct{})
	var admins, clients sync.WaitGroup
	admins.Go(func() {
		for i := 0; ; i++ {
			select {
			case <-stop:
				r.hold(false)
				r.order(peer.addr, admin.Order{Word: "weight", Weight: admin.NoWeight})
				return
			default:
				r.hold(i%2 == 0)
				r.order(peer.addr, admin.Order{Word: "weight", Weight: 1 + i%3})
				if n := r.status().Peers[0].Active; n > 3 {
					t.Errorf("%d sessions on a peer with max_conns 3", n)
				}
			}
		}
	})
	for n := range 8 {
		clients.Go(func() {
			for i := range 25 {
				c := r.dial()
				if (i+n)%5 != 0 { // else it leaves
					who := greeting(t, c)
					if who != peer.addr {
						t.Errorf("served by %s", who)
					}
				}
				c.Close()
			}
		})
	}
	clients.Wait()
	close(stop)
	admins.Wait()
	r.awaitWaiting(0)
	for _, e := range r.awaitEnds(200) {
		if !strings.HasPrefix(e, "client_") {
			t.Errorf("end %s", e)
		}
	}
	r.closed()
}

// A hold outlives a reload that makes another table, and who waited on the old one is released with the others.
func TestReloadKeepsAHold(t *testing.T) {
	r, peer := one(t, func(*config.Pool) {})
	r.hold(true)
	before := r.park(1)
	r.anotherTable()
	after := r.dial()
	eventually(t, "both wait", func() bool {
		st := r.server.Status()
		return len(st.Pools) == 2 && st.Pools[0].Held && st.Pools[0].Waiting == 1 && st.Pools[1].Waiting == 1
	})
	r.hold(false)
	for _, c := range []*net.TCPConn{before, after} {
		if who := greeting(t, c); who != peer.addr {
			t.Errorf("served by %v", who)
		}
		c.Close()
	}
	eventually(t, "one pool", func() bool { return len(r.server.Status().Pools) == 1 })
}

// Who is released while a reload makes another table is not held by that.
func TestReleaseDuringAReload(t *testing.T) {
	r, peer := one(t, func(*config.Pool) {})
	r.hold(true)
	r.dns.Silent("new.test", true)
	reloaded := make(chan error, 1)
	go func() {
		_, err := r.reload(func(c *config.Config) {
			c.Pools[0].Balance = "leastconn"
			c.Pools[0].Backends = append(c.Pools[0].Backends, named("new.test", peer.addr.Port()))
		})
		reloaded <- err
	}()
	eventually(t, "the reload waits for a name", func() bool { return r.dns.QueryCount("new.test", "A") > 0 })
	r.hold(false)
	r.dns.NXDomain("new.test")
	r.dns.Silent("new.test", false)
	if err := <-reloaded; err != nil {
		t.Fatal(err)
	}
	if r.status().Held {
		t.Error("the new table is held")
	}
	r.ask()
	r.closed()
}
