package config

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

func readBackends(p *Pool, v value) {
	type target struct {
		host string
		port int // 0 of SRV names
	}
	entries := v.tables("[[pool.NAME.backend]]")
	seen := make(map[target]place, len(entries))
	p.Backends = make([]Backend, 0, len(entries))
	for _, e := range entries {
		n := len(p.Backends)
		p.Backends = append(p.Backends, unset.Pools[0].Backends[0])
		b := &p.Backends[n]
		if !readTable(e, backendKeys, b) {
			p.Backends = p.Backends[:n]
			continue
		}
		checkBackend(e, b)
		t := target{strings.ToLower(strings.TrimSuffix(b.Host, ".")), b.Port}
		host := e.written("host")
		if first, twice := seen[t]; twice {
			what := fmt.Sprintf("%s port %d", b.Host, b.Port)
			if b.Type == "srv" {
				what = "the service " + b.Host
			}
			host.fail("found %s again in this pool, first %s, expected each backend once", what, first)
		} else if b.Host != "" && (b.Port != 0 || b.Type == "srv") {
			seen[t] = host.at
		}
	}
}

func checkBackend(v value, b *Backend) {
	if v.sound("min_refresh", "max_refresh") && b.MinRefresh > b.MaxRefresh {
		v.written("max_refresh", "min_refresh").fail("found min_refresh %s above max_refresh %s, expected at most as much",
			Brief(b.MinRefresh), Brief(b.MaxRefresh))
	}
	a, err := netip.ParseAddr(b.Host)
	switch {
	case b.Type == "srv":
		checkService(v, err == nil)
	case namesService(b.Host):
		v.written("host").fail("found %s with type \"addr\", expected type = \"srv\", by flags srv+NAME: it is the name of a service, which has no addresses",
			v.written("host").found())
	case !v.has("port"):
		v.child("port", nil).fail("missing, expected a whole number from 1 to 65535")
	}
	if err == nil && b.Type == "addr" {
		if is4 := a.Unmap().Is4(); is4 && b.Family == "ipv6" || !is4 && b.Family == "ipv4" {
			v.written("family").fail("found %q with the address %s, expected its own family or \"auto\"", b.Family, b.Host)
		}
	}
}

// namesService tells whether a name is of the form that SRV records have, _SERVICE._PROTOCOL.NAME (RFC 2782). No host's is.
func namesService(name string) bool {
	service, rest, _ := strings.Cut(strings.ToLower(name), ".")
	return strings.HasPrefix(service, "_") && (strings.HasPrefix(rest, "_tcp.") || strings.HasPrefix(rest, "_udp."))
}

// checkService refuses what SRV records say themselves.
func checkService(v value, literal bool) {
	if literal {
		v.written("host").fail("found %s with type \"srv\", expected the name of a service, such as \"_pg._tcp.example.com\"",
			v.written("host").found())
	}
	for _, key := range []string{"port", "weight"} {
		if v.has(key) {
			v.written(key).fail("found beside type \"srv\", expected to be left out: SRV records have their own")
		}
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
