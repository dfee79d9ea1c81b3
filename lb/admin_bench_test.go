package lb

import (
	"io"
	"net/http"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
)

// parked is a session that moves nothing.
type parked struct{ trip }

func (*parked) moved() (in, out int64)   { return 1, 2 }
func (*parked) Upstream() netip.AddrPort { return netip.AddrPort{} }
func (*parked) Kill(end.Word)            {}

// BenchmarkLook is what one look at 1000 peers and 10,000 sessions costs, by the HTTP API: its time, and the CPU of all of this
// process, the client's reading included. One look a second should cost at most 1 % of a core, which is 10 ms.
func BenchmarkLook(b *testing.B) {
	r := newRig(b)
	for i := range 1000 {
		r.pool().Backends = append(r.pool().Backends, literal(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(i >> 8), byte(i)}), 1)))
	}
	r.serve()
	l := r.server.running().listeners[0]
	p := l.pool
	for i := range 10000 {
		s := &parked{trip{listener: l, id: uint64(i)}}
		s.client = netip.AddrPortFrom(netip.AddrFrom4([4]byte{10, 0, byte(i >> 8), byte(i)}), 40000)
		s.local = l.port.addr
		l.live.enter(i%2, s)
		defer l.live.leave(i%2, s)
		at := netip.MustParseAddrPort(p.conf().Backends[i%1000].Host + ":1")
		s.peer = p.table.Peer(at)
		l.live.settle(i%2, s, func() bool { return true })
		p.count(at).ended[end.ClientFIN].Add(1)
	}
	for _, path := range []string{"/v1/status", "/metrics", "/readyz", "/v1/conns?limit=500"} {
		b.Run(path[1:], func(b *testing.B) {
			look := func() {
				reply, err := http.Get("http://" + r.server.running().admin.Addr() + path)
				if err != nil {
					b.Fatal(err)
				}
				n, err := io.Copy(io.Discard, reply.Body)
				if reply.Body.Close(); err != nil || reply.StatusCode != 200 || n == 0 {
					b.Fatal(reply.Status, err)
				}
			}
			look()
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				look()
			}
			b.ReportMetric(float64((cpu(b)-before).Microseconds())/1000/float64(b.N), "cpu-ms/op")
		})
	}
}

// cpu is the time that this process has used.
func cpu(b *testing.B) time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
