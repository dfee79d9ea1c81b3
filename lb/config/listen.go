package config

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
)

const listenForms = "tcp://ADDRESS:PORT, udp://ADDRESS:PORT, tcp+udp://ADDRESS:PORT or unix:PATH"

// listen reads one address to listen on, or a list.
func (v value) listen(dst *[]Endpoint) {
	if l, ok := v.raw.([]value); ok && len(l) == 0 {
		v.fail("found an empty list, expected %s", listenForms)
		return
	}
	for _, e := range v.texts(listenForms) {
		for _, at := range e.endpoints() {
			*dst = append(*dst, at)
			e.src.listens = append(e.src.listens, bound{value: e, Endpoint: at})
		}
	}
}

func (v value) endpoints() []Endpoint {
	s := v.raw.(string)
	if path, ok := strings.CutPrefix(s, UnixPrefix); ok {
		if why := socketPathProblem(path); why != "" {
			v.unexpected("%s: %s", listenForms, why)
			return nil
		}
		return []Endpoint{{Network: "unix", Path: path}}
	}
	scheme, rest, ok := strings.Cut(s, "://")
	networks := strings.Split(scheme, "+")
	switch {
	case !ok:
		v.unexpected("%s: %s", listenForms, withoutScheme(s))
		return nil
	case scheme != "tcp" && scheme != "udp" && scheme != "tcp+udp":
		v.unexpected("%s: the scheme %q is none of these", listenForms, scheme)
		return nil
	case strings.Contains(rest, "://"):
		v.unexpected("%s: several are a list, [\"...\", \"...\"]", listenForms)
		return nil
	}
	var out []Endpoint
	if name, passed := strings.CutPrefix(rest, PassedPrefix); passed {
		if !passedName(name) {
			v.unexpected("%s://%s", scheme, passedForm)
			return nil
		}
		for _, network := range networks {
			out = append(out, Endpoint{Network: network, Passed: name})
		}
		return out
	}
	addr, last, why := listenRange(rest)
	if why != "" {
		v.unexpected("%s: %s", listenForms, why)
		return nil
	}
	for _, network := range networks {
		for port := int(addr.Port()); port <= int(last); port++ {
			out = append(out, Endpoint{Network: network, Addr: netip.AddrPortFrom(addr.Addr(), uint16(port))})
		}
	}
	return out
}

// withoutScheme says what is wrong with an address that has no scheme.
func withoutScheme(s string) string {
	for _, at := range []string{s, ":" + s} {
		if _, _, why := listenRange(at); why == "" {
			return fmt.Sprintf("the scheme is missing, did you mean %q?", "tcp://"+at)
		}
	}
	return "the scheme is missing"
}

const passedForm = "systemd:NAME, where the name of a socket has 1 to 255 ASCII characters, no control characters and no colon"

// passedName tells whether systemd lets a socket have this name (sd_listen_fds(3)).
func passedName(name string) bool {
	return name != "" && len(name) <= 255 && !strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r >= 0x7f || r == ':' })
}

// maxRange bounds the ports of one range: each of them is a socket.
const maxRange = 1000

// listenRange reads ADDRESS:PORT or ADDRESS:FIRST-LAST, and says what is wrong otherwise.
func listenRange(s string) (first netip.AddrPort, last uint16, why string) {
	i := strings.LastIndexByte(s, '-')
	if i < 0 || i < strings.LastIndexByte(s, ':') { // none, or one in the name of a zone
		first, why = listenAddress(s)
		return first, first.Port(), why
	}
	if first, why = listenAddress(s[:i]); why != "" {
		return first, 0, why
	}
	last, why = listenPort(s[i+1:])
	switch {
	case why != "":
		return first, 0, why
	case last < first.Port():
		return first, 0, "a range goes from the lower port to the higher one"
	case last-first.Port() >= maxRange:
		return first, 0, fmt.Sprintf("a range has at most %d ports", maxRange)
	}
	return first, last, ""
}

// listenAddress reads ADDRESS:PORT, and says what is wrong otherwise. An empty address is [::], every address of both
// families; localhost is 127.0.0.1. Other names are refused: what they stand for may change, what is bound does not.
func listenAddress(s string) (addr netip.AddrPort, why string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") {
		return addr, "the port is missing"
	}
	port, why := listenPort(s[i+1:])
	if why != "" {
		return addr, why
	}
	a, why := listenHost(s[:i])
	return netip.AddrPortFrom(a, port), why
}

func listenPort(s string) (port uint16, why string) {
	switch n, err := strconv.Atoi(s); {
	case s == "":
		return 0, "the port is missing"
	case err != nil || s[0] == '+':
		return 0, "the port must be a number from 1 to 65535"
	case n < 1 || n > 65535:
		return 0, "the port must be from 1 to 65535"
	default:
		return uint16(n), ""
	}
}

func listenHost(host string) (a netip.Addr, why string) {
	switch host {
	case "":
		return netip.IPv6Unspecified(), ""
	case "localhost":
		return netip.AddrFrom4([4]byte{127, 0, 0, 1}), ""
	case "*":
		return a, "leave the address out to listen on all"
	}
	inner, bracketed := strings.CutPrefix(host, "[")
	if bracketed {
		if inner, bracketed = strings.CutSuffix(inner, "]"); !bracketed {
			return a, "a bracket is not closed"
		}
	}
	a, err := netip.ParseAddr(inner)
	switch {
	case err != nil && !bracketed && strings.Contains(inner, ":"):
		return a, "an IPv6 address needs brackets"
	case err != nil && strings.ContainsAny(inner, ":/"):
		return a, "this is no IP address"
	case err != nil:
		return a, "the address must be an IP address, not a name"
	case a.Is4() && bracketed:
		return a, "brackets are for IPv6 addresses"
	case a.Is6() && !bracketed:
		return a, "an IPv6 address needs brackets"
	case a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}):
		return a, "a multicast or broadcast address serves nobody"
	}
	return a.Unmap(), ""
}
