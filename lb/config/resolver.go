package config

import (
	"net/netip"
	"path/filepath"
	"strings"
)

func readResolvers(c *Config, v value) {
	names, entries, _ := v.table()
	for _, name := range names {
		r := defaults().Resolvers[0]
		entries[name].named("resolver", name)
		r.Name = name
		readResolver(entries[name], &r)
		c.Resolvers = append(c.Resolvers, r)
	}
}

func readResolver(v value, r *Resolver) {
	if readTable(v, resolverKeys, r) && v.sound("attempt_timeout", "deadline") && r.AttemptTimeout > r.Deadline {
		v.written("deadline", "attempt_timeout").fail("found attempt_timeout %s above deadline %s, expected at most as much",
			brief(r.AttemptTimeout), brief(r.Deadline))
	}
}

// hostsFile reads the path of a hosts file. It must not depend on where ebb was started.
func (v value) hostsFile(dst *string) {
	const expected = "an absolute path, or \"off\""
	s, ok := v.text(expected)
	switch {
	case !ok:
	case s == "off":
		*dst = ""
	case !filepath.IsAbs(s) || strings.ContainsRune(s, 0):
		v.unexpected(expected)
	default:
		*dst = s
	}
}

// servers reads the DNS servers of a resolver.
func (v value) servers(dst *[]string) {
	const expected = "\"system\" or udp://ADDRESS[:PORT]"
	if l, ok := v.raw.([]value); ok && len(l) == 0 {
		v.fail("found an empty list, expected %s", expected)
		return
	}
	var out []string
	seen := make(map[string]bool)
	for _, e := range v.texts(expected) {
		s, why := serverURL(e.raw.(string))
		switch {
		case why != "":
			e.unexpected("%s: %s", expected, why)
		case seen[s]:
			e.fail("found %s twice", e.found())
		default:
			seen[s] = true
			out = append(out, s)
		}
	}
	*dst = out
}

// serverURL gives the one spelling of a DNS server, with its port, and says what is wrong otherwise.
func serverURL(s string) (url, why string) {
	if s == "system" {
		return s, ""
	}
	scheme, rest, ok := strings.Cut(s, "://")
	switch {
	case !ok:
		return "", "the scheme is missing"
	case scheme == "tcp" || scheme == "tls" || scheme == "https":
		return "", scheme + ":// is " + notYet
	case scheme != "udp":
		return "", "the scheme is unknown"
	}
	addr, err := netip.ParseAddrPort(rest)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]")); err != nil {
			return "", "the address must be an IP address, with or without a port from 1 to 65535"
		}
		addr = netip.AddrPortFrom(a, 53)
	}
	switch a := addr.Addr().Unmap(); {
	case addr.Port() == 0:
		return "", "the port must be from 1 to 65535"
	case a.IsUnspecified() || a.IsMulticast():
		return "", "nothing can be reached at this address"
	default:
		return "udp://" + netip.AddrPortFrom(a, addr.Port()).String(), ""
	}
}
