package lb

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/preface"
)

// dialFrom is a client with an address of its own.
func (r *rig) dialFrom(ip string) *net.TCPConn {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	c, err := d.Dial("tcp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c.(*net.TCPConn)
}

// turnedAwayFrom is turnedAway for a client with an address of its own.
func turnedAwayFrom(ip, addr string) error {
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(ip)}, Timeout: patience}
	c, err := d.Dial("tcp", addr)
	if err != nil {
		return err
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	_, err = c.Read(make([]byte, 1))
	return err
}

func (r *rig) dialUDPFrom(ip string) net.Conn {
	r.t.Helper()
	d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(ip)}}
	c, err := d.Dial("udp", r.addr())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { c.Close() })
	_ = c.SetDeadline(time.Now().Add(patience))
	return c
}

// held is how many places are taken; a source has its own back before that.
func (r *rig) held() int64 { return r.server.running().listeners[0].limit.held.Load() }

func (r *rig) rejections() map[string]uint64 { return r.server.running().listeners[0].rejected.all() }

func TestAccessListsOfAListener(t *testing.T) {
	r := newRig(t)
	b := serveBackend(t, "127.0.0.2", 0)
	r.pool().Backends = []config.Backend{named("127.0.0.2", b.addr.Port())}
	r.listener().Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/24"), netip.MustParsePrefix("127.0.1.7/32")}
	r.listener().Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.64/26")}
	r.serve()
	live := r.dialFrom("127.0.0.3")
	greeting(t, live)
	for _, ip := range []string{"127.0.0.65", "127.0.1.1"} {
		if err := turnedAwayFrom(ip, r.addr()); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: %v, want a reset", ip, err)
		}
	}
	if ends := r.awaitEnds(2); !slices.Equal(ends, []string{"denied", "denied"}) {
		t.Errorf("ends: %v", ends)
	}
	greeting(t, r.dialFrom("127.0.1.7"))
	if n := r.rejections(); n["denied"] != 2 || len(n) != 1 {
		t.Errorf("rejected: %v", n)
	}

	// A reload counts for those who come from now on.
	changes, err := r.reload(func(c *config.Config) {
		c.Listeners[0].Allow, c.Listeners[0].Deny = nil, []netip.Prefix{netip.MustParsePrefix("127.0.0.3/32")}
	})
	if err != nil || !slices.Equal(changes, []string{"listener front: changed allow, deny"}) {
		t.Errorf("reload: %v %v", changes, err)
	}
	if err := turnedAwayFrom("127.0.0.3", r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%v, want a reset", err)
	}
	greeting(t, r.dialFrom("127.0.0.65"))
	if _, err := live.Write([]byte("still\n")); err != nil {
		t.Error(err)
	}
	word := make([]byte, 6)
	if _, err := io.ReadFull(live, word); err != nil || string(word) != "still\n" {
		t.Errorf("a session that lives: %q %v", word, err)
	}
}

func TestAccessListsHoldForUDP(t *testing.T) {
	r := newRig(t)
	peer := echoUDP(t, "127.0.0.2", 0)
	at := netip.MustParseAddrPort(peer.LocalAddr().String())
	r.pool().Backends = []config.Backend{named("127.0.0.2", at.Port())}
	r.listener().Listen[0].Network = "udp"
	r.listener().Deny = []netip.Prefix{netip.MustParsePrefix("127.0.0.64/26")}
	r.serve()
	no := r.dialUDPFrom("127.0.0.65")
	for range 3 {
		_, _ = no.Write([]byte("who"))
	}
	l := r.server.running().listeners[0]
	eventually(t, "three drops", func() bool { return l.dropped.all()["denied"] == 3 })
	yes := r.dialUDPFrom("127.0.0.3")
	_, _ = yes.Write([]byte("who"))
	b := make([]byte, 64)
	if n, err := yes.Read(b); err != nil || string(b[:n]) != at.String() {
		t.Errorf("%q %v", b[:n], err)
	}
	if n := l.total.Load(); n != 1 {
		t.Errorf("%d flows", n)
	}
}

func TestSourcesOfAListener(t *testing.T) {
	r := newRig(t)
	b := serveBackend(t, "127.0.0.2", 0)
	r.pool().Backends = []config.Backend{named("127.0.0.2", b.addr.Port())}
	r.listener().SourceMaxConns, r.listener().SourcePrefixIPv4 = 2, 28
	r.listener().MaxConns = 3
	r.serve()
	first, second := r.dialFrom("127.0.0.17"), r.dialFrom("127.0.0.18")
	greeting(t, first)
	greeting(t, second)
	if err := turnedAwayFrom("127.0.0.31", r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("one too many of a source: %v, want a reset", err)
	}
	r.awaitEnds(1)
	other := r.dialFrom("127.0.0.32")
	greeting(t, other)
	if err := turnedAwayFrom("127.0.0.33", r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("one too many of all: %v, want a reset", err)
	}
	if ends := r.awaitEnds(2); !slices.Equal(ends, []string{"limit", "limit"}) {
		t.Errorf("ends: %v", ends)
	}
	if n := r.rejections(); n["source_max_conns"] != 1 || n["max_conns"] != 1 || len(n) != 2 {
		t.Errorf("rejected: %v", n)
	}
	first.Close()
	r.awaitEnds(3)
	eventually(t, "room", func() bool { return r.held() == 2 })
	greeting(t, r.dialFrom("127.0.0.31"))

	r.reloads(func(c *config.Config) { c.Listeners[0].SourceMaxConns, c.Listeners[0].MaxConns = 0, 0 },
		"listener front: changed max_conns, source_max_conns")
	for range 3 {
		greeting(t, r.dialFrom("127.0.0.31"))
	}
}

