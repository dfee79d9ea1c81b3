package config

import (
	"fmt"
	"net/netip"
	"path/filepath"
	"strconv"
	"strings"
)

func readResolvers(c *Config, v value) {
	entries, _ := v.table()
	for _, e := range entries {
		r := unset.Resolvers[0]
		e.named("resolver")
		r.Name = strings.Clone(e.key)
		readResolver(e, &r)
		c.Resolvers = append(c.Resolvers, r)
	}
}

func readResolver(v value, r *Resolver) {
	if readTable(v, resolverKeys, r) && v.sound("attempt_timeout", "deadline") && r.AttemptTimeout > r.Deadline {
		v.written("deadline", "attempt_timeout").fail("found attempt_timeout %s above deadline %s, expected at most as much",
			Brief(r.AttemptTimeout), Brief(r.Deadline))
	}
}

// file reads the path of a file, or a word that stands for none. A path must not depend on where ebb was started.
func (v value) file(dst *string, none string) {
	expected := "an absolute path, or " + strconv.Quote(none)
	s, ok := v.text(expected)
	switch {
	case !ok:
	case s == none:
		*dst = ""
	case !filepath.IsAbs(s) || strings.ContainsRune(s, 0):
		v.unexpected("%s", expected)
	default:
		*dst = s
	}
}

const serverForms = "\"system\", udp://IP[:PORT], tcp://IP[:PORT], tls://IP[:PORT][#NAME] or https://IP[:PORT]/PATH[#NAME]"

// servers reads the DNS servers of a resolver.
func (v value) servers(dst *[]string) {
	if l, ok := v.raw.([]value); ok && len(l) == 0 {
		v.fail("found an empty list, expected %s", serverForms)
		return
	}
	var out []string
	seen := make(map[string]bool)
	for _, e := range v.texts(serverForms) {
		s, why := serverURL(e.raw.(string))
		switch {
		case why != "":
			e.unexpected("%s: %s", serverForms, why)
		case seen[s]:
			e.fail("found %s twice", e.found())
		default:
			seen[s] = true
			out = append(out, s)
		}
	}
	*dst = out
}

// serverURL gives the one spelling of a DNS server, with its port, and says what is wrong otherwise. A server is given by
// address, for its name could not be looked up; the name behind # is what its certificate must hold for.
func serverURL(s string) (url, why string) {
	if s == "system" {
		return s, ""
	}
	scheme, rest, ok := strings.Cut(s, "://")
	port, known := map[string]uint16{"udp": 53, "tcp": 53, "tls": 853, "https": 443}[scheme]
	switch {
	case !ok:
		if _, why := serverURL("udp://" + s); why == "" {
			return "", fmt.Sprintf("the scheme is missing, did you mean %q?", "udp://"+s)
		}
		return "", "the scheme is missing"
	case !known:
		return "", "the scheme is unknown"
	}
	rest, name, named := strings.Cut(rest, "#")
	if named {
		if scheme == "udp" || scheme == "tcp" {
			return "", "it has a #name, but no certificate to verify it with over " + scheme
		}
		if why := nameProblem(name); why != "" {
			return "", "the name behind #: " + why
		}
		name = "#" + strings.ToLower(strings.TrimSuffix(name, "."))
	}
	path := ""
	if scheme == "https" {
		at := strings.IndexByte(rest, '/')
		if at < 0 {
			return "", "it has no path, usually /dns-query"
		}
		rest, path = rest[:at], rest[at:]
		for _, c := range []byte(path) {
			if c <= ' ' || c >= 0x7f || c == '?' {
				return "", fmt.Sprintf("it has the character %q in its path", c)
			}
		}
	}
	addr, err := netip.ParseAddrPort(rest)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]")); err != nil {
			return "", "the address must be an IP address, with or without a port from 1 to 65535"
		}
		addr = netip.AddrPortFrom(a, port)
	}
	switch a := addr.Addr().Unmap(); {
	case addr.Port() == 0:
		return "", "the port must be from 1 to 65535"
	case a.IsUnspecified() || a.IsMulticast():
		return "", "nothing can be reached at this address"
	default:
		return scheme + "://" + netip.AddrPortFrom(a, addr.Port()).String() + path + name, ""
	}
}
