package lb

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/preface"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// heard serves one connection at a time, and gives what each of them sent.
func heard(t *testing.T, ln net.Listener) <-chan []byte {
	t.Helper()
	got := make(chan []byte, 16)
	t.Cleanup(func() { ln.Close() })
	go func() {
		defer close(got)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			b, _ := io.ReadAll(bufio.NewReader(c))
			c.Close()
			got <- b
		}
	}()
	return got
}

// say sends one text, and gives the client's own address.
func (r *rig) say(text string) netip.AddrPort {
	r.t.Helper()
	c := r.dial()
	if _, err := io.WriteString(c, text); err != nil {
		r.t.Error(err)
	}
	if err := c.CloseWrite(); err != nil {
		r.t.Error(err)
	}
	return sock.AddrPort(c.LocalAddr())
}

// A reload turns the header on, to another version, and off.
func TestPP1ProxyOutNamesTheClient(t *testing.T) {
	ln := listenOn(t, "127.0.0.2", 0)
	got := heard(t, ln)
	r := newRig(t)
	r.pool().Backends = []config.Backend{literal(sock.AddrPort(ln.Addr()))}
	r.pool().ProxyOut = "v1"
	r.serve()
	local := netip.MustParseAddrPort(r.addr())
	want := func(version byte) {
		t.Helper()
		client := r.say("ping")
		b := <-got
		head := preface.Format(version, client, local)
		if !bytes.Equal(b, append(head, "ping"...)) {
			t.Errorf("v%d: the peer got %q, want %q and ping", version, b, head)
		}
	}
	want(1)
	r.reloads(func(c *config.Config) { c.Pools[0].ProxyOut = "v2" }, "pool db: changed proxy_out")
	want(2)
	r.reloads(func(c *config.Config) { c.Pools[0].ProxyOut = "off" }, "pool db: changed proxy_out")
	r.say("plain")
	if b := <-got; string(b) != "plain" {
		t.Errorf("the peer got %q", b)
	}
	r.awaitEnds(3)
	for _, line := range r.logs.find("session") {
		if n := line["in"]; n != 4.0 && n != 5.0 {
			t.Errorf("%v bytes are counted as the client's", n)
		}
	}
	r.closed()
}

// A header decides whose session it is: in the log, in the list of sessions, for access lists, and towards the peer.
func TestPP8PP11ProxyInSaysWhoTheClientIs(t *testing.T) {
	ln := listenOn(t, "127.0.0.2", 0)
	got := heard(t, ln)
	r := newRig(t)
	r.pool().Backends = []config.Backend{literal(sock.AddrPort(ln.Addr()))}
	r.pool().ProxyOut = "v2"
	r.listener().ProxyIn = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}
	r.listener().PrereadTimeout = patience
	r.listener().Deny = []netip.Prefix{netip.MustParsePrefix("192.0.2.66/32")}
	r.serve()
	client, local := netip.MustParseAddrPort("192.0.2.1:1234"), netip.MustParseAddrPort("198.51.100.2:5432")

	c := r.dial()
	io.WriteString(c, string(preface.Format(1, client, local))+"ping")
	from := admin.ConnFilter{Source: netip.MustParsePrefix("192.0.2.1/32")}
	eventually(t, "the session in the list", func() bool { _, n := r.server.Conns(from); return n == 1 })
	if list, _ := r.server.Conns(from); list[0].Client != client.String() || list[0].Local != local.String() {
		t.Errorf("listed as %+v", list[0])
	}
	via := c.LocalAddr().String()
	c.CloseWrite()
	if b := <-got; !bytes.Equal(b, append(preface.Format(2, client, local), "ping"...)) {
		t.Errorf("the peer got %q", b)
	}
	r.awaitEnds(1)
	if line := r.logs.find("session")[0]; line["client"] != client.String() || line["local"] != local.String() || line["via"] != via || line["in"] != 4.0 {
		t.Errorf("logged as %v", line)
	}

	// One of nobody: the client is who has connected.
	c = r.dial()
	io.WriteString(c, "PROXY UNKNOWN\r\n")
	c.CloseWrite()
	if b := <-got; !bytes.Equal(b, preface.Format(2, sock.AddrPort(c.LocalAddr()), sock.AddrPort(c.RemoteAddr()))) {
		t.Errorf("of nobody: the peer got %q", b)
	}
	for _, bad := range []string{
		string(preface.Format(1, netip.MustParseAddrPort("192.0.2.66:1"), local)), // denied
		"ping\r\n", // no header
	} {
		c := r.dial()
		io.WriteString(c, bad)
		if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%q: %v, want a reset", bad, err)
		}
	}
	// Who connects from elsewhere is not asked for a header.
	r.reloads(func(c *config.Config) {
		c.Listeners[0].ProxyIn = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	}, "listener front: changed proxy_in")
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no reset: %v", err)
	}
	want := []string{"bad_header", "client_fin", "client_fin", "denied", "denied"}
	if ends := r.ended(5); !slices.Equal(ends, want) {
		t.Errorf("ends %v", ends)
	}
	if n := r.server.running().listeners[0].rejected.all(); n["denied"] != 1 || n["proxy_in"] != 1 {
		t.Errorf("rejected: %v", n)
	}
	r.closed()
}

// Clients whose header has not come are as many as may have sessions, and end with the rest.
func TestPP9ClientsThatStallBeforeTheirHeader(t *testing.T) {
	r, peer := one(t, func(*config.Pool) {})
	r.reloads(func(c *config.Config) {
		l := &c.Listeners[0]
		l.MaxConns, l.ProxyIn, l.PrereadTimeout = 2, []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, time.Hour
	}, "listener front: changed max_conns, proxy_in, preread_timeout")
	stalled := []*net.TCPConn{r.dial(), r.dial()}
	eventually(t, "both wait", func() bool { return r.server.running().active() == 2 })
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no reset: %v", err)
	}
	io.WriteString(stalled[0], "PROXY UNKNOWN\r\n")
	if who := greeting(t, stalled[0]); who != peer.addr {
		t.Errorf("served by %s", who)
	}
	c := r.dial() // there is room again for one that waits
	io.WriteString(c, "PROXY ")
	eventually(t, "two wait and one is served", func() bool { return r.server.running().active() == 3 })
	io.WriteString(c, "UNKNOWN\r\n")
	if who := greeting(t, c); who != peer.addr {
		t.Errorf("served by %s", who)
	}
	io.WriteString(stalled[1], "PROXY UNKNOWN\r\n") // more than may have sessions
	if _, err := stalled[1].Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no reset: %v", err)
	}
	c.Close()
	stalled[0].Close()
	r.closed()
}