// A source gives its place back at every way out: refused by max_conns, no peer, a failed connect.
func TestSourcesGetTheirPlacesBack(t *testing.T) {
	r := newRig(t)
	b := serveBackend(t, "127.0.0.2", 0)
	r.pool().Backends = []config.Backend{named("127.0.0.2", b.addr.Port())}
	r.listener().SourceMaxConns, r.listener().SourcePrefixIPv4 = 1, 32
	r.serve()
	b.stop()
	for n := range 5 {
		if err := turnedAway(r.addr()); err == nil {
			t.Error("served by nobody")
		}
		if ends := r.awaitEnds(n + 1); ends[n] != "connect_failed" && ends[n] != "no_peer" {
			t.Fatalf("ends: %v", ends)
		}
		eventually(t, "rest", func() bool { return r.held() == 0 })
	}
	r.closed()
}

func TestSourcesHoldForUDP(t *testing.T) {
	r := newRig(t)
	peer := echoUDP(t, "127.0.0.2", 0)
	at := netip.MustParseAddrPort(peer.LocalAddr().String())
	r.pool().Backends = []config.Backend{named("127.0.0.2", at.Port())}
	r.listener().Listen[0].Network = "udp"
	r.listener().SourceMaxConns, r.listener().SourcePrefixIPv4 = 1, 32
	r.serve()
	ask := func(c net.Conn) error {
		_, _ = c.Write([]byte("who"))
		_, err := c.Read(make([]byte, 64))
		return err
	}
	first := r.dialUDPFrom("127.0.0.3")
	if err := ask(first); err != nil {
		t.Fatal(err)
	}
	_, _ = r.dialUDPFrom("127.0.0.3").Write([]byte("who"))
	l := r.server.running().listeners[0]
	eventually(t, "a drop", func() bool { return l.dropped.all()["source_max_conns"] == 1 })
	for _, c := range []net.Conn{first, r.dialUDPFrom("127.0.0.4")} {
		if err := ask(c); err != nil {
			t.Error(err)
		}
	}
	l.live.killAll(end.Idle)
	eventually(t, "rest", func() bool { return r.held() == 0 })
	if err := ask(r.dialUDPFrom("127.0.0.3")); err != nil {
		t.Error(err)
	}
}

// One session of each source, and a source is who the PROXY header names.
func TestLI2OneSessionOfEachSource(t *testing.T) {
	r := newRig(t)
	b := serveBackend(t, "127.0.0.2", 0)
	r.pool().Backends = []config.Backend{named("127.0.0.2", b.addr.Port())}
	r.listener().SourceMaxConns, r.listener().SourcePrefixIPv4, r.listener().SourcePrefixIPv6 = 1, 32, 64
	r.listener().ProxyIn, r.listener().PrereadTimeout = []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, patience
	r.serve()
	via := func(client string) *net.TCPConn { // all of them connect from one address
		t.Helper()
		c := r.dial()
		if _, err := c.Write(preface.Format(1, netip.MustParseAddrPort(client), netip.MustParseAddrPort("198.51.100.2:5432"))); err != nil {
			t.Fatal(err)
		}
		return c
	}
	first := via("192.0.2.1:1000")
	greeting(t, first)
	if _, err := via("192.0.2.1:1001").Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the second of a source: %v, want a reset", err)
	}
	other := via("192.0.2.2:1000")
	greeting(t, other)
	if ends := r.awaitEnds(1); ends[0] != "limit" {
		t.Errorf("ends: %v", ends)
	}
	if n := r.rejections(); n["source_max_conns"] != 1 || len(n) != 1 {
		t.Errorf("rejected: %v", n)
	}
	first.Close()
	r.awaitEnds(2)
	eventually(t, "room", func() bool { return r.held() == 1 })
	next := via("192.0.2.1:1002")
	greeting(t, next)
	other.Close()
	next.Close()
	r.closed()
}

func TestWhomMaxConnsTurnsAwayCountsForNoSource(t *testing.T) {
	r := newRig(t)
	b := serveBackend(t, "127.0.0.2", 0)
	r.pool().Backends = []config.Backend{named("127.0.0.2", b.addr.Port())}
	r.listener().MaxConns, r.listener().SourceMaxConns, r.listener().SourcePrefixIPv4, r.listener().SourcePrefixIPv6 = 1, 2, 32, 64
	r.serve()
	first := r.dial()
	greeting(t, first)
	for range 3 {
		if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%v, want a reset", err)
		}
	}
	first.Close()
	eventually(t, "room", func() bool { return r.held() == 0 })
	next := r.dial()
	greeting(t, next)
	if n := r.rejections(); n["max_conns"] != 3 || len(n) != 1 {
		t.Errorf("rejected: %v", n)
	}
	next.Close()
	r.closed()
}
