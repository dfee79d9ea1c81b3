package lb

import (
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"testing"

	"github.com/ebb-lb/ebb/dnswatch"
	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/pool"
)

// From an answer to the epoch that it makes; the contract is 5 ms for a set of 1000 addresses of which all change.
func BenchmarkChangeOf1000Addresses(b *testing.B) {
	reclaimer, hub := pool.NewReclaimer(), check.NewHub()
	defer reclaimer.Close()
	defer hub.Close()
	conf := config.Pool{Name: "db", Balance: "leastconn", Backends: []config.Backend{public("db.test", "ipv4")}}
	p := newLivePool(conf, nil, 0, 2, reclaimer, hub, NewLogger(io.Discard, NewLogForm("json"), slog.LevelInfo))
	defer p.close()
	p.on = func(netip.AddrPort) []live { return nil }
	p.members.prepare(false)
	var answers [2]dnswatch.Answer
	for i := range answers {
		answers[i] = dnswatch.Answer{Name: "db.test", Type: four, Kind: dnswatch.KindOK}
		for n := range 1000 {
			addr := netip.MustParseAddr(fmt.Sprintf("10.%d.%d.%d", i, n/250, n%250))
			answers[i].Records = append(answers[i].Records, dnswatch.Record{Addr: addr})
		}
	}
	backend := p.members.backends[0]
	for i := 0; b.Loop(); i++ {
		p.members.take(backend, backend.watched, 0, four, answers[i%2])
	}
}
