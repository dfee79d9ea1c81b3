package dnswatch

import (
	"fmt"
	"net/netip"
	"strings"
)

// CheckName says whether a host name can be asked for: at most 253 bytes, labels of 1 to 63 letters, digits, hyphens (not
// first or last) and underscores. One dot at the end is allowed.
func CheckName(name string) error {
	bare := strings.TrimSuffix(name, ".")
	if bare == "" {
		return fmt.Errorf("the name %q is empty", name)
	}
	if len(bare) > 253 {
		return fmt.Errorf("the name has %d bytes, at most 253 are possible", len(bare))
	}
	for label := range strings.SplitSeq(bare, ".") {
		switch {
		case label == "":
			return fmt.Errorf("the name %q has an empty label", name)
		case len(label) > 63:
			return fmt.Errorf("the label %q has %d bytes, at most 63 are possible", label, len(label))
		case label[0] == '-' || label[len(label)-1] == '-':
			return fmt.Errorf("the label %q begins or ends with a hyphen", label)
		}
		for _, c := range []byte(label) {
			if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '-' || c == '_') {
				return fmt.Errorf("the label %q has the character %q; letters, digits, - and _ are possible", label, c)
			}
		}
	}
	return nil
}

// canonical is the form of a name in answers and keys: lower case. The last dot stays, for it makes a name absolute.
func canonical(name string) string { return strings.ToLower(name) }

// literal gives the address that a name is, if it is one.
func literal(name string) (netip.Addr, bool) {
	a, err := netip.ParseAddr(name)
	return a.Unmap(), err == nil
}

// isLocalhost is true for the names that RFC 6761 keeps off the wire.
func isLocalhost(name string) bool {
	name = strings.TrimSuffix(name, ".")
	return name == "localhost" || strings.HasSuffix(name, ".localhost")
}
