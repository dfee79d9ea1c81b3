package sock

import (
	"net"
	"net/netip"
)

// HasIPv6 tells whether this host has a route to the IPv6 Internet, so that asking for IPv6 addresses makes sense. It
// sends nothing: connecting a UDP socket only looks the route up.
func HasIPv6() bool {
	// 2001:db8::/32 is documentation space (RFC 3849): routed like any address, owned by nobody.
	c, err := net.DialUDP("udp6", nil, net.UDPAddrFromAddrPort(netip.MustParseAddrPort("[2001:db8::1]:53")))
	if err != nil {
		return false
	}
	defer func() { _ = c.Close() }()
	local := AddrPort(c.LocalAddr()).Addr()
	return !local.IsLinkLocalUnicast() && !local.IsLoopback()
}
