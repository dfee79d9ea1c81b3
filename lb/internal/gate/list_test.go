package gate

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"testing"
)

func prefixes(texts ...string) (list []netip.Prefix) {
	for _, s := range texts {
		list = append(list, netip.MustParsePrefix(s))
	}
	return list
}

func TestTheLongestPrefixDecides(t *testing.T) {
	none := prefixes()
	for _, test := range []struct {
		name        string
		allow, deny []netip.Prefix
		admitted    []string
		turnedAway  []string
	}{
		{"nothing", none, none, []string{"1.2.3.4", "::1"}, nil},
		{
			"deny alone", none, prefixes("10.0.0.0/8", "2001:db8::/32"),
			[]string{"11.0.0.1", "9.255.255.255", "2001:db9::1"}, []string{"10.0.0.0", "10.255.255.255", "2001:db8::1", "::ffff:10.1.1.1"},
		},
		{
			"allow alone", prefixes("10.0.0.0/8"), none,
			[]string{"10.1.2.3", "::ffff:10.1.1.1"}, []string{"11.0.0.1", "::1", "2001:db8::1"},
		},
		{
			"nested, three deep", prefixes("10.0.0.0/8", "10.1.1.0/24"), prefixes("10.1.0.0/16", "10.1.1.7/32"),
			[]string{"10.0.0.1", "10.1.1.1", "10.2.0.1"}, []string{"10.1.0.1", "10.1.1.7", "10.1.2.1", "192.0.2.1"},
		},
		{
			"a hole in all", prefixes("2001:db8:1::/48"), prefixes("::/0", "0.0.0.0/0"),
			[]string{"2001:db8:1::7"}, []string{"2001:db8:2::7", "192.0.2.1", "::1"},
		},
		{"a zone is no part of the address", none, prefixes("fe80::/10"), []string{"::1"}, []string{"fe80::1%eth0"}},
	} {
		l := NewList(test.allow, test.deny)
		for _, a := range test.admitted {
			if !l.Admits(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is turned away", test.name, a)
			}
		}
		for _, a := range test.turnedAway {
			if l.Admits(netip.MustParseAddr(a)) {
				t.Errorf("%s: %s is admitted", test.name, a)
			}
		}
	}
}

// many makes n prefixes of lengths that lists have, half of them IPv6.
func many(n int) []netip.Prefix {
	random := rand.New(rand.NewPCG(1, 2))
	seen := make(map[netip.Prefix]bool, n)
	for len(seen) < n {
		var a [16]byte
		binary.BigEndian.PutUint64(a[:], random.Uint64()&0x0fff_ffff_ffff_ffff|0x2000_0000_0000_0000)
		p := netip.PrefixFrom(netip.AddrFrom16(a), 32+random.IntN(33))
		if len(seen)%2 == 0 {
			p = netip.PrefixFrom(netip.AddrFrom4([4]byte(a[4:8])), 12+random.IntN(21))
		}
		seen[p.Masked()] = true
	}
	var list []netip.Prefix
	for p := range seen {
		list = append(list, p)
	}
	return list
}

func TestAdmitsAllocatesNothing(t *testing.T) {
	l := NewList(nil, many(1000))
	a, b := netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() { l.Admits(a); l.Admits(b) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkAdmits(b *testing.B) {
	for _, size := range []struct {
		name string
		n    int
	}{{"prefixes=10", 10}, {"prefixes=100000", 100_000}} {
		b.Run(size.name, func(b *testing.B) {
			l := NewList(nil, many(size.n))
			var clients [1024]netip.Addr
			for i, p := range many(len(clients)) {
				clients[i] = p.Addr()
			}
			b.ReportAllocs()
			i := 0
			for b.Loop() {
				l.Admits(clients[i%len(clients)])
				i++
			}
		})
	}
}

func BenchmarkNewList(b *testing.B) {
	list := many(100_000)
	b.ReportAllocs()
	for b.Loop() {
		NewList(nil, list)
	}
}
