package lb

import (
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/ebb-lb/ebb/lb/config"
)

// A limit for a whole pool holds over its peers and over reloads, and counts the sessions that were there before it.
func TestPoolMaxConns(t *testing.T) {
	r, _ := two(t, func(*rig) {})
	var live []*net.TCPConn
	for range 2 {
		live = append(live, r.dial())
		greeting(t, live[len(live)-1])
	}
	limit := func(n int) {
		t.Helper()
		r.reloads(func(c *config.Config) { c.Pools[0].PoolMaxConns = n }, "pool db: changed pool_max_conns")
	}
	refused := func(times uint64) {
		t.Helper()
		if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("no reset: %v", err)
		}
		eventually(t, "it is counted", func() bool { return r.rejections()["pool_max_conns"] == times })
		if x := r.explain(""); x.Outcome != "refused" || x.Reason != "limit (pool_max_conns)" || !slices.Equal(standings(x.Peers), []string{"spent", "spent"}) {
			t.Errorf("%+v", x)
		}
	}
	limit(2)
	refused(1)
	limit(3)
	live = append(live, r.dial())
	greeting(t, live[2])
	refused(2)
	r.reloads(func(c *config.Config) { c.Pools[0].Queue = 2 }, "pool db: changed queue")
	if x := r.explain(""); x.Outcome != "wait" || x.Reason != "the pool is at its limit" {
		t.Errorf("%+v", x)
	}
	waits := []*net.TCPConn{r.park(1), r.park(2)}
	live[0].Close() // of those that came before the limit
	greeting(t, waits[0])
	live[2].Close()
	greeting(t, waits[1])
	for _, c := range append(waits, live[1]) {
		c.Close()
	}
	r.closed()
	limit(0)
	greeting(t, r.dial())
}

func TestPoolMaxConnsOfFlows(t *testing.T) {
	r, _ := datagrams(t, "127.0.0.2", "127.0.0.3")
	r.pool().PoolMaxConns = 1
	r.serve()
	first := r.udp()
	who := first.ask()
	r.udp().send()
	eventually(t, "it is dropped", func() bool { return r.server.running().listeners[0].dropped.all()["limit"] == 1 })
	if again := first.ask(); again != who {
		t.Errorf("the flow moved from %s to %s", who, again)
	}
	if x := r.explain(""); x.Outcome != "refused" || x.Reason != "limit (pool_max_conns)" {
		t.Errorf("%+v", x)
	}
	r.cutAll()
	r.udp().ask()
	r.cutAll()
}

// Whatever a reload changes of how peers are chosen, and of limits and weights, no session is lost and no count stays behind.
func TestReloadOfChoicesUnderLoadLosesNothing(t *testing.T) {
	const seed = 3
	r, peers := two(t, func(*rig) {})
	long := r.dial()
	greeting(t, long)
	var stop atomic.Bool
	var sessions atomic.Int64
	var clients sync.WaitGroup
	for range 4 {
		clients.Go(func() {
			for !stop.Load() {
				if err := echo(r.addr()); err != nil {
					t.Error(err)
					return
				}
				sessions.Add(1)
			}
		})
	}
	rng := rand.New(rand.NewPCG(seed, 0))
	maybe := func() int { return rng.IntN(2) * (8 + rng.IntN(9)) } // nobody is refused
	for i := range 60 {
		before := sessions.Load()
		if _, err := r.reload(func(c *config.Config) {
			p := &c.Pools[0]
			p.Balance = []string{"leastconn", "roundrobin", "random", "first", "sticky", "hash", "least_time"}[i%7]
			p.Bounded = 0
			if p.Balance == "hash" {
				p.Bounded = 1.25
			}
			p.MaxConns, p.PoolMaxConns, p.MaxConnecting, p.Queue = maybe(), maybe(), maybe(), 1+i%3
			for b := range p.Backends {
				p.Backends[b].Weight = 1 + rng.IntN(5)
			}
		}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "a session between two reloads", func() bool { return sessions.Load() > before || t.Failed() })
	}
	stop.Store(true)
	clients.Wait()
	if st := r.server.Status(); len(st.Pools) != 1 {
		t.Errorf("%d pools", len(st.Pools))
	}
	if _, err := fmt.Fprint(long, "x"); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(long, make([]byte, 1)); err != nil {
		t.Errorf("the session that was there before: %v", err)
	}
	long.Close()
	r.closed()
	for i, p := range r.status().Peers {
		if p.Active != 0 {
			t.Errorf("%s has %d sessions", peers[i].addr, p.Active)
		}
	}
	for _, l := range r.logs.find("session") {
		if end := l["end"]; end != "client_fin" && end != "client_reset" && end != "server_fin" {
			t.Errorf("end %v", end)
		}
	}
}

// echo is one session: a word, and the same word back after the greeting.
func echo(addr string) error {
	c, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := fmt.Fprintln(c, "word"); err != nil {
		return err
	}
	if err := c.(*net.TCPConn).CloseWrite(); err != nil {
		return err
	}
	all, err := io.ReadAll(c)
	if err == nil && !strings.HasSuffix(string(all), "\nword\n") {
		err = fmt.Errorf("got %q", all)
	}
	return err
}
