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

func ask(t *testing.T, target netip.AddrPort) Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	probe, err := newTCP(Options{})
	if err != nil {
		t.Fatal(err)
	}
	return probe(ctx, target)
}

func TestTCPProbeOfAServer(t *testing.T) {
	if r := ask(t, listen(t, func(net.Conn) {})); !r.Alive || r.Reason != OK || r.Latency <= 0 {
		t.Errorf("%+v", r)
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
	for range 50 { // a rude probe resets only if the greeting was there before it closed
		if r := ask(t, target); !r.Alive {
			t.Fatalf("%+v", r)
		}
		if err := <-saw; err != nil {
			t.Fatalf("the server read %v, want a plain end", err)
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
	if r := ask(t, target); r.Alive || r.Reason != Refused || r.Detail == "" {
		t.Errorf("%+v", r)
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
