//go:build linux

package integration

import (
	"bytes"
	"net"
	"net/netip"
	"testing"
	"time"
)

func TestUD1(t *testing.T) {
	t.Parallel()
	b := echoUDP(t, at(2, freePort(t)))
	e := start(t, setup{network: "udp", hosts: []string{host(2)}, port: b.addr.Port(), listener: `idle_timeout = "2s"`})
	clients := []udpClient{listenUDP(t, at(1, 0)), listenUDP(t, at(1, 0))}
	// round sends three datagrams from each client and gives the source port that the peer saw for each client.
	round := func() (ports [2]uint16) {
		for i, c := range clients {
			for n := range 3 {
				before := len(b.from())
				c.send(t, []byte{byte(i), byte(n)}, e.addr)
				got, from := c.recv(t)
				if !bytes.Equal(got, []byte{byte(i), byte(n)}) || from != e.addr {
					t.Errorf("client %d got %v from %v", i, got, from)
				}
				port := b.from()[before].Port()
				if ports[i] != 0 && ports[i] != port {
					t.Errorf("client %d moved from port %d to %d within its flow", i, ports[i], port)
				}
				ports[i] = port
			}
		}
		if ports[0] == ports[1] {
			t.Errorf("both clients share port %d", ports[0])
		}
		return ports
	}
	first := round()
	eventually(t, "the idle end of both flows", func() bool { return len(e.logs.ended()) == 2 })
	second := round()
	if first[0] == second[0] && first[1] == second[1] {
		t.Errorf("the same ports %v after the idle time", first)
	}
	eventually(t, "the end of the later flows", func() bool { return len(e.logs.ended()) == 4 })
	for _, s := range e.logs.ended() {
		if s.End != "idle" || s.Proto != "udp" || s.In != 6 || s.Out != 6 {
			t.Errorf("%+v", s)
		}
		if s.Duration < 2000 {
			t.Errorf("idle after %v ms", s.Duration)
		}
	}
	oracle(t, e)
}

func TestUD2(t *testing.T) {
	t.Parallel()
	b := echoUDP(t, at(2, freePort(t)))
	e := start(t, setup{network: "udp", hosts: []string{host(2)}, port: b.addr.Port(), listener: `idle_timeout = "300ms"`})
	c := listenUDP(t, at(1, 0))
	c.send(t, nil, e.addr)
	if got, from := c.recv(t); len(got) != 0 || from != e.addr {
		t.Errorf("%d bytes from %v", len(got), from)
	}
	if n := b.received.Load(); n != 1 {
		t.Errorf("the peer got %d datagrams", n)
	}
	if s := e.oneSession(t); s.End != "idle" || s.In != 0 || s.Out != 0 {
		t.Errorf("%+v", s)
	}
	oracle(t, e)
}

func TestUD3(t *testing.T) {
	t.Parallel()
	b := echoUDP(t, at(2, freePort(t)))
	e := start(t, setup{network: "udp", hosts: []string{host(2)}, port: b.addr.Port(), listener: `idle_timeout = "3s"`})
	c := listenUDP(t, at(1, 0))
	sum := int64(0)
	for _, size := range []int{1472, 1473, 9000, 65507} {
		want := noise(uint64(size), size)
		c.send(t, want, e.addr)
		if got, _ := c.recv(t); !bytes.Equal(got, want) {
			t.Errorf("sent %d bytes, got %d, equal up to %d", size, len(got), common(got, want))
		}
		sum += int64(size)
	}
	if s := e.oneSession(t); s.In != sum || s.Out != sum {
		t.Errorf("%+v, expected %d bytes", s, sum)
	}
	oracle(t, e)
}

func TestUD5(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name           string
		listen, client netip.Addr
		asked          []netip.Addr
	}{
		{"v4", netip.IPv4Unspecified(), loopback, []netip.Addr{at(7, 0).Addr(), loopback, at(9, 0).Addr()}},
		{"dual stack", netip.IPv6Unspecified(), loopback, []netip.Addr{at(7, 0).Addr(), loopback}},
		{"v6", netip.IPv6Unspecified(), netip.IPv6Loopback(), []netip.Addr{netip.IPv6Loopback()}},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.listen.Is6() && !hasIPv6() {
				t.Skip("this host has no IPv6 on its loopback interface")
			}
			b := echoUDP(t, at(2, freePort(t)))
			e := start(t, setup{
				network: "udp", listen: netip.AddrPortFrom(c.listen, freePort(t)), hosts: []string{host(2)}, port: b.addr.Port(),
				listener: `idle_timeout = "300ms"`,
			})
			cl := listenUDP(t, netip.AddrPortFrom(c.client, 0))
			for _, a := range c.asked {
				to := netip.AddrPortFrom(a, e.addr.Port())
				cl.send(t, []byte("who"), to)
				if got, from := cl.recv(t); string(got) != "who" || from != to {
					t.Errorf("asked %v, %q came from %v", to, got, from)
				}
			}
			eventually(t, "the end of the flows", func() bool { return len(e.logs.ended()) == len(c.asked) })
			oracle(t, e)
		})
	}
}

func hasIPv6() bool {
	pc, err := net.ListenPacket("udp6", "[::1]:0")
	if err == nil {
		pc.Close()
	}
	return err == nil
}

