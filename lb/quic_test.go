package lb

import (
	"bytes"
	"net"
	"net/netip"
	"testing"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// quicPeer answers like a QUIC server as far as ids go: the first datagram of a connection tells its id, which is "0", the last
// byte of its address and zeros; the others get its address.
func quicPeer(t *testing.T, ip string, port uint16) netip.AddrPort {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), port)))
	if err != nil {
		t.Fatal(err)
	}
	at := netip.MustParseAddrPort(c.LocalAddr().String())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 64); ; {
			n, from, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			reply := []byte(at.String())
			if n > 0 && b[0]&0x80 != 0 {
				reply = append([]byte{0x80, 0, 0, 0, 1, 0, 4, '0', at.Addr().As4()[3], 0, 0}, reply...)
			}
			c.WriteToUDPAddrPort(reply, from)
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return at
}

// A connection id leads to its server as long as that may be picked, and no longer; a reload switches that on and off.
func TestQUICIDLeadsToItsServer(t *testing.T) {
	r := newRig(t)
	r.listener().Listen[0].Network = "udp"
	r.listener().QUICIDLength, r.listener().QUICServerLength = 4, 1
	first := quicPeer(t, "127.0.0.2", 0)
	second := quicPeer(t, "127.0.0.3", first.Port())
	r.pool().Backends = []config.Backend{literal(first), literal(second)}
	r.pool().Balance = "roundrobin"
	r.serve()
	say := func(b []byte) string {
		t.Helper()
		c := r.udp()
		if _, err := c.Write(b); err != nil {
			t.Fatal(err)
		}
		reply := make([]byte, 64)
		n, err := c.Read(reply)
		if err != nil {
			t.Fatal(err)
		}
		return string(reply[bytes.IndexByte(reply[:n], '1'):n])
	}
	hello := append([]byte{0x80, 0, 0, 0, 1, 4}, "any!\x00"...)
	met := make(map[string]bool)
	eventually(t, "both servers have told their ids", func() bool { met[say(hello)] = true; return len(met) == 2 })
	known, other := []byte{0x40, '0', 2, 0, 0}, []byte{0x40, '0', 2, 'x', 'y'}
	for range 2 {
		for _, b := range [][]byte{known, other} {
			if who := say(b); who != first.String() {
				t.Errorf("%q went to %s", b, who)
			}
		}
	}
	r.order(first, admin.Order{Word: "drain"})
	for _, b := range [][]byte{known, other} {
		if who := say(b); who != second.String() {
			t.Errorf("%q went to %s, which is drained", b, who)
		}
	}
	r.reloads(func(c *config.Config) { c.Listeners[0].QUICIDLength, c.Listeners[0].QUICServerLength = 0, 0 },
		"listener front: changed quic_id_length, quic_server_length")
	r.order(first, admin.Order{Word: "ready"})
	clear(met)
	eventually(t, "without ids both are met", func() bool { met[say(known)] = true; return len(met) == 2 })
	r.cutAll()
}
