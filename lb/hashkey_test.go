package lb

import (
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/preface"
)

// mute is a connection that says nothing to who speaks TLS on it.
type mute struct{ net.Conn }

func (mute) Read([]byte) (int, error) { return 0, io.EOF }

// asks has a client say a ClientHello and gives who serves it.
func (r *rig) asks(c net.Conn, name string) netip.AddrPort {
	r.t.Helper()
	if err := tls.Client(mute{c}, &tls.Config{ServerName: name, InsecureSkipVerify: true}).Handshake(); err == nil {
		r.t.Error("a handshake without an answer")
	}
	return greeting(r.t, c)
}

func (r *rig) explainSNI(client, name string) admin.Explanation {
	r.t.Helper()
	x, err := admin.NewClient(r.server.running().admin.Addr(), "").Explain(context.Background(), "front", netip.MustParseAddrPort(client), name)
	if err != nil {
		r.t.Fatal(err)
	}
	return x
}

// Who asks for one name goes to one peer, from wherever; who asks for none goes by its address.
func TestHashBySNI(t *testing.T) {
	r, peers := two(t, func(r *rig) {
		r.pool().Balance, r.pool().HashKey = "hash", "sni"
		r.listener().PrereadTimeout = patience
	})
	seen := make(map[netip.AddrPort]int)
	for i := range 32 { // 2^-31 that all go to one peer
		name := fmt.Sprintf("db%d.example.com", i)
		x := r.explainSNI("192.0.2.1:1", name)
		for _, from := range []string{"127.0.0.1", "127.0.0.9"} {
			c := r.dialFrom(from)
			who := r.asks(c, name)
			if c.Close(); x.Outcome != "peer" || x.Next[0] != who.String() {
				t.Fatalf("%s from %s went to %v, and explain says %+v", name, from, who, x)
			}
			seen[who]++
		}
	}
	if len(seen) != len(peers) {
		t.Errorf("all names went to one peer: %v", seen)
	}
	r.awaitEnds(64)
	names := make(map[any]int)
	for _, line := range r.logs.find("session") {
		names[line["sni"]]++
	}
	if len(names) != 32 || names["db0.example.com"] != 2 {
		t.Errorf("logged: %v", names)
	}
	if x := r.explain("127.0.0.1"); x.Outcome != "unknown" || x.Reason != `hash_key = "sni": the peer depends on the name that the client asks for, which was not given` {
		t.Errorf("%+v", x)
	}

	unnamed := make(map[string]netip.AddrPort)
	for i := range 20 {
		from := fmt.Sprintf("127.0.1.%d", i+1)
		c := r.dialFrom(from)
		unnamed[from] = r.asks(c, "192.0.2.1") // an address is no name
		c.Close()
	}
	r.reloads(func(c *config.Config) { c.Pools[0].HashKey = "source" }, "pool db: changed hash_key")
	for from, who := range unnamed {
		if x := r.explain(from); x.Next[0] != who.String() {
			t.Errorf("%s: without a name %v, and by address %v", from, who, x.Next)
		}
	}
	r.ask() // nobody waits for a ClientHello now
	r.closed()
}

// Behind a proxy the name comes after its header.
func TestHashBySNIBehindAHeader(t *testing.T) {
	r, _ := two(t, func(r *rig) {
		r.pool().Balance, r.pool().HashKey = "hash", "sni"
		r.listener().PrereadTimeout = patience
		r.listener().ProxyIn = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	for i := range 4 {
		name := fmt.Sprintf("db%d.example.com", i)
		c := r.dial()
		_, err := c.Write(preface.Format(2, netip.MustParseAddrPort("192.0.2.1:1"), netip.MustParseAddrPort("192.0.2.2:2")))
		if err != nil {
			t.Fatal(err)
		}
		if who, x := r.asks(c, name), r.explainSNI("192.0.2.1:1", name); x.Next[0] != who.String() {
			t.Errorf("%s went to %v, and explain says %v", name, who, x.Next)
		}
		c.Close()
	}
	r.closed()
}

// A client that waits keeps the name that it has asked for.
func TestHashBySNIWaitsInTheQueue(t *testing.T) {
	r, peers := two(t, func(r *rig) {
		r.pool().Balance, r.pool().HashKey = "hash", "sni"
		r.pool().MaxConns, r.pool().Queue = 1, 1
		r.listener().PrereadTimeout = patience
	})
	first := r.dial()
	mine := r.asks(first, "db.example.com")
	second := r.dial() // spills
	if other := r.asks(second, "db.example.com"); other == mine {
		t.Errorf("both at %v, of %v", mine, peers)
	}
	third := r.dial()
	if err := tls.Client(mute{third}, &tls.Config{ServerName: "db.example.com", InsecureSkipVerify: true}).Handshake(); err == nil {
		t.Error("a handshake without an answer")
	}
	r.awaitWaiting(1)
	first.Close()
	if who := greeting(t, third); who != mine {
		t.Errorf("at %v, expected %v, which is free", who, mine)
	}
	second.Close()
	third.Close()
	r.closed()
}

func TestHashByProxySource(t *testing.T) {
	r, peers := two(t, func(r *rig) {
		r.pool().Balance, r.pool().HashKey = "hash", "proxy_source"
		r.listener().PrereadTimeout = patience
		r.listener().ProxyIn = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	})
	seen := make(map[netip.AddrPort]bool)
	for i := range 32 { // 2^-31 that all go to one peer
		client := netip.AddrFrom4([4]byte{192, 0, 2, byte(i)})
		x := r.explain(client.String())
		for port, from := range []string{"127.0.0.1", "127.0.0.9"} { // through either proxy, from any port
			c := r.dialFrom(from)
			if _, err := c.Write(preface.Format(1, netip.AddrPortFrom(client, uint16(1000+port)), netip.MustParseAddrPort("192.0.2.2:2"))); err != nil {
				t.Fatal(err)
			}
			who := greeting(t, c)
			if c.Close(); x.Next[0] != who.String() {
				t.Errorf("%v went to %v, and explain says %v", client, who, x.Next)
			}
			seen[who] = true
		}
	}
	if len(seen) != len(peers) {
		t.Errorf("all clients went to one peer: %v", seen)
	}
	r.closed()
}
