//go:build linux

package integration

import (
	"errors"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
)

// Many more clients than max_conns allows cost no more than those that are let in: 50,000 are refused within 128 MiB, by
// admission, and nothing is killed for want of memory.
func TestLI7(t *testing.T) {
	t.Parallel()
	const limit, clients, workers = 100, 50_000, 8
	const bound = 128 << 20
	room := bounded(t, bound)
	b := echo(t, at(2, freePort(t)))
	e := start(t, setup{plain: true, place: place{under: room.under}, hosts: []string{host(2)}, port: b.addr.Port(), listener: "max_conns = 100"})
	var live []client
	for range limit {
		c := dial(t, e.addr)
		c.echoes(t, []byte("in"))
		live = append(live, c)
	}
	before := e.usage(t)
	var refused atomic.Int64
	var all sync.WaitGroup
	for range workers {
		all.Go(func() {
			for range clients / workers {
				if !e.linesFollow(refused.Load) {
					t.Error("there are no lines any more")
					return
				}
				c, err := dialFrom(netip.AddrPort{}, e.addr)
				if err == nil {
					_, err = c.Read(make([]byte, 1))
					c.abort()
				}
				if errors.Is(err, syscall.ECONNRESET) {
					refused.Add(1)
				} else {
					t.Errorf("client: %v, expected a reset", err)
					return
				}
			}
		})
	}
	all.Wait()
	if n := refused.Load(); n != clients {
		t.Errorf("%d of %d were refused", n, clients)
	}
	if after := e.usage(t); after.rss > before.rss+32<<20 || after.fds > before.fds+workers+4 {
		t.Errorf("from %+v to %+v", before, after)
	}
	most, killed := room.taken(t, e)
	t.Logf("%d MiB were taken at most", most>>20)
	if killed != 0 || most > bound {
		t.Errorf("%d MiB were taken, and %d processes killed for want of memory", most>>20, killed)
	}
	for _, c := range live {
		c.echoes(t, []byte("still"))
		c.Close()
	}
	oracle(t, e, b)
}

// More sessions than there are descriptors for are said at the start, and ebb serves all the same.
func TestLI8(t *testing.T) {
	t.Parallel()
	b := echo(t, at(2, freePort(t)))
	e := start(t, setup{
		plain: true, place: place{under: []string{"prlimit", "--nofile=300:300"}},
		hosts: []string{host(2)}, port: b.addr.Port(), listener: "max_conns = 1000",
	})
	e.wantLines(t, 1, "few descriptors")
	if err := talk(e.addr); err != nil {
		t.Error(err)
	}
	oracle(t, e, b)
}
