package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// host reads what a backend stands for: a DNS name or an address.
func (v value) host(dst *string) {
	s, ok := v.text("a DNS name or an IP address")
	if !ok {
		return
	}
	if why := hostProblem(s); why != "" {
		v.unexpected("a DNS name or an IP address: %s", why)
		return
	}
	*dst = s
}

// hostProblem says why s cannot be a backend's host; "" if it can.
func hostProblem(s string) string {
	if a, err := netip.ParseAddr(s); err == nil {
		a = a.Unmap()
		if a.IsUnspecified() || a.IsMulticast() || a == netip.AddrFrom4([4]byte{255, 255, 255, 255}) {
			return "nothing can be reached at this address"
		}
		return ""
	}
	if _, err := netip.ParseAddrPort(s); err == nil {
		return "the port has its own key"
	}
	return nameProblem(s)
}

// nameProblem says what is wrong with a DNS name, after RFC 1035 section 2.3.4 and RFC 1123 section 2.1, with underscores
// allowed since names of services have them; "" if nothing is. One dot at the end makes a name absolute.
func nameProblem(s string) string {
	bare := strings.TrimSuffix(s, ".")
	if bare == "" {
		return "the name is empty"
	}
	if len(bare) > 253 {
		return fmt.Sprintf("it has %d bytes, a name has at most 253", len(bare))
	}
	labels := strings.Split(bare, ".")
	for _, label := range labels {
		switch {
		case label == "":
			return "it has an empty label, that is two dots in a row or one at the beginning"
		case len(label) > 63:
			return fmt.Sprintf("a label of it has %d bytes, at most 63 are possible", len(label))
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Sprintf("the label %q begins or ends with a hyphen", label)
		}
		for _, r := range label {
			switch {
			case 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '-' || r == '_':
			case r == ':':
				return "it has a colon, the port has its own key"
			case r >= 0x80:
				return fmt.Sprintf("it has the character %q, write the name in its ASCII form (xn--)", r)
			default:
				return fmt.Sprintf("it has the character %q; letters, digits, hyphens and underscores are possible", r)
			}
		}
	}
	// No top-level domain is a number (RFC 3696 section 2), and inet_aton would take such a name for an address.
	if strings.Trim(labels[len(labels)-1], "0123456789") == "" {
		return "its last label is a number, so that it looks like an address but is none"
	}
	return ""
}
