//go:build linux

package integration

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"
)

// client is a TCP connection of a test with a deadline far ahead, so that nothing hangs. It is closed with the test.
type client struct{ *net.TCPConn }

func dial(t *testing.T, addr netip.AddrPort) client {
	t.Helper()
	c, err := dialFrom(netip.AddrPort{}, addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// dialFrom connects from an address; the zero value is any. The caller closes the client.
func dialFrom(from, to netip.AddrPort) (client, error) {
	d := net.Dialer{Timeout: patience, KeepAlive: -1}
	if from.IsValid() {
		d.LocalAddr = net.TCPAddrFromAddrPort(from)
		d.Control = bindLate
	}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		return client{}, err
	}
	tcp := c.(*net.TCPConn)
	return client{tcp}, tcp.SetDeadline(time.Now().Add(3 * patience))
}

// talk is one short session: it connects, sends a word and expects it back. It gives the error that the client saw.
func talk(addr netip.AddrPort) error {
	c, err := dialFrom(netip.AddrPort{}, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write([]byte("ping")); err != nil {
		return err
	}
	_, err = io.ReadFull(c, make([]byte, 4))
	return err
}

// ipBindAddressNoPort is IP_BIND_ADDRESS_NO_PORT (ip(7)), which package syscall lacks: the kernel chooses the source port
// when it knows the destination, and a port in TIME_WAIT towards one address is free towards another.
const ipBindAddressNoPort = 24

func bindLate(_, _ string, raw syscall.RawConn) error {
	var err error
	if cerr := raw.Control(func(fd uintptr) {
		err = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_IP, ipBindAddressNoPort, 1)
	}); cerr != nil {
		return cerr
	}
	return err
}

// send writes all of b.
func (c client) send(t *testing.T, b []byte) {
	t.Helper()
	if _, err := c.Write(b); err != nil {
		t.Fatalf("client write: %v", err)
	}
}

// recv reads n bytes.
func (c client) recv(t *testing.T, n int) []byte {
	t.Helper()
	b := make([]byte, n)
	if got, err := io.ReadFull(c, b); err != nil {
		t.Fatalf("client read: %d of %d bytes: %v", got, n, err)
	}
	return b
}

// echoes sends b and expects it back.
func (c client) echoes(t *testing.T, b []byte) {
	t.Helper()
	c.send(t, b)
	if got := c.recv(t, len(b)); !bytes.Equal(got, b) {
		t.Fatalf("%d bytes came back changed", len(b))
	}
}

// rest reads until EOF.
func (c client) rest(t *testing.T) []byte {
	t.Helper()
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("client read: %v after %d bytes, expected an end", err, len(b))
	}
	return b
}

// wantReset reads until the connection is cut by RST; an end is a failure.
func (c client) wantReset(t *testing.T) {
	t.Helper()
	if n, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("client read: %v after %d bytes, expected a reset", err, n)
	}
}

// wantRefusal connects and expects ebb to answer with RST and not one byte. It gives the time that took.
func (e *ebb) wantRefusal(t *testing.T) time.Duration {
	t.Helper()
	begin := time.Now()
	wantReset(t, netip.Addr{}, e.addr)
	return time.Since(begin)
}

// wantReset connects from an address; the zero value is any. The RST that it expects may be there before connect(2) has returned.
func wantReset(t *testing.T, from netip.Addr, to netip.AddrPort) {
	t.Helper()
	c, err := dialFrom(netip.AddrPortFrom(from, 0), to)
	n := 0
	if err == nil {
		defer c.Close()
		n, err = c.Read(make([]byte, 1))
	}
	if n > 0 || !errors.Is(err, syscall.ECONNRESET) {
		t.Fatalf("client: %v after %d bytes, expected a reset", err, n)
	}
}

// abort closes with RST.
func (c client) abort() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// oneSession waits for the first session to end and gives its line.
func (e *ebb) oneSession(t *testing.T) session {
	t.Helper()
	eventually(t, "a session line", func() bool { return len(e.logs.ended()) > 0 })
	return e.logs.ended()[0]
}

// noise gives n bytes that no error turns into themselves.
func noise(seed uint64, n int) []byte {
	b := make([]byte, n)
	r := rand.NewChaCha8([32]byte{byte(seed), byte(seed >> 8), byte(seed >> 16), byte(seed >> 24)})
	_, _ = r.Read(b)
	return b
}
