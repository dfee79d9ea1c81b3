package lb

import (
	"fmt"
	"net/netip"
	"testing"

	"github.com/ebb-lb/ebb/lb/config"
)

// BenchmarkReload1000Listeners is a reload of 1000 listeners, each with a pool of ten backends, in which each pool gets
// another backend.
func BenchmarkReload1000Listeners(b *testing.B) {
	r := newRig(b)
	listener, db := *r.listener(), *r.pool()
	r.conf.Listeners, r.conf.Pools = nil, nil
	for i := range 1000 {
		listener.Name, listener.Pool = fmt.Sprint("front", i), fmt.Sprint("db", i)
		db.Name, db.Backends = listener.Pool, nil
		for n := range 10 {
			db.Backends = append(db.Backends, literal(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 1, byte(n), 1}), uint16(1+i))))
		}
		r.conf.Listeners = append(r.conf.Listeners, listener)
		r.conf.Pools = append(r.conf.Pools, db)
	}
	r.serve()
	for i := range b.N {
		b.StopTimer()
		next := r.another(func(c *config.Config) {
			for p := range c.Pools {
				old := netip.MustParseAddr(c.Pools[p].Backends[0].Host)
				c.Pools[p].Backends[0].Host = netip.AddrFrom4([4]byte{127, byte(2 + i%100), old.As4()[2], 1}).String()
			}
		})
		r.next.Store(next)
		b.StartTimer()
		changes, err := r.server.Reload()
		if err != nil || len(changes) < 1000 {
			b.Fatal(len(changes), err)
		}
	}
}
