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
	from := func(ip string) net.Conn {
		d := net.Dialer{LocalAddr: &net.UDPAddr{IP: net.ParseIP(ip)}}
		c, err := d.Dial("udp", r.addr())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { c.Close() })
		_ = c.SetDeadline(time.Now().Add(patience))
		return c
	}
	no := from("127.0.0.65")
	for range 3 {
		_, _ = no.Write([]byte("who"))
	}
	l := r.server.running().listeners[0]
	eventually(t, "three drops", func() bool { return l.dropped.all()["denied"] == 3 })
	yes := from("127.0.0.3")
	_, _ = yes.Write([]byte("who"))
	b := make([]byte, 64)
	if n, err := yes.Read(b); err != nil || string(b[:n]) != at.String() {
		t.Errorf("%q %v", b[:n], err)
	}
	if n := l.total.Load(); n != 1 {
		t.Errorf("%d flows", n)
	}
}
