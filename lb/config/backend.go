package config

import (
	"net/netip"
	"slices"
	"strings"
)

func readBackends(p *Pool, v value) {
	type target struct {
		host string
		port int
	}
	seen := make(map[target]place)
	for _, e := range v.tables("[[pool.NAME.backend]]") {
		b := defaults().Pools[0].Backends[0]
		if !readTable(e, backendKeys, &b) {
			continue
		}
		checkBackend(e, b)
		t := target{strings.ToLower(strings.TrimSuffix(b.Host, ".")), b.Port}
		host := e.written("host")
		if first, twice := seen[t]; twice {
			host.fail("found %s port %d again in this pool, first %s, expected each backend once", b.Host, b.Port, first)
		} else if b.Host != "" && b.Port != 0 {
			seen[t] = host.at
		}
		p.Backends = append(p.Backends, b)
	}
}

func checkBackend(v value, b Backend) {
	if v.sound("min_refresh", "max_refresh") && b.MinRefresh > b.MaxRefresh {
		v.written("max_refresh", "min_refresh").fail("found min_refresh %s above max_refresh %s, expected at most as much",
			brief(b.MinRefresh), brief(b.MaxRefresh))
	}
	if a, err := netip.ParseAddr(b.Host); err == nil {
		if is4 := a.Unmap().Is4(); is4 && b.Family == "ipv6" || !is4 && b.Family == "ipv4" {
			v.written("family").fail("found %q with the address %s, expected its own family or \"auto\"", b.Family, b.Host)
		}
	}
}

// readTier accepts what tiers will be, and then refuses all but the one there is.
func readTier(b *Backend, v value) {
	v.int(&b.Tier, 0, 65535, "")
	if b.Tier != 0 {
		v.fail("found %d, tiers are %s, expected 0", b.Tier, notYet)
	}
}

func readAllowAnswers(b *Backend, v value) {
	var out []string
	for _, e := range v.texts("\"loopback\" or \"link-local\"") {
		var word string
		e.word(&word, "loopback link-local", "")
		if word != "" && slices.Contains(out, word) {
			e.fail("found %q twice", word)
		} else if word != "" {
			out = append(out, word)
		}
	}
	slices.Sort(out)
	b.AllowAnswers = out
}
