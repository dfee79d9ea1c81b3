package pool

import (
	"fmt"
	"sync/atomic"
	"testing"
)

func TestAcquireAllocatesNothing(t *testing.T) {
	for _, policy := range []Policy{LeastConn, RoundRobin} {
		for _, n := range []int{4, 100} {
			w := table(t, Options{Slots: 1, Policy: policy, MaxConns: 10})
			w.apply(t, members(n, 1, 2, 3))
			if a := testing.AllocsPerRun(1000, func() {
				l, _ := w.Acquire(Request{})
				l.Release(OutcomeOK)
			}); a != 0 {
				t.Errorf("%v with %d peers: %v allocations per lease", policy, n, a)
			}
		}
	}
}

func BenchmarkAcquireRelease(b *testing.B) {
	for _, policy := range []Policy{LeastConn, RoundRobin} {
		for _, n := range []int{4, 64} {
			for _, par := range []int{1, 2, 8} {
				b.Run(fmt.Sprintf("%v/peers=%d/goroutines=%d", policy, n, par), func(b *testing.B) {
					w := table(b, Options{Slots: par, Policy: policy})
					w.apply(b, members(n))
					var slot atomic.Int32
					done := make(chan struct{})
					b.ReportAllocs()
					b.ResetTimer()
					for range par {
						go func() {
							s := int(slot.Add(1)) - 1
							for range b.N / par {
								l, _ := w.Acquire(Request{Slot: s})
								l.Release(OutcomeOK)
							}
							done <- struct{}{}
						}()
					}
					for range par {
						<-done
					}
				})
			}
		}
	}
}

// Apply while readers run: two sets of 1000 peers in turn.
func BenchmarkApply1000(b *testing.B) {
	for _, policy := range []Policy{LeastConn, RoundRobin} {
		b.Run(policy.String(), func(b *testing.B) {
			w := table(b, Options{Slots: 2, Policy: policy})
			all := members(1001)
			w.apply(b, all[:1000])
			stop := make(chan struct{})
			done := make(chan struct{})
			go func() {
				defer close(done)
				for {
					select {
					case <-stop:
						return
					default:
						l, _ := w.Acquire(Request{Slot: 1})
						l.Release(OutcomeOK)
					}
				}
			}()
			b.ResetTimer()
			for i := range b.N {
				w.apply(b, all[i%2:1000+i%2])
			}
			b.StopTimer()
			close(stop)
			<-done
		})
	}
}
