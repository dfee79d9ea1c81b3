package pool

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAcquireAllocatesNothing(t *testing.T) {
	for policy := LeastConn; policy <= LeastTime; policy++ {
		for _, n := range []int{4, 100} {
			w := table(t, Options{Slots: 1, Tuning: Tuning{Policy: policy, MaxConns: 10}})
			w.apply(t, members(n, 1, 2, 3))
			key := Key(0)
			if a := testing.AllocsPerRun(1000, func() {
				key++
				l, _ := w.Acquire(Request{Key: key})
				l.Release(OutcomeOK)
			}); a != 0 {
				t.Errorf("%v with %d peers: %v allocations per lease", policy, n, a)
			}
		}
	}
}

// A goroutine per slot takes a lease and gives it back. "busy" means that other leases are held on every peer, so that
// leastconn has to look at all of them. A caller has read the clock for purposes of its own; here every 64th lease does, which
// lets time pass as in between.
func BenchmarkAcquireRelease(b *testing.B) {
	for policy := range Policy(len(policyWords)) {
		for _, n := range []int{8, 64} {
			for _, held := range []int{0, 3} {
				for _, par := range []int{1, 2, 8} {
					load := "idle"
					if held > 0 {
						load = "busy"
					}
					b.Run(fmt.Sprintf("%v/%s/peers=%d/goroutines=%d", policy, load, n, par), func(b *testing.B) {
						w := table(b, Options{Slots: par, Tuning: Tuning{Policy: policy}})
						w.apply(b, members(n))
						for range held * n {
							l := w.acquire(b, Request{})
							l.Connected(time.Millisecond)
							defer l.Release(OutcomeOK)
						}
						b.ReportAllocs()
						b.ResetTimer()
						var readers sync.WaitGroup
						for slot := range par {
							readers.Go(func() {
								var now time.Duration
								for i := range b.N / par {
									if i%64 == 0 {
										now = w.Since(time.Now())
									}
									l, _ := w.Acquire(Request{Slot: slot, Now: now, Key: Key(i)})
									l.Release(OutcomeOK)
								}
							})
						}
						readers.Wait()
					})
				}
			}
		}
	}
}

// Two sets of 1000 peers in turn, of equal or of different weights, alone and while a reader runs.
func BenchmarkApply1000(b *testing.B) {
	for _, policy := range []Policy{LeastConn, RoundRobin} {
		for _, weights := range []string{"equal", "mixed"} {
			for _, readers := range []int{0, 1} {
				b.Run(fmt.Sprintf("%v/%s/readers=%d", policy, weights, readers), func(b *testing.B) {
					w := table(b, Options{Slots: 2, Tuning: Tuning{Policy: policy}})
					all := members(1001)
					for i := range all {
						if weights == "mixed" {
							all[i].Weight = 1 + i%7
						}
					}
					w.apply(b, all[:1000])
					var stop atomic.Bool
					var running sync.WaitGroup
					for range readers {
						running.Go(func() {
							for !stop.Load() {
								l, _ := w.Acquire(Request{Slot: 1})
								l.Release(OutcomeOK)
							}
						})
					}
					b.ReportAllocs()
					b.ResetTimer()
					for i := range b.N {
						w.apply(b, all[i%2:1000+i%2])
					}
					b.StopTimer()
					stop.Store(true)
					running.Wait()
				})
			}
		}
	}
}
