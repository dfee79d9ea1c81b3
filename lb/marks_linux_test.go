//go:build amd64 || arm64

package lb

import (
	"net"
	"net/netip"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// hearing makes a socket tell the class of what it gets.
func hearing(t *testing.T, c *net.UDPConn) {
	t.Helper()
	raw, err := c.SyscallConn()
	if err == nil {
		err = raw.Control(func(fd uintptr) { sock.HearClass(int(fd)) })
	}
	if err != nil {
		t.Fatal(err)
	}
}

// recvClass reads a datagram and gives who has sent it, and its class.
func recvClass(t *testing.T, c *net.UDPConn) (netip.AddrPort, uint8) {
	t.Helper()
	var b, oob [128]byte
	c.SetReadDeadline(time.Now().Add(patience))
	_, oobn, _, from, err := c.ReadMsgUDPAddrPort(b[:], oob[:])
	if err != nil {
		t.Fatal(err)
	}
	return from, sock.Class(oob[:oobn])
}

// Marks are passed where a listener is asked to, also by a reload: by flows that begin from then on.
func TestMarksArePassedWhereAsked(t *testing.T) {
	r := newRig(t)
	r.listener().Listen[0].Network = "udp"
	peer, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 2)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { peer.Close() })
	hearing(t, peer)
	at := sock.AddrPort(peer.LocalAddr())
	r.pool().Backends = []config.Backend{named(at.Addr().String(), at.Port())}
	r.serve()
	const ef, ce = 0b10111000, 0b11
	trip := func(c udpClient, want uint8) {
		t.Helper()
		if _, _, err := c.WriteMsgUDP([]byte("x"), sock.AppendClass(nil, false, ef|ce), nil); err != nil {
			t.Fatal(err)
		}
		from, class := recvClass(t, peer)
		if class != want {
			t.Errorf("the peer sees %#02x, expected %#02x", class, want)
		}
		if _, _, err := peer.WriteMsgUDPAddrPort([]byte("x"), sock.AppendClass(nil, false, ef|ce), from); err != nil {
			t.Fatal(err)
		}
		if _, class := recvClass(t, c.UDPConn); class != want {
			t.Errorf("the client sees %#02x, expected %#02x", class, want)
		}
	}
	client := func() udpClient {
		c := r.udp()
		hearing(t, c.UDPConn)
		return c
	}
	before := client()
	trip(before, 0)
	r.reloads(func(c *config.Config) { c.Listeners[0].PassECN = true }, "listener front: changed pass_ecn")
	trip(before, 0)
	with := client()
	trip(with, ce)
	r.reloads(func(c *config.Config) { c.Listeners[0].PassECN, c.Listeners[0].PassDSCP = false, true }, "listener front: changed pass_ecn, pass_dscp")
	trip(with, ce)
	trip(client(), ef)
	r.cutAll()
}
