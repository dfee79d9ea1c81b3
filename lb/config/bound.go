package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// bound is an address that this process will listen on, and where that was said.
type bound struct {
	value
	Endpoint
	v6only bool // a wildcard of IPv6 is for that alone
}

// shown is the address, and what was written where that says more than one, or says it in other words.
func (b bound) shown() string {
	if s, ok := b.raw.(string); ok && !strings.HasSuffix(b.Endpoint.String(), s) {
		return fmt.Sprintf("%s (%s)", b.Endpoint, b.found())
	}
	return b.Endpoint.String()
}

// port is what bound addresses compete for.
type port struct {
	network string
	number  uint16
}

// claims are the addresses taken on one port. The kernel binds none of them twice, and a wildcard takes every address of
// its family; that of IPv6 is bound for both, unless it is to be for one.
type claims struct {
	exact           map[netip.Addr]*bound
	any, any4, any6 *bound // the first, and the first of each family
}

// clash gives the claim that stands in the way of another one; nil if none does.
func (c *claims) clash(b *bound) *bound {
	v4, v6 := netip.IPv4Unspecified(), netip.IPv6Unspecified()
	a := b.Addr.Addr()
	for _, candidate := range [...]netip.Addr{a, v6, v4} {
		if candidate == v4 && !a.Is4() {
			continue
		}
		if b := c.exact[candidate]; b != nil && !(b.v6only && a.Is4()) {
			return b
		}
	}
	switch {
	case a == v4:
		return c.any4
	case a == v6 && b.v6only:
		return c.any6
	case a == v6:
		return c.any
	}
	return nil
}

func (c *claims) take(b *bound) {
	a := b.Addr.Addr()
	c.exact[a] = b
	if c.any == nil {
		c.any = b
	}
	first := &c.any6
	if a.Is4() {
		first = &c.any4
	}
	if *first == nil {
		*first = b
	}
}

// checkListens refuses addresses that cannot both be bound, that of the admin API included.
func (s *source) checkListens(c *Config) {
	bounds := s.listens
	if addr, err := netip.ParseAddrPort(c.Admin.Listen); err == nil && !s.adminWritten {
		admin := value{in: "admin", key: "listen", src: s}
		bounds = append([]bound{{value: admin, Endpoint: Endpoint{Network: "tcp", Addr: addr}}}, bounds...)
	}
	taken := make(map[port]*claims)
	passed := make(map[Endpoint]*bound)
	for i := range bounds {
		b := &bounds[i]
		if b.Passed != "" || b.Path != "" {
			if first, twice := passed[b.Endpoint]; twice {
				b.fail("found %s, which %s has, expected each socket once", b.Endpoint, first.origin())
				continue
			}
			passed[b.Endpoint] = b
			continue
		}
		p := port{b.Network, b.Addr.Port()}
		if taken[p] == nil {
			taken[p] = &claims{exact: make(map[netip.Addr]*bound)}
		}
		if first := taken[p].clash(b); first != nil {
			b.fail("found %s, which overlaps %s of %s, expected each address once", b.shown(), first.shown(), first.origin())
			continue
		}
		taken[p].take(b)
	}
}
