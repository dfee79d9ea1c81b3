package lb

import (
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
)

// silentServer listens but completes no further connection: its queue is full, so the kernel drops each SYN.
func silentServer(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { syscall.Close(fd) })
	if err := errors.Join(syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 9}}), syscall.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	sa, err := syscall.Getsockname(fd)
	if err != nil {
		t.Fatal(err)
	}
	addr := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 9}), uint16(sa.(*syscall.SockaddrInet4).Port))
	for range 16 {
		c, err := net.DialTimeout("tcp", addr.String(), 200*time.Millisecond)
		if err != nil {
			return addr
		}
		t.Cleanup(func() { c.Close() })
	}
	t.Fatal("the queue does not fill")
	return addr
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
	r.pool().ConnectTimeout = 100 * time.Millisecond
	r.serve()
	for range 2 {
		if who := r.ask(); who != well.addr {
			t.Errorf("served by %s", who)
		}
	}
	r.closed()
}
