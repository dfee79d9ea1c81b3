package dnswatch

import (
	"fmt"
	"net/netip"
	"strings"
)

// scheme is how questions reach a server.
type scheme uint8

const (
	schemeUDP scheme = iota
	schemeTCP
	schemeTLS
	schemeHTTPS
)

func (s scheme) String() string { return [...]string{"udp", "tcp", "tls", "https"}[s] }

// server is one DNS server and the way to it. It is a key of maps.
type server struct {
	scheme scheme
	addr   netip.AddrPort
	name   string // that the certificate must hold for; "" is the address
	path   string // of https
}

func (s server) String() string {
	text := s.scheme.String() + "://" + s.addr.String() + s.path
	if s.name != "" {
		text += "#" + s.name
	}
	return text
}

// overTCP is the same server for what UDP cannot carry, or cannot be trusted with.
func (s server) overTCP() server { return server{scheme: schemeTCP, addr: s.addr} }

// certified is the name or address that the certificate must hold for.
func (s server) certified() string {
	if s.name != "" {
		return s.name
	}
	return s.addr.Addr().WithZone("").String()
}

const serverForms = "system, udp://IP[:PORT], tcp://IP[:PORT], tls://IP[:PORT][#NAME] or https://IP[:PORT]/PATH[#NAME]"

// parseServer reads one of serverForms but "system". A server is given by address, for its name could not be looked up.
func parseServer(text string) (server, error) {
	kind, rest, ok := strings.Cut(text, "://")
	var s server
	port := uint16(53)
	switch {
	case !ok:
		return s, fmt.Errorf("server %q, expected %s", text, serverForms)
	case kind == "udp":
	case kind == "tcp":
		s.scheme = schemeTCP
	case kind == "tls":
		s.scheme, port = schemeTLS, 853
	case kind == "https":
		s.scheme, port = schemeHTTPS, 443
	default:
		return s, fmt.Errorf("server %q, expected %s", text, serverForms)
	}
	rest, name, named := strings.Cut(rest, "#")
	if named {
		if s.scheme != schemeTLS && s.scheme != schemeHTTPS {
			return s, fmt.Errorf("server %q has a #name, but no certificate to verify it with over %s", text, s.scheme)
		}
		if err := CheckName(name); err != nil {
			return s, fmt.Errorf("server %q: %w", text, err)
		}
		s.name = strings.TrimSuffix(canonical(name), ".")
	}
	if s.scheme == schemeHTTPS {
		at := strings.IndexByte(rest, '/')
		if at < 0 {
			return s, fmt.Errorf("server %q has no path, usually /dns-query", text)
		}
		rest, s.path = rest[:at], rest[at:]
		for _, c := range []byte(s.path) {
			if c <= ' ' || c >= 0x7f || c == '?' {
				return s, fmt.Errorf("server %q has the character %q in its path", text, c)
			}
		}
	}
	at, err := netip.ParseAddrPort(rest)
	if err != nil {
		var a netip.Addr
		if a, err = netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(rest, "["), "]")); err == nil {
			at = netip.AddrPortFrom(a, port)
		}
	}
	a := at.Addr().Unmap()
	switch {
	case err != nil || at.Port() == 0:
		return s, fmt.Errorf("server %q, expected an IP address with or without a port after %s://", text, kind)
	case a.IsUnspecified() || a.IsMulticast():
		return s, fmt.Errorf("server %q, nothing can be reached at this address", text)
	}
	s.addr = netip.AddrPortFrom(a, at.Port())
	return s, nil
}
