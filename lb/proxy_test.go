package lb

import (
	"bufio"
	"bytes"
	"io"
	"net"
	"net/netip"
	"testing"

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
