//go:build linux

package integration

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// backend is a TCP server of a test that counts what it sees.
type backend struct {
	addr     netip.AddrPort
	accepted atomic.Int64
	received atomic.Int64 // bytes read
	sent     atomic.Int64 // bytes written

	ln   *net.TCPListener
	wg   sync.WaitGroup
	mu   sync.Mutex
	open map[*net.TCPConn]struct{}
	shut bool
	quit chan struct{} // closed when shut is set
}

// peerConn is a connection that a backend has accepted. Reads and writes count.
type peerConn struct {
	*net.TCPConn
	b *backend
}

func (c peerConn) Read(p []byte) (int, error) {
	n, err := c.TCPConn.Read(p)
	c.b.received.Add(int64(n))
	return n, err
}

func (c peerConn) Write(p []byte) (int, error) {
	n, err := c.TCPConn.Write(p)
	c.b.sent.Add(int64(n))
	return n, err
}

// echo sends back what comes until the client ends. The struct hides the shortcuts of TCPConn, which do not count.
func (c peerConn) echo() {
	_, _ = io.CopyBuffer(struct{ io.Writer }{c}, struct{ io.Reader }{c}, make([]byte, 64<<10))
}

// abort closes with RST.
func (c peerConn) abort() {
	_ = c.SetLinger(0)
	_ = c.Close()
}

// serve runs handle for each connection, which is closed after it. The backend is closed with the test.
func serve(t *testing.T, addr netip.AddrPort, handle func(peerConn)) *backend {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	b := &backend{addr: addr, ln: ln, open: make(map[*net.TCPConn]struct{}), quit: make(chan struct{})}
	b.wg.Go(func() {
		for {
			c, err := ln.AcceptTCP()
			if err != nil {
				return
			}
			b.accepted.Add(1)
			if !b.enter(c) {
				c.Close()
				return
			}
			b.wg.Go(func() {
				defer b.leave(c)
				handle(peerConn{c, b})
			})
		}
	})
	t.Cleanup(b.close)
	return b
}

func (b *backend) enter(c *net.TCPConn) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shut {
		return false
	}
	b.open[c] = struct{}{}
	return true
}

func (b *backend) leave(c *net.TCPConn) {
	b.mu.Lock()
	delete(b.open, c)
	b.mu.Unlock()
	c.Close()
}

// close stops listening and cuts every connection with RST: the death of a process whose host lives.
func (b *backend) close() {
	b.deafen()
	b.mu.Lock()
	if !b.shut {
		b.shut = true
		close(b.quit)
	}
	for c := range b.open {
		peerConn{c, b}.abort()
	}
	b.mu.Unlock()
	b.wg.Wait()
}

// say writes a text on every connection.
func (b *backend) say(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.open {
		_, _ = peerConn{c, b}.Write([]byte(text))
	}
}

// deafen stops listening, so that connects are refused, and leaves the connections alone.
func (b *backend) deafen() { b.ln.Close() }

// live counts the connections that are open.
func (b *backend) live() int {
	b.mu.Lock()
	defer b.mu.Unlock()
	return len(b.open)
}

// echo sends back what it gets, and ends when the client does.
func echo(t *testing.T, addr netip.AddrPort) *backend {
	t.Helper()
	return serve(t, addr, peerConn.echo)
}

// greet says a text first, then is an echo.
func greet(t *testing.T, addr netip.AddrPort, text string) *backend {
	t.Helper()
	return serve(t, addr, func(c peerConn) {
		if _, err := c.Write([]byte(text)); err == nil {
			c.echo()
		}
	})
}

// silent accepts and reads, and never says a word, not even goodbye.
func silent(t *testing.T, addr netip.AddrPort) *backend {
	t.Helper()
	return serve(t, addr, func(c peerConn) {
		if _, err := io.Copy(io.Discard, struct{ io.Reader }{c}); err == nil {
			<-c.b.quit
		}
	})
}

// resetter aborts when it has heard something.
func resetter(t *testing.T, addr netip.AddrPort) *backend {
	t.Helper()
	return serve(t, addr, func(c peerConn) {
		_, _ = c.Read(make([]byte, 1))
		c.abort()
	})
}

// hang makes connects to an address hang, as if SYNs were dropped: a listener that does not accept and whose queue is full.
func hang(t *testing.T, addr netip.AddrPort) {
	t.Helper()
	ln, err := net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	raw, err := ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	cerr := raw.Control(func(fd uintptr) { err = syscall.Listen(int(fd), 0) })
	if err := errors.Join(cerr, err); err != nil {
		t.Fatal(err)
	}
	for {
		c, err := net.DialTimeout("tcp4", addr.String(), 300*time.Millisecond)
		if err != nil {
			return
		}
		t.Cleanup(func() { c.Close() })
	}
}
