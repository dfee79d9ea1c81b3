package lb

import (
	"net/netip"
	"slices"
)

// addressAllowed gives the rule for addresses that DNS may name. Unspecified, multicast and broadcast addresses are never
// peers; loopback and link-local ones only where the backend allows them, for a name that points inward is an attack
// (DNS rebinding) or a mistake.
func addressAllowed(allow []string) func(netip.Addr) bool {
	loopback, linkLocal := slices.Contains(allow, "loopback"), slices.Contains(allow, "link-local")
	broadcast := netip.AddrFrom4([4]byte{255, 255, 255, 255})
	return func(a netip.Addr) bool {
		a = a.Unmap()
		switch {
		case !a.IsValid(), a.IsUnspecified(), a.IsMulticast(), a == broadcast:
			return false
		case a.IsLoopback():
			return loopback
		case a.IsLinkLocalUnicast():
			return linkLocal
		}
		return true
	}
}
