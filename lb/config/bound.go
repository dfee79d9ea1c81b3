package config

import "net/netip"

// bound is an address that this process will listen on, and where that was said.
type bound struct {
	value
	Endpoint
}

// port is what bound addresses compete for.
type port struct {
	network string
	number  uint16
}

// claims are the addresses taken on one port. The kernel binds none of them twice, and a wildcard takes every address of
// its family; that of IPv6 is bound for both.
type claims struct {
	exact     map[netip.Addr]bound
	any, any4 *bound // the first, and the first of IPv4
}

// clash gives the claim that stands in the way of another one; nil if none does.
func (c *claims) clash(a netip.Addr) *bound {
	v4, v6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	candidates := []netip.Addr{a, v6}
	if a.Is4() {
		candidates = append(candidates, v4)
	}
	for _, candidate := range candidates {
		if b, taken := c.exact[candidate]; taken {
			return &b
		}
	}
	switch a {
	case v4:
		return c.any4
	case v6:
		return c.any
	}
	return nil
}

func (c *claims) take(b bound) {
	a := b.Addr.Addr()
	c.exact[a] = b
	if c.any == nil {
		c.any = &b
	}
	if c.any4 == nil && a.Is4() {
		c.any4 = &b
	}
}

// checkListens refuses addresses that cannot both be bound, that of the admin API included.
func (s *source) checkListens(c *Config) {
	bounds := s.listens
	if addr, err := netip.ParseAddrPort(c.Admin.Listen); err == nil && !s.adminWritten {
		admin := value{path: "admin.listen", src: s}
		bounds = append([]bound{{admin, Endpoint{Network: "tcp", Addr: addr}}}, bounds...)
	}
	taken := make(map[port]*claims)
	passed := make(map[Endpoint]bound)
	for _, b := range bounds {
		if b.Passed != "" {
			if first, twice := passed[b.Endpoint]; twice {
				b.fail("found %s, which %s has, expected each socket once", b.Endpoint, first.origin())
				continue
			}
			passed[b.Endpoint] = b
			continue
		}
		p := port{b.Network, b.Addr.Port()}
		if taken[p] == nil {
			taken[p] = &claims{exact: make(map[netip.Addr]bound)}
		}
		if first := taken[p].clash(b.Addr.Addr()); first != nil {
			b.fail("found %s, which overlaps %s of %s, expected each address once", b.Endpoint, first.Endpoint, first.origin())
			continue
		}
		taken[p].take(b)
	}
}
