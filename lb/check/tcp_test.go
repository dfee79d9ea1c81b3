package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

func listen(t *testing.T, serve func(net.Conn)) netip.AddrPort {
	t.Helper()
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serve(c)
			c.Close()
		}
	}()
	t.Cleanup(func() { ln.Close(); <-done })
	return netip.MustParseAddrPort(ln.Addr().String())
}

// ways are the two in which a connection is made: with others by the clock, and alone.
var ways = map[string]func(*testing.T, Options, netip.AddrPort) Result{"clock": askHub, "alone": probeOnce}

// askHub gives what the first probe of a hub finds.
func askHub(t *testing.T, o Options, target netip.AddrPort) Result {
	t.Helper()
	h := NewHub()
	defer h.Close()
	o.Interval, o.FastInterval, o.Fall, o.Rise = time.Hour, time.Hour, 1, 1
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	found := make(chan Result, 1)
	if _, err := h.Watch(target, o, 0, func(s State) { found <- s.Last }); err != nil {
		t.Fatal(err)
	}
	return <-found
}

func TestTCPProbeOfAServer(t *testing.T) {
	for way, ask := range ways {
		if r := ask(t, Options{Kind: "tcp"}, listen(t, func(net.Conn) {})); !r.Alive || r.Reason != OK || r.Latency <= 0 {
			t.Errorf("%s: %+v", way, r)
		}
	}
}

// A server that greets first must see a plain end, not a reset, or it logs an aborted client for each probe.
func TestTCPProbeIsPolite(t *testing.T) {
	saw := make(chan error, 1)
	target := listen(t, func(c net.Conn) {
		c.Write([]byte("5.5.5-10.11 MariaDB greets first"))
		c.SetReadDeadline(time.Now().Add(5 * time.Second))
		_, err := io.Copy(io.Discard, c)
		saw <- err
	})
	for way, ask := range ways {
		for range 30 { // a rude probe resets only if the greeting was there before it closed
			if r := ask(t, Options{Kind: "tcp"}, target); !r.Alive {
				t.Fatalf("%s: %+v", way, r)
			}
			if err := <-saw; err != nil {
				t.Fatalf("%s: the server read %v, want a plain end", way, err)
			}
		}
	}
}

func TestTCPProbeOfAClosedPort(t *testing.T) {
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	target := netip.MustParseAddrPort(ln.Addr().String())
	ln.Close()
	for way, ask := range ways {
		if r := ask(t, Options{Kind: "tcp"}, target); r.Alive || r.Reason != Refused || r.Detail == "" {
			t.Errorf("%s: %+v", way, r)
		}
	}
}

// patiently polls until something has happened.
func patiently(t *testing.T, what string, is func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestReasons(t *testing.T) {
	for _, c := range []struct {
		err  error
		want string
	}{
		{syscall.ECONNREFUSED, Refused},
		{syscall.EMFILE, Local},
		{syscall.EADDRNOTAVAIL, Local},
		{syscall.EHOSTUNREACH, Unreachable},
		{context.DeadlineExceeded, Timeout},
		{os.ErrDeadlineExceeded, Timeout},
		{syscall.ETIMEDOUT, Timeout},
		{errors.New("else"), Error},
	} {
		if got := reason(fmt.Errorf("dial: %w", c.err)); got != c.want {
			t.Errorf("%v is %q, want %q", c.err, got, c.want)
		}
	}
}
