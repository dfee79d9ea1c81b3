//go:build linux

package integration

import (
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// freePort finds a port that nobody has on any loopback address, for TCP and UDP, and keeps it for the test: a socket is bound to it
// that does not listen, so that connects are refused where no server is. Servers get it all the same, for they say that they do not
// mind (SO_REUSEADDR); another process that looks for a port this way, or a connection in TIME_WAIT, does not share it. It looks below
// the range from which the kernel takes the source ports of clients.
func freePort(t testing.TB) uint16 {
	t.Helper()
	for range 1000 {
		port := 10000 + rand.IntN(22000)
		fd, err := bound(netip.AddrPortFrom(netip.IPv4Unspecified(), uint16(port)))
		if err != nil {
			continue
		}
		t.Cleanup(func() { syscall.Close(fd) })
		if !freeForUDP(port) {
			continue
		}
		if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
			t.Fatal(err)
		}
		return uint16(port)
	}
	t.Fatal("no free port")
	return 0
}

func freeForUDP(port int) bool {
	syscall.ForkLock.RLock() // a process that is being started would hold what is open here for a moment longer
	defer syscall.ForkLock.RUnlock()
	pc, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
	if err == nil {
		pc.Close()
	}
	return err == nil
}

// bound makes a TCP socket that has an address for itself and does not listen.
func bound(addr netip.AddrPort) (fd int, err error) {
	if fd, err = syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0); err != nil {
		return -1, err
	}
	if err := syscall.Bind(fd, &syscall.SockaddrInet4{Port: int(addr.Port()), Addr: addr.Addr().As4()}); err != nil {
		syscall.Close(fd)
		return -1, err
	}
	return fd, nil
}

// at is the address 127.0.0.n:port.
func at(n byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, n}), port)
}

// host is the text of 127.0.0.n.
func host(n byte) string { return netip.AddrFrom4([4]byte{127, 0, 0, n}).String() }
