package sock

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestClassify(t *testing.T) {
	for _, c := range []struct {
		err  error
		want Failure
	}{
		{syscall.ECONNREFUSED, Refused},
		{syscall.EHOSTUNREACH, Refused},
		{ErrSelf, Refused},
		{syscall.EADDRNOTAVAIL, NoSourcePort},
		{syscall.EAGAIN, NoSourcePort},
		{syscall.EMFILE, Resources},
		{syscall.ENFILE, Resources},
		{syscall.ENOBUFS, Resources},
		{syscall.ENOMEM, Resources},
		{syscall.ETIMEDOUT, TimedOut},
		{os.ErrDeadlineExceeded, TimedOut},
		{context.DeadlineExceeded, TimedOut},
		{context.Canceled, Canceled},
	} {
		if got := Classify(fmt.Errorf("dial: %w", c.err)); got != c.want {
			t.Errorf("%v is %d, want %d", c.err, got, c.want)
		}
	}
}

func TestAcceptReason(t *testing.T) {
	for err, want := range map[error]string{
		syscall.EMFILE: "emfile", syscall.ENFILE: "enfile", syscall.ENOBUFS: "enobufs", syscall.ENOMEM: "enomem",
		syscall.ECONNABORTED: "", syscall.EINTR: "", syscall.EINVAL: "error",
	} {
		if got := AcceptReason(&net.OpError{Op: "accept", Err: os.NewSyscallError("accept4", err)}); got != want {
			t.Errorf("%v is %q, want %q", err, got, want)
		}
	}
}

func TestUnmapGivesOneAddressForOneClient(t *testing.T) {
	a := netip.MustParseAddrPort("[::ffff:192.0.2.1]:53")
	if got := Unmap(a); got != netip.MustParseAddrPort("192.0.2.1:53") {
		t.Errorf("%v", got)
	}
}

func TestDialedAndAcceptedSocketsAreKeptAlive(t *testing.T) {
	ln, err := ListenTCP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), Default)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := DialTCP(t.Context(), AddrPort(ln.Addr()), Default, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	a, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	for name, conn := range map[string]*net.TCPConn{"dialed": c, "accepted": a} {
		raw, err := conn.SyscallConn()
		if err != nil {
			t.Fatal(err)
		}
		for option, what := range map[[2]int]string{
			{syscall.SOL_SOCKET, syscall.SO_KEEPALIVE}: "SO_KEEPALIVE", {syscall.IPPROTO_TCP, syscall.TCP_NODELAY}: "TCP_NODELAY",
		} {
			var value int
			var got error
			if err := raw.Control(func(fd uintptr) { value, got = syscall.GetsockoptInt(int(fd), option[0], option[1]) }); err != nil || got != nil {
				t.Fatal(err, got)
			}
			if value == 0 {
				t.Errorf("%s: %s is off", name, what)
			}
		}
	}
}

func TestAbortIsSeenAsAReset(t *testing.T) {
	ln, err := ListenTCP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), Default)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := DialTCP(t.Context(), AddrPort(ln.Addr()), Default, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	a, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	Abort(c)
	_ = a.SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := a.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("read: %v, want a reset", err)
	}
}

func TestWildcardRepliesLeaveFromTheAddressAsked(t *testing.T) {
	for _, listen := range []string{"0.0.0.0:0", "[::]:0"} {
		pc, err := ListenUDP(t.Context(), netip.MustParseAddrPort(listen), Default)
		if err != nil {
			t.Fatal(err)
		}
		defer pc.Close()
		asked := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.9"), AddrPort(pc.LocalAddr()).Port())
		client, err := DialUDP(asked, Default, netip.Addr{})
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		if _, err := client.Write([]byte("?")); err != nil {
			t.Fatal(err)
		}
		b := make([]byte, 16)
		n, from, local, truncated, err := pc.ReadDatagram(b, make([]byte, OOBSize))
		if err != nil || n != 1 || truncated || local != asked || from != AddrPort(client.LocalAddr()) {
			t.Fatalf("%s: read %d bytes, %v to %v, truncated %t: %v", listen, n, from, local, truncated, err)
		}
		if err := pc.Reply([]byte("!"), pc.ReplyControl(local), from); err != nil {
			t.Fatal(err)
		}
		_ = client.SetReadDeadline(time.Now().Add(5 * time.Second))
		if n, err := client.Read(b); err != nil || n != 1 { // connected: a reply from elsewhere does not arrive
			t.Errorf("%s: %d bytes, %v", listen, n, err)
		}
	}
}

func TestTruncationIsTold(t *testing.T) {
	pc, err := ListenUDP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), Default)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	client, err := DialUDP(AddrPort(pc.LocalAddr()), Default, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	if _, err := client.Write([]byte("longer")); err != nil {
		t.Fatal(err)
	}
	if n, _, _, truncated, err := pc.ReadDatagram(make([]byte, 3), make([]byte, OOBSize)); err != nil || n != 3 || !truncated {
		t.Errorf("%d bytes, truncated %t, %v", n, truncated, err)
	}
}
