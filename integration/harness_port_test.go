//go:build linux

package integration

import (
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
	syscall.ForkLock.RLock() // a process that is being started would hold what is open here for a moment longer
	defer syscall.ForkLock.RUnlock()
	for range 1000 {
		port := 10000 + rand.IntN(22000)
		if _, taken := portsGiven.LoadOrStore(port, true); taken { // perhaps not used yet
			continue
		}
		ln, err := net.ListenTCP("tcp4", &net.TCPAddr{Port: port})
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
