//go:build amd64 || arm64

package sock

import (
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// FuzzSockaddr: an address that was written for the kernel is read as what it was, and no bytes of the kernel's are too strange.
func FuzzSockaddr(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1}, uint16(53))
	f.Add(netip.MustParseAddr("2001:db8::1").AsSlice(), uint16(0))
	f.Add(netip.MustParseAddr("::ffff:192.0.2.1").AsSlice(), uint16(65535))
	f.Fuzz(func(t *testing.T, ip []byte, port uint16) {
		var name [SockaddrSize]byte
		copy(name[:], ip)
		Address(&name)
		addr, ok := netip.AddrFromSlice(ip)
		if !ok {
			return
		}
		at := netip.AddrPortFrom(addr, port)
		name = [SockaddrSize]byte{}
		Sockaddr(&name, at)
		if got := Address(&name); got != Unmap(at) {
			t.Errorf("%v is read as %v", at, got)
		}
	})
}

// FuzzControl: whatever control messages say, the datagram is for an address at the socket's port, and nothing panics.
func FuzzControl(f *testing.F) {
	v4 := unix.PktInfo4(&unix.Inet4Pktinfo{Addr: [4]byte{192, 0, 2, 1}})
	v6 := unix.PktInfo6(&unix.Inet6Pktinfo{Addr: netip.MustParseAddr("2001:db8::1").As16()})
	for _, control := range [][]byte{nil, v4, v6, append(v4, v6...), v4[:len(v4)-5], AppendClass(nil, true, 0xb9), AppendClass(v4[:len(v4):len(v4)], false, 3), {1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}} {
		f.Add(control)
	}
	bound := netip.MustParseAddrPort("0.0.0.0:53")
	f.Fuzz(func(t *testing.T, control []byte) {
		if at := Asked(control, bound); !at.IsValid() || at.Port() != bound.Port() || at.Addr().Is4In6() {
			t.Errorf("%x: for %v", control, at)
		}
		if n, ok := overflowed(control); !ok && n != 0 {
			t.Errorf("%x: %d without a count", control, n)
		}
		if Class(control) != 0 && len(control) < unix.SizeofCmsghdr+1 {
			t.Errorf("%x: a class without a message", control)
		}
		before := Class(control)
		if got := Class(AppendClass(nil, before%2 == 0, before)); got != before {
			t.Errorf("class %#x came back as %#x", before, got)
		}
	})
}
