//go:build linux

package integration

import (
	"flag"
	"math"
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

var soakFor = flag.Duration("soak", 0, "how long the soak runs; 0 is not at all")

// DNS 42: three names in one pool, each moving every 100 ms, 500 connections a second, 100 long sessions.
func TestDNS42Soak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("takes minutes: make soak, or -soak 10m")
	}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 42))
	const peers = 9
	port := freePort(t)
	var backends []*backend
	var hosts []string
	for n := range byte(peers) {
		backends = append(backends, echo(t, at(10+n, port)))
		hosts = append(hosts, host(10+n))
	}
	dns := startDNS(t)
	names := []string{"a.test", "b.test", "c.test"}
	now := make([][]string, len(names))
	move := func(i int) {
		now[i] = nil
		for first := r.IntN(peers); len(now[i]) <= r.IntN(4); first++ {
			now[i] = append(now[i], hosts[first%peers])
		}
		dns.SetA(names[i], 0, now[i]...)
	}
	for i := range names {
		move(i)
	}
	e := start(t, setup{
		hosts: names, port: port, resolver: dns.Addr(), backend: "min_refresh = \"100ms\"\nmax_refresh = \"100ms\"", dns: "attempts = 3",
	})
	l := startLoad(t, e.addr, 500, 100)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	begin := time.Now()
	// What the collector aims at is about twice what lives; a burst of sessions makes it more for a while, so the least counts.
	first, last := math.Inf(1), math.Inf(1)
	for n := 0; time.Since(begin) < *soakFor; n++ {
		<-tick.C
		for i := range names {
			move(i)
		}
		if at := time.Since(begin); n%10 == 0 && at < *soakFor/4 {
			first = min(first, e.metrics(t).sum("go_memstats_next_gc_bytes"))
		} else if n%10 == 0 && at > *soakFor*3/4 {
			last = min(last, e.metrics(t).sum("go_memstats_next_gc_bytes"))
		}
	}
	var want []string
	for n := range byte(peers) {
		if slices.ContainsFunc(now, func(set []string) bool { return slices.Contains(set, hosts[n]) }) {
			want = append(want, at(10+n, port).String())
		}
	}
	slices.Sort(want)
	e.awaitPeers(t, want...)
	l.end(time.Since(begin))
	t.Logf("heap goal %.1f MiB at first, %.1f MiB at last", first/(1<<20), last/(1<<20))
	if last > first*1.1+(1<<20) {
		t.Errorf("the heap grew from %.0f to %.0f bytes", first, last)
	}
	e.wantEnds(t, "client_fin")
	oracle(t, e, backends...)
	if p := e.poolStatus(t); len(p.Peers) != len(want) {
		t.Errorf("%d peers at rest, the names have %d", len(p.Peers), len(want))
	}
}
