//go:build linux

package integration

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
)

var loopback = netip.MustParseAddr("127.0.0.1")

// portsGiven are those that freePort has found for some test.
var portsGiven sync.Map

// freePort finds a port that nobody has on any loopback address, for TCP and UDP. It looks below the range from which the
// kernel takes the source ports of clients, so that none of them takes it before it is used.
func freePort(t testing.TB) uint16 {
	t.Helper()
	// A port that connections in TIME_WAIT have left is free for those only who say that they do not mind.
	minds := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) (err error) {
		cerr := raw.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 0) })
		return errors.Join(cerr, err)
	}}
	syscall.ForkLock.RLock() // a process that is being started would hold what is open here for a moment longer
	defer syscall.ForkLock.RUnlock()
	for range 1000 {
		port := 10000 + rand.IntN(22000)
		if _, taken := portsGiven.LoadOrStore(port, true); taken { // perhaps not used yet
			continue
		}
		ln, err := minds.Listen(t.Context(), "tcp4", fmt.Sprintf(":%d", port))
		if err != nil {
			continue
		}
		pc, err := net.ListenUDP("udp4", &net.UDPAddr{Port: port})
		ln.Close()
		if err != nil {
			continue
		}
		pc.Close()
		return uint16(port)
	}
	t.Fatal("no free port")
	return 0
}

// at is the address 127.0.0.n:port.
func at(n byte, port uint16) netip.AddrPort {
	return netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, n}), port)
}

// host is the text of 127.0.0.n.
func host(n byte) string { return netip.AddrFrom4([4]byte{127, 0, 0, n}).String() }
