package lb

import (
	"errors"
	"io"
	"net/netip"
	"syscall"
	"testing"

	"github.com/ebb-lb/ebb/lb/config"
)

// More sessions than accept_rate in one second are refused. How long this takes here is not known, so they come until one is.
func TestLI3AcceptRate(t *testing.T) {
	r, _ := two(t, func(r *rig) { r.listener().AcceptRate = 1 })
	eventually(t, "a refusal", func() bool {
		err := turnedAway(r.addr())
		if err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, io.EOF) {
			t.Fatal(err)
		}
		return r.rejections()["accept_rate"] > 0
	})
	eventually(t, "explain says so", func() bool {
		_ = turnedAway(r.addr())
		x := r.explain("")
		return x.Outcome == "refused" && x.Reason == "limit (accept_rate)"
	})
	r.reloads(func(c *config.Config) { c.Listeners[0].AcceptRate = 0 }, "listener front: changed accept_rate")
	r.share(10)
	r.closed()
}

// explain knows the limits of sources, and counts nothing by asking.
func TestExplainOfSourceLimits(t *testing.T) {
	r, _ := two(t, func(r *rig) {
		r.listener().SourceMaxConns, r.listener().SourcePrefixIPv4, r.listener().SourcePrefixIPv6 = 1, 32, 64
		r.listener().Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.9/32")}
	})
	for range 3 {
		if x := r.explain("127.0.0.7"); x.Outcome != "peer" {
			t.Errorf("%+v", x)
		}
	}
	c := r.dialFrom("127.0.0.7")
	greeting(t, c)
	for client, reason := range map[string]string{"127.0.0.7": "limit (source_max_conns)", "127.0.0.9": "denied"} {
		if x := r.explain(client); x.Outcome != "refused" || x.Reason != reason || len(x.Next) != 0 {
			t.Errorf("%s: %+v", client, x)
		}
	}
	if x := r.explain("127.0.0.8"); x.Outcome != "peer" {
		t.Errorf("another source: %+v", x)
	}
	if x := r.explain(""); x.Outcome != "peer" {
		t.Errorf("any: %+v", x)
	}
	r.reloads(func(conf *config.Config) { conf.Listeners[0].SourceMaxConns, conf.Listeners[0].SourceRate = 0, 1 }, "listener front: changed source_max_conns, source_rate")
	eventually(t, "too fast", func() bool {
		_ = turnedAwayFrom("127.0.0.7", r.addr())
		return r.explain("127.0.0.7").Reason == "limit (source_rate)"
	})
	c.Close()
	r.closed()
}

// hash_prefix_ipv4 keeps the clients of a network together.
func TestHashByPrefix(t *testing.T) {
	r, _ := two(t, func(r *rig) { r.pool().Balance, r.pool().HashKey = "hash", "source" })
	peers := func(prefix string) int {
		t.Helper()
		seen := make(map[string]bool)
		for i := range 32 { // 2^-31 that all go to one peer
			from := netip.MustParsePrefix(prefix).Addr().As4()
			from[3] = byte(1 + i)
			x := r.explain(netip.AddrFrom4(from).String())
			if len(x.Next) != 1 {
				t.Fatalf("%+v", x)
			}
			seen[x.Next[0]] = true
		}
		return len(seen)
	}
	if n := peers("198.51.100.0/24"); n != 2 {
		t.Errorf("%d peers for 32 addresses", n)
	}
	r.reloads(func(c *config.Config) { c.Pools[0].HashPrefixIPv4, c.Pools[0].HashPrefixIPv6 = 24, 64 }, "pool db: changed hash_prefix_ipv4, hash_prefix_ipv6")
	for _, net := range []string{"198.51.100.0/24", "203.0.113.0/24"} {
		if n := peers(net); n != 1 {
			t.Errorf("%d peers for the network %s", n, net)
		}
	}
	one, other := r.explain("2001:db8:1:2::1"), r.explain("2001:db8:1:2:ffff::7")
	if one.Next[0] != other.Next[0] {
		t.Errorf("%s and %s for one network of IPv6", one.Next[0], other.Next[0])
	}
	if x := r.explain(""); x.Outcome != "unknown" {
		t.Errorf("%+v", x)
	}
	r.closed()
}
