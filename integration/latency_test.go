//go:build linux

package integration

import (
	"io"
	"net/netip"
	"slices"
	"sync"
	"testing"
	"time"
)

// TestTD6 sends single bytes to and fro. The row's figure, a millisecond more at p99 than without ebb, is measured and said; what
// fails is a plateau, where exchanges wait for a timer of TCP, 40 ms or 200 ms, each time.
func TestTD6(t *testing.T) {
	const exchanges = 10_000
	pingPong := func(t *testing.T, to netip.AddrPort) []time.Duration {
		c := dial(t, to)
		defer c.Close()
		took := make([]time.Duration, exchanges)
		for i := range took {
			begin := time.Now()
			c.echoes(t, []byte{byte(i)})
			took[i] = time.Since(begin)
			if i == 100 && slices.Min(took[:i]) > 30*time.Millisecond { // or it would take minutes
				t.Fatalf("none of %d exchanges took less than %v", i, slices.Min(took[:i]))
			}
		}
		slices.Sort(took)
		return took
	}
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			b := echo(t, at(2, freePort(t)))
			e := start(t, setup{plain: true, hosts: []string{host(2)}, port: b.addr.Port(), top: onEngine(engine)})
			through := pingPong(t, e.addr)
			direct := pingPong(t, b.addr)
			const p99 = exchanges * 99 / 100
			t.Logf("median %v, p99 %v; direct %v, %v", through[exchanges/2], through[p99], direct[exchanges/2], direct[p99])
			if through[exchanges/2] > 30*time.Millisecond {
				t.Errorf("half of the exchanges took more than %v", through[exchanges/2])
			}
			oracle(t, e)
		})
	}
}

// TestFairnessBesideAnElephant has exchanges go on while one session moves all it can both ways; what that costs them is said. For
// slow readers TestBP2 says it.
func TestFairnessBesideAnElephant(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			b := echo(t, at(2, freePort(t)))
			e := start(t, setup{plain: true, hosts: []string{host(2)}, port: b.addr.Port(), top: onEngine(engine)})
			exchanges := func() time.Duration {
				c := dial(t, e.addr)
				defer c.Close()
				took := make([]time.Duration, 3000)
				for i := range took {
					begin := time.Now()
					c.echoes(t, []byte("mouse"))
					took[i] = time.Since(begin)
				}
				slices.Sort(took)
				return took[len(took)*99/100]
			}
			alone := exchanges()
			elephant := dial(t, e.addr)
			var wg sync.WaitGroup
			wg.Go(func() {
				for err := error(nil); err == nil; {
					_, err = elephant.Write(make([]byte, 1<<20))
				}
			})
			wg.Go(func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{elephant}) })
			begin, before := time.Now(), e.metrics(t).sum("ebb_bytes_total")
			beside := exchanges()
			moved := e.metrics(t).sum("ebb_bytes_total") - before
			t.Logf("p99 %v alone, %v beside %.1f Gbit/s", alone, beside, moved*8e-9/time.Since(begin).Seconds())
			elephant.abort()
			wg.Wait()
			oracle(t, e)
		})
	}
}
