// Package gate decides by a client's address alone whether it may come in.
//
//	l := gate.NewList(allow, deny)
//	if !l.Admits(client) { ... }
//	place, verdict := sources.Take(client)
//
// The model: a List is what the config says, prefix by prefix, and immutable. Sources counts the sessions of each prefix and
// how fast they come; what it remembers is bounded by the sessions that live and a constant.
//
// It does not read files, count what it refuses, or know listeners.
package gate

import (
	"net/netip"

	"github.com/gaissmai/bart"
)

// List says who may come in. Of the prefixes that hold an address the longest decides. Nil is everybody. It may be used by
// any goroutine.
type List struct {
	prefixes bart.Table[bool]
	rest     bool // of addresses that no prefix holds
}

// NewList makes a List; nil if there is no prefix at all. Who is in none of them may come in, unless allow has some. No prefix
// is in both, and none is of IPv4 addresses written as IPv6.
func NewList(allow, deny []netip.Prefix) *List {
	if len(allow)+len(deny) == 0 {
		return nil
	}
	l := &List{rest: len(allow) == 0}
	for _, p := range allow {
		l.prefixes.Insert(p, true)
	}
	for _, p := range deny {
		l.prefixes.Insert(p, false)
	}
	return l
}

// Admits tells whether an address may come in. It does not allocate.
func (l *List) Admits(a netip.Addr) bool {
	if l == nil {
		return true
	}
	if admitted, found := l.prefixes.Lookup(a.Unmap()); found {
		return admitted
	}
	return l.rest
}
