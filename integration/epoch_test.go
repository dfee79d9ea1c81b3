//go:build linux

package integration

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// The main promise: a name that changes all the time under load costs no connection, and leaves nothing behind.
func TestEpochChurn600(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name          string
		plain         bool
		changes, rate int
	}{{"plain", true, 600, 500}, {"race", false, 50, 200}} {
		t.Run(c.name, func(t *testing.T) {
			changes := uint64(c.changes)
			if testing.Short() {
				changes /= 10
			}
			churn(t, c.plain, changes, c.rate)
		})
	}
}

func churn(t *testing.T, plain bool, changes uint64, rate int) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 600))
	const peers = 8
	port := freePort(t)
	var backends []*backend
	var hosts []string
	for n := range byte(peers) {
		backends = append(backends, greet(t, at(10+n, port), "hello"))
		hosts = append(hosts, host(10+n))
	}
	dns := startDNS(t)
	dns.SetA("moving.test", 0, hosts[0])
	e := start(t, setup{
		plain: plain, hosts: []string{"moving.test"}, port: port, resolver: dns.Addr(),
		backend: "min_refresh = \"100ms\"\nmax_refresh = \"100ms\"",
	})

	stop := make(chan struct{})
	var conns, failed atomic.Int64
	var wg sync.WaitGroup
	const workers = 10
	for w := range workers {
		from := at(byte(100+w), 0)
		wg.Go(func() {
			due := time.NewTimer(0)
			defer due.Stop()
			next := time.Now()
			held := make([]client, 0, 20) // some sessions live on for a while, on the epoch they began in
			defer func() {
				for _, c := range held {
					c.Close()
				}
			}()
			for {
				select {
				case <-stop:
					return
				case <-due.C:
				}
				next = next.Add(time.Second * workers / time.Duration(rate)) // from due time to due time: the rate holds
				due.Reset(time.Until(next))
				conns.Add(1)
				c, err := dialFrom(from, e.addr)
				if err == nil {
					_, err = c.Read(make([]byte, 5))
				}
				if err != nil {
					if failed.Add(1) < 10 {
						t.Errorf("connection: %v", err)
					}
					continue
				}
				if held = append(held, c); len(held) == cap(held) {
					held[0].Close()
					held = append(held[:0], held[1:]...)
				}
			}
		})
	}

	epoch := e.poolStatus(t).Epoch
	first, begin := epoch, time.Now()
	for last := 1; epoch < first+changes; {
		// Any set but the one before, which is the first peer at the start: one to all of the peers.
		set := last
		for set == last {
			set = 1 + r.IntN(1<<peers-1)
		}
		last = set
		var addrs []string
		for n := range peers {
			if set&(1<<n) != 0 {
				addrs = append(addrs, hosts[n])
			}
		}
		dns.SetA("moving.test", 0, addrs...)
		eventually(t, "the next epoch", func() bool {
			now := uint64(e.metrics(t).sum("ebb_epoch"))
			moved := now > epoch
			epoch = now
			return moved
		})
	}
	took := time.Since(begin)
	close(stop)
	wg.Wait()
	t.Logf("%d changes in %v, %d connections, %.0f/s", epoch-first, took.Round(time.Millisecond), conns.Load(), float64(conns.Load())/took.Seconds())
	if n := failed.Load(); n != 0 {
		t.Errorf("%d of %d connections failed", n, conns.Load())
	}
	oracle(t, e, backends...)
	if p := e.poolStatus(t); len(p.Epochs) != 1 || p.Epochs[0].ID != epoch {
		t.Errorf("epochs at rest: %+v, the newest is %d", p.Epochs, epoch)
	}
	for _, s := range e.logs.ended() {
		if s.End != "client_fin" || s.Peer == "" {
			t.Fatalf("%+v", s)
		}
	}
}
