//go:build amd64 || arm64

package flow

import (
	"fmt"
	"net/netip"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// hearClass makes an endpoint tell the class of what it gets.
func (e endpoint) hearClass() {
	e.t.Helper()
	raw, err := e.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { sock.HearClass(int(fd)) })
	}
	if err != nil {
		e.t.Fatal(err)
	}
}

// sendAs sends a datagram of a class.
func (e endpoint) sendAs(class uint8, to netip.AddrPort, b []byte) {
	e.t.Helper()
	if _, _, err := e.WriteMsgUDPAddrPort(b, sock.AppendClass(nil, to.Addr().Is6(), class), to); err != nil {
		e.t.Fatal(err)
	}
}

// wantAs reads a datagram and looks at its class.
func (e endpoint) wantAs(class uint8, want byte) (from netip.AddrPort) {
	e.t.Helper()
	var b, oob [128]byte
	e.SetReadDeadline(time.Now().Add(patience))
	n, oobn, _, from, err := e.ReadMsgUDPAddrPort(b[:], oob[:])
	if err != nil {
		e.t.Fatal(err)
	}
	if n != 1 || b[0] != want {
		e.t.Fatalf("got %v, expected %d", b[:n], want)
	}
	if got := sock.Class(oob[:oobn]); got != class {
		e.t.Errorf("datagram %d has class %#02x, expected %#02x", want, got, class)
	}
	return sock.Unmap(from)
}

// Each datagram has of its class what is to be passed, in bursts and one by one, both ways, from one family to the other.
func TestClassesArePassed(t *testing.T) {
	six := netip.MustParseAddrPort("[::1]:0")
	for _, way := range []struct{ listen, asked, client, peer string }{
		{"127.0.0.1:0", "127.0.0.1", "127.0.0.1:0", "127.0.0.1:0"},
		{"0.0.0.0:0", "127.0.0.9", "127.0.0.1:0", "127.0.0.1:0"},
		{"[::]:0", "127.0.0.9", "127.0.0.1:0", "127.0.0.1:0"},
		{"127.0.0.1:0", "127.0.0.1", "127.0.0.1:0", "[::1]:0"},
		{"[::]:0", "::1", "[::1]:0", "127.0.0.1:0"},
		{"[::1]:0", "::1", "[::1]:0", "[::1]:0"},
	} {
		for _, mask := range []uint8{0, ECN, DSCP, ECN | DSCP} {
			t.Run(fmt.Sprintf("%s to %s/%#02x", way.listen, way.peer, mask), func(t *testing.T) {
				if c, err := sock.ListenUDP(t.Context(), six, sock.Default); err == nil {
					c.Close()
				} else if way.listen[0] == '[' || way.peer[0] == '[' {
					t.Skip("no IPv6 here: ", err)
				}
				conn, err := sock.ListenUDP(t.Context(), netip.MustParseAddrPort(way.listen), sock.Default)
				if err != nil {
					t.Fatal(err)
				}
				peer, c := bind(t, netip.MustParseAddrPort(way.peer)), bind(t, netip.MustParseAddrPort(way.client))
				peer.hearClass()
				c.hearClass()
				r := newRigOn(t, conn, Options{IdleTimeout: time.Minute, Class: mask}, peer.addr)
				r.group.Retune(&sock.Options{Listening: sock.Listening{Class: mask != 0}})
				asked := netip.AddrPortFrom(netip.MustParseAddr(way.asked), r.addr.Port())
				const n = 20
				class := func(i int) uint8 { return []uint8{0xb9, 0xb9, 0xb9, 0x02, 0, 0x03, 0x2a}[i%7] }
				for i := range n {
					c.sendAs(class(i), asked, []byte{byte(i)})
				}
				r.run()
				var upstream netip.AddrPort
				for i := range n {
					upstream = peer.wantAs(class(i)&mask, byte(i))
				}
				r.stalled[Out].Lock()
				for i := range n {
					peer.sendAs(class(i), upstream, []byte{byte(i)})
				}
				r.stalled[Out].Unlock()
				for i := range n {
					if from := c.wantAs(class(i)&mask, byte(i)); from != asked {
						t.Errorf("from %v", from)
					}
				}
				for i := range n {
					c.sendAs(class(i), asked, []byte{byte(i)})
					peer.sendAs(class(i), peer.wantAs(class(i)&mask, byte(i)), []byte{byte(i)})
					c.wantAs(class(i)&mask, byte(i))
				}
				if d := r.drops(); len(d) > 0 {
					t.Errorf("dropped %v", d)
				}
				if n := len(r.opened()); n != 1 {
					t.Errorf("%d flows", n)
				}
			})
		}
	}
}
