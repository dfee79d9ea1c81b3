package migrate

import (
	"encoding/binary"
	"math/bits"
	"net/netip"
	"path/filepath"
	"strings"
)

// rule is one of a list of which the first that matches decides.
type rule struct {
	accept bool
	of     []string // prefixes, addresses and list files; nil matches everybody
}

// access says a list of rules in ebb's words, in which the longest prefix decides. why is "" unless that cannot be done.
func access(rules []rule) (allow, deny []string, why string) {
	type named struct {
		prefix netip.Prefix
		accept bool
	}
	var before []named
	files := map[bool]bool{}
	rest := true // whoever is in no rule comes in
	for _, r := range rules {
		if r.of == nil {
			rest = r.accept
			break
		}
		for _, text := range r.of {
			if filepath.IsAbs(text) {
				files[r.accept] = true
				allow, deny = sorted(allow, deny, text, r.accept)
				continue
			}
			p, ok := prefix(text)
			if !ok {
				return nil, nil, "it has " + printable(text) + ", which is neither an address nor a prefix"
			}
			void := false // an earlier rule has decided on all of it
			for _, b := range before {
				void = void || b.prefix.Bits() <= p.Bits() && b.prefix.Contains(p.Addr())
			}
			if !void {
				before = append(before, named{p, r.accept})
				allow, deny = sorted(allow, deny, short(p), r.accept)
			}
		}
	}
	if (files[true] || files[false]) && len(allow) > 0 && len(deny) > 0 {
		return nil, nil, "it mixes list files that let in and that keep out; ebb goes by the longest prefix, not by the order: write allow and deny by hand"
	}
	switch {
	case !rest && len(allow) == 0:
		return nil, nil, "it lets nobody in"
	case rest && len(deny) > 0 && len(allow) > 0:
		allow = append(allow, "0.0.0.0/0", "::/0")
	case rest:
		allow = nil
	}
	return allow, deny, ""
}

func sorted(allow, deny []string, text string, accept bool) (a, d []string) {
	if accept {
		return append(allow, text), deny
	}
	return allow, append(deny, text)
}

// prefix reads a prefix, also one that has bits beyond its length, or an address.
func prefix(text string) (netip.Prefix, bool) {
	if a, err := netip.ParseAddr(text); err == nil && a.Zone() == "" {
		a = a.Unmap()
		return netip.PrefixFrom(a, a.BitLen()), true
	}
	if p, err := netip.ParsePrefix(text); err == nil && !p.Addr().Is4In6() {
		return p.Masked(), true
	}
	addr, mask, ok := strings.Cut(text, "/") // 10.0.0.0/255.0.0.0
	a, err := netip.ParseAddr(addr)
	m, err2 := netip.ParseAddr(mask)
	if !ok || err != nil || err2 != nil || !a.Is4() || !m.Is4() {
		return netip.Prefix{}, false
	}
	b := m.As4()
	inverse := ^binary.BigEndian.Uint32(b[:])
	p := netip.PrefixFrom(a, bits.LeadingZeros32(inverse)).Masked()
	return p, inverse&(inverse+1) == 0
}

// short is a prefix, or the address if that is all of it.
func short(p netip.Prefix) string {
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}
