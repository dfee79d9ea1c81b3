package lb

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/config"
)

// silentServer listens but completes no further connection.
func silentServer(t *testing.T) netip.AddrPort {
	t.Helper()
	return crowdedListener(t, "127.0.0.9").Addr().(*net.TCPAddr).AddrPort()
}

// crowdedListener has a full queue, so that the kernel drops each SYN until somebody accepts.
func crowdedListener(t *testing.T, ip string) *net.TCPListener {
	t.Helper()
	ln := listenOn(t, ip, 0)
	t.Cleanup(func() { ln.Close() })
	raw, err := ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var short error
	if err := errors.Join(raw.Control(func(fd uintptr) { short = syscall.Listen(int(fd), 0) }), short); err != nil {
		t.Fatal(err)
	}
	c, err := net.Dial("tcp", ln.Addr().String()) // it fills the queue
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	eventually(t, "the queue to be full", func() bool { // the last packet of the handshake may be on its way still
		var info *unix.TCPInfo
		var failed error
		if err := raw.Control(func(fd uintptr) { info, failed = unix.GetsockoptTCPInfo(int(fd), unix.IPPROTO_TCP, unix.TCP_INFO) }); err != nil {
			t.Fatal(err)
		}
		return failed == nil && info.Unacked > 0 // of a socket that listens: who waits to be accepted
	})
	return ln
}

func TestShutdownEndsAConnectInProgress(t *testing.T) {
	addr := silentServer(t)
	r := newRig(t)
	r.pool().Backends = []config.Backend{named(addr.Addr().String(), addr.Port())}
	r.pool().ConnectTimeout = time.Minute
	r.conf.ShutdownTimeout = time.Millisecond
	r.serve()
	c := r.dial()
	eventually(t, "the attempt", func() bool { return r.status().Peers[0].Active == 1 })
	r.cancel()
	if _, err := c.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v, want a reset", err)
	}
	if ends := r.awaitEnds(1); ends[0] != "shutdown" {
		t.Errorf("ends: %v", ends)
	}
	if line := r.logs.find("session")[0]; line["peer"] != addr.String() {
		t.Errorf("line: %v", line)
	}
}

// TO-1: with one peer the client is told; with another the session goes there.
func TestTO1ConnectTimeout(t *testing.T) {
	addr := silentServer(t)
	r := newRig(t)
	r.pool().Backends = []config.Backend{named(addr.Addr().String(), addr.Port())}
	r.pool().ConnectTimeout = 100 * time.Millisecond
	r.serve()
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v, want a reset", err)
	}
	if ends := r.awaitEnds(1); ends[0] != "connect_timeout" {
		t.Errorf("ends: %v", ends)
	}
	r.closed()

	r = newRig(t)
	well := serveBackend(t, "127.0.0.2", 0)
	r.pool().Backends = []config.Backend{named(addr.Addr().String(), addr.Port()), named("127.0.0.2", well.addr.Port())}
	r.pool().ConnectTimeout = time.Second // of the attempt that goes well, too
	r.serve()
	for range 2 {
		if who := r.ask(); who != well.addr {
			t.Errorf("served by %s", who)
		}
	}
	r.closed()
}

// A session that is connecting to the old primary when the role moves goes to the new one, though the old one answers in the end:
// the client has sent nothing yet that could be lost.
func TestRoleMovesWhileConnecting(t *testing.T) {
	for order, move := range roleMoves {
		t.Run(order, func(t *testing.T) {
			t.Parallel() // a SYN that is lost is sent again after a second
			slow, quick := crowdedListener(t, "127.0.0.2"), serveBackend(t, "127.0.0.3", 0)
			was := slow.Addr().(*net.TCPAddr).AddrPort()
			c := newCourtOf(t, func(p *config.Pool) {
				p.On.RoleLost, p.ConnectTimeout = "close", time.Minute
				p.Backends = []config.Backend{literal(was), literal(quick.addr)}
			})
			c.a, c.b = was, quick.addr
			c.say(c.b, replica)
			c.say(c.a, primary(1))
			client := c.dial()
			eventually(t, "the attempt", func() bool { return c.status().Peers[0].Active == 1 })
			move.moves(c)
			serveOn(t, slow)
			c.goesTo(t, client, c.b.String())
			c.awaitEnds(1)
			if tries := c.logs.find("session")[0]["attempts"].(string); !strings.HasPrefix(tries, c.a.String()+" "+move.end+" ") {
				t.Errorf("attempts %s, expected %s first", tries, move.end)
			}
			c.closed()
		})
	}
}
