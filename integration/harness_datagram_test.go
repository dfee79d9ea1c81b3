//go:build linux

package integration

import (
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// udpBackend is a UDP server of a test. It answers each datagram with what its rule says, and notes who sent it.
type udpBackend struct {
	addr     netip.AddrPort
	received atomic.Int64 // datagrams
	conn     *net.UDPConn
	done     sync.WaitGroup

	mu      sync.Mutex
	sources []netip.AddrPort // of each datagram
}

// serveUDP answers each datagram with answer(datagram), unless that is nil. Port 0 is any. It is closed with the test.
func serveUDP(t *testing.T, addr netip.AddrPort, answer func([]byte) []byte) *udpBackend {
	t.Helper()
	conn, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	b := &udpBackend{addr: conn.LocalAddr().(*net.UDPAddr).AddrPort(), conn: conn}
	b.done.Go(func() {
		buf := make([]byte, 64<<10)
		for {
			n, from, err := conn.ReadFromUDPAddrPort(buf)
			if err != nil {
				return
			}
			b.mu.Lock()
			b.sources = append(b.sources, from)
			b.mu.Unlock()
			b.received.Add(1)
			if reply := answer(buf[:n]); reply != nil {
				_, _ = conn.WriteToUDPAddrPort(reply, from)
			}
		}
	})
	t.Cleanup(b.close)
	return b
}

func (b *udpBackend) close() {
	b.conn.Close()
	b.done.Wait()
}

// from gives the source of each datagram so far.
func (b *udpBackend) from() []netip.AddrPort {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.sources[:len(b.sources):len(b.sources)]
}

func echoUDP(t *testing.T, addr netip.AddrPort) *udpBackend {
	t.Helper()
	return serveUDP(t, addr, func(b []byte) []byte { return b })
}

// udpClient is an unconnected UDP socket, so that it sees from where replies come.
type udpClient struct{ *net.UDPConn }

func listenUDP(t *testing.T, addr netip.AddrPort) udpClient {
	t.Helper()
	conn, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return udpClient{conn}
}

func (c udpClient) send(t *testing.T, b []byte, to netip.AddrPort) {
	t.Helper()
	if _, err := c.WriteToUDPAddrPort(b, to); err != nil {
		t.Fatalf("send %d bytes to %v: %v", len(b), to, err)
	}
}

// recv waits for one datagram; from is unmapped.
func (c udpClient) recv(t *testing.T) (b []byte, from netip.AddrPort) {
	t.Helper()
	b, from, err := c.tryRecv(patience)
	if err != nil {
		t.Fatalf("no datagram: %v", err)
	}
	return b, from
}

func (c udpClient) tryRecv(wait time.Duration) ([]byte, netip.AddrPort, error) {
	buf := make([]byte, 64<<10)
	if err := c.SetReadDeadline(time.Now().Add(wait)); err != nil {
		return nil, netip.AddrPort{}, err
	}
	n, from, err := c.ReadFromUDPAddrPort(buf)
	return buf[:n], netip.AddrPortFrom(from.Addr().Unmap(), from.Port()), err
}
