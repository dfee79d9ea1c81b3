package config

import (
	"net/netip"
	"strconv"
	"strings"
)

const listenForms = "tcp://ADDRESS:PORT, udp://ADDRESS:PORT or tcp+udp://ADDRESS:PORT"

// listen reads one address to listen on, or a list.
func (v value) listen(dst *[]Endpoint) {
	if l, ok := v.raw.([]value); ok && len(l) == 0 {
		v.fail("found an empty list, expected %s", listenForms)
		return
	}
	for _, e := range v.texts(listenForms) {
		for _, at := range e.endpoints() {
			*dst = append(*dst, at)
			e.src.listens = append(e.src.listens, bound{e, at})
		}
	}
}

func (v value) endpoints() []Endpoint {
	s := v.raw.(string)
	if strings.HasPrefix(s, "unix:") {
		v.fail("found %s, %s, expected %s", v.found(), notYet, listenForms)
		return nil
	}
	scheme, rest, ok := strings.Cut(s, "://")
	networks := strings.Split(scheme, "+")
	if !ok || scheme != "tcp" && scheme != "udp" && scheme != "tcp+udp" {
		v.unexpected(listenForms)
		return nil
	}
	addr, why := listenAddress(rest)
	if why != "" {
		v.unexpected("%s: %s", listenForms, why)
		return nil
	}
	var out []Endpoint
	for _, network := range networks {
		out = append(out, Endpoint{network, addr})
	}
	return out
}

// listenAddress reads ADDRESS:PORT, and says what is wrong otherwise. An empty address is [::], every address of both
// families; localhost is 127.0.0.1. Other names are refused: what they stand for may change, what is bound does not.
func listenAddress(s string) (addr netip.AddrPort, why string) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || strings.HasSuffix(s, "]") {
		return addr, "the port is missing"
	}
	host, port := s[:i], s[i+1:]
	switch n, err := strconv.Atoi(port); {
	case port == "":
		return addr, "the port is missing"
	case err != nil || port[0] == '+':
		return addr, "the port must be a number from 1 to 65535"
	case n < 1 || n > 65535:
		return addr, "the port must be from 1 to 65535"
	default:
		a, why := listenHost(host)
		return netip.AddrPortFrom(a, uint16(n)), why
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
	case err != nil && strings.ContainsAny(inner, ":/"):
		return a, "the address is none"
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
