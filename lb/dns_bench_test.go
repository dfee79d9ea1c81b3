package lb

import (
	"slices"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
	"github.com/ebb-lb/ebb/lb/config"
)

// BenchmarkChangeToFirstSession is the time from an authority's new answer to the first session on the new address, less
// the TTL and its jitter. Sessions come every few milliseconds; -benchtime 20x gives 20 changes of a TTL of 1 s.
func BenchmarkChangeToFirstSession(b *testing.B) {
	const ttl = time.Second
	r := newRig(b)
	list, port := backends(b, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 1, "127.0.0.2")
	backend := named("db.test", port)
	backend.MaxRefresh = 5 * time.Minute
	r.pool().Backends = []config.Backend{backend}
	r.serve()
	var late []time.Duration
	for i := range b.N {
		to := list[(i+1)%2].addr
		r.dns.SetA("db.test", 1, to.Addr().String())
		begin := time.Now()
		for r.ask() != to {
			time.Sleep(2 * time.Millisecond)
		}
		late = append(late, time.Since(begin)-ttl-ttl/10)
	}
	slices.Sort(late)
	b.ReportMetric(float64(late[len(late)-1].Microseconds())/1000, "ms-late-max")
	b.ReportMetric(0, "ns/op")
}

// BenchmarkSessionsWhileDNSHangs is a session's latency with names that answer, and with names whose server does not.
func BenchmarkSessionsWhileDNSHangs(b *testing.B) {
	for _, hangs := range []bool{false, true} {
		b.Run(map[bool]string{false: "dns=well", true: "dns=hangs"}[hangs], func(b *testing.B) {
			r := newRig(b)
			_, port := backends(b, "127.0.0.2")
			r.dns.SetA("db.test", 0, "127.0.0.2")
			r.pool().Backends = []config.Backend{named("db.test", port)}
			r.serve()
			if hangs {
				r.dns.Handle(func(dnstest.Query) dnstest.Reply { return dnstest.Reply{Drop: true} })
			}
			took := make([]time.Duration, 0, b.N)
			for b.Loop() {
				begin := time.Now()
				r.ask()
				took = append(took, time.Since(begin))
			}
			slices.Sort(took)
			b.ReportMetric(float64(took[len(took)/2].Microseconds()), "us-p50")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds()), "us-p99")
		})
	}
}