func TestUD6(t *testing.T) {
	t.Parallel()
	b := echoUDP(t, at(2, freePort(t)))
	e := start(t, setup{network: "udp", hosts: []string{host(2)}, port: b.addr.Port(), listener: `idle_timeout = "3s"`})
	c := listenUDP(t, at(1, 0))
	c.send(t, []byte("1"), e.addr)
	c.recv(t)
	upstream := b.from()[0]
	stranger := listenUDP(t, at(66, 0))
	for range 10 {
		_, _ = stranger.WriteToUDPAddrPort([]byte("forged"), upstream) // an error only tells that it was refused
	}
	c.send(t, []byte("2"), e.addr)
	if got, _ := c.recv(t); string(got) != "2" { // what was forged would be here first
		t.Errorf("got %q", got)
	}
	if got, from, err := c.tryRecv(50 * time.Millisecond); err == nil {
		t.Errorf("got %q from %v", got, from)
	}
	if s := e.oneSession(t); s.End != "idle" || s.Out != 2 {
		t.Errorf("%+v", s)
	}
	oracle(t, e)
}

func TestUD7(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	b := echoUDP(t, at(3, port)) // nobody has the port of 127.0.0.2
	e := start(t, setup{network: "udp", hosts: []string{host(2), host(3)}, port: port, listener: `idle_timeout = "1s"`})
	for n := range 4 { // clients; in turn, so that every other one begins at the peer that refuses
		c := listenUDP(t, at(1, 0))
		answered := false
		for try, wait := range []time.Duration{500 * time.Millisecond, 500 * time.Millisecond, patience} { // the first two may be lost
			c.send(t, []byte{byte(n), byte(try)}, e.addr)
			got, _, err := c.tryRecv(wait)
			if answered = err == nil; answered {
				if len(got) != 2 || got[0] != byte(n) || got[1] > byte(try) { // that of an earlier one may be late
					t.Errorf("client %d got %v", n, got)
				}
				break
			}
		}
		if !answered {
			t.Errorf("client %d had no answer to 3 datagrams", n)
		}
	}
	oracle(t, e)
	refused := 0
	for _, s := range e.logs.ended() {
		switch {
		case s.End == "idle" && s.Peer == b.addr.String():
		case s.End == "connect_failed" && s.Peer == at(2, port).String():
			refused++
		default:
			t.Errorf("%+v", s)
		}
	}
	if refused == 0 {
		t.Error("no flow ever began at the peer that refuses")
	}
}

// A flow whose peer has left DNS goes on at another one with its next datagram (UD-13, in small).
func TestUDPFlowLeavesRemovedPeer(t *testing.T) {
	t.Parallel()
	dns := startDNS(t)
	dns.SetA("udp.test", 1, host(2))
	port := freePort(t)
	old, young := echoUDP(t, at(2, port)), echoUDP(t, at(3, port))
	e := start(t, setup{network: "udp", hosts: []string{"udp.test"}, port: port, resolver: dns.Addr(), listener: `idle_timeout = "2s"`})
	c := listenUDP(t, at(1, 0))
	c.send(t, []byte("1"), e.addr)
	c.recv(t)
	dns.SetA("udp.test", 1, host(3))
	e.awaitPeers(t, young.addr.String())
	c.send(t, []byte("2"), e.addr)
	if got, _ := c.recv(t); string(got) != "2" {
		t.Errorf("got %q", got)
	}
	if o, y := old.received.Load(), young.received.Load(); o != 1 || y != 1 {
		t.Errorf("the old peer got %d datagrams, the new one %d", o, y)
	}
	eventually(t, "the end of both flows", func() bool { return len(e.logs.ended()) == 2 })
	oracle(t, e)
}

// A peer that sends a hundred answers to a question is not a way to flood whoever is said to have asked.
func TestUD16(t *testing.T) {
	t.Parallel()
	conn := listenUDP(t, at(2, freePort(t)))
	e := start(t, setup{
		network: "udp", hosts: []string{host(2)}, port: conn.LocalAddr().(*net.UDPAddr).AddrPort().Port(),
		listener: "mode = \"reqresp\"\nresponses = 2\nrequests = 2",
	})
	c := listenUDP(t, at(1, 0))
	c.send(t, []byte("ask"), e.addr)
	_, from := conn.recv(t)
	for n := range 100 {
		conn.send(t, []byte{byte(n)}, from)
	}
	eventually(t, "98 drops", func() bool { return e.metrics(t).sum("ebb_udp_dropped_total", `reason="surplus"`) == 98 })
	c.send(t, []byte("ask"), e.addr)
	conn.recv(t)
	conn.send(t, []byte{100}, from)
	conn.send(t, []byte{101}, from)
	for _, want := range []byte{0, 1, 100, 101} {
		if got, _ := c.recv(t); len(got) != 1 || got[0] != want {
			t.Errorf("got %v, expected %d", got, want)
		}
	}
	if s := e.oneSession(t); s.End != "complete" || s.In != 6 || s.Out != 4 {
		t.Errorf("%+v", s)
	}
	oracle(t, e)
}

// With UDP a refusal comes after the first datagram, and counts against the peer all the same.
func TestUDPPeerThatRefusesIsEjected(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	echoUDP(t, at(3, port)) // nobody has the port of 127.0.0.2
	e := start(t, setup{network: "udp", hosts: []string{host(2), host(3)}, port: port, listener: `idle_timeout = "100ms"`})
	begin := time.Now()
	const clients = 20
	for n := range clients {
		c := listenUDP(t, at(1, 0))
		eventually(t, "an answer", func() bool { // a datagram that met the other peer is lost
			c.send(t, []byte{byte(n)}, e.addr)
			_, _, err := c.tryRecv(50 * time.Millisecond)
			return err == nil
		})
	}
	took := time.Since(begin)
	oracle(t, e)
	refused := 0
	for _, s := range e.logs.ended() {
		if s.End == "connect_failed" {
			refused++
		}
	}
	if took < 4*time.Second && refused != 3 { // later, the first ejection is over
		t.Errorf("%d flows were refused, expected an ejection after 3", refused)
	}
}
