//go:build amd64 || arm64

package sock

import (
	"net"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// incoming is the descriptor of a socket at which a datagram has arrived.
func incoming(t *testing.T, c *net.UDPConn) (fd int) {
	t.Helper()
	_ = c.SetReadDeadline(time.Now().Add(10 * time.Second))
	if err := rawOf(t, c).Read(func(own uintptr) bool {
		fd = int(own)
		n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, 0)
		return n == 1 && err == nil
	}); err != nil {
		t.Fatal(err)
	}
	return fd
}

func rawOf(t *testing.T, c *net.UDPConn) syscall.RawConn {
	t.Helper()
	raw, err := c.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// One call or the other: a datagram comes whole or is said to be truncated, an empty one comes, and places can be used again.
func TestReceivedOneByOneOrInBatches(t *testing.T) {
	sender, receiver := stream(t)
	b, err := NewBatch(2, 3)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.Free)
	_ = rawOf(t, receiver).Control(func(fd uintptr) { HearClass(int(fd)) })
	from := LocalAddr(sender)
	for i, one := range []bool{true, false, true, true, false, false} {
		for _, sent := range []string{"abc", "", "longer"} {
			if err := unix.Send(sender, []byte(sent), 0); err != nil {
				t.Fatal(err)
			}
			fd, at := incoming(t, receiver), i%2
			if one {
				err = b.ReceiveOne(fd, at)
			} else if n, e := b.Receive(fd, at, 2); n != 1 || e != nil {
				t.Fatalf("%d: %d datagrams, %v", i, n, e)
			}
			if got := string(b.Payload(at)); err != nil || got != sent[:min(3, len(sent))] || b.Truncated(at) != (len(sent) > 3) || (len(b.Control(at)) > 0) == one {
				t.Errorf("%d: sent %q, got %q, truncated %t, %d bytes of control, %v", i, sent, got, b.Truncated(at), len(b.Control(at)), err)
			}
			if got := Address(b.Name(at)); !one && got != from {
				t.Errorf("%d: from %s, expected %s", i, got, from)
			}
			if err := b.ReceiveOne(fd, at); err != unix.EAGAIN {
				t.Errorf("%d: then %v", i, err)
			}
			if n, err := b.Receive(fd, at, 2); n != 0 || err != unix.EAGAIN {
				t.Errorf("%d: then %d datagrams, %v", i, n, err)
			}
		}
	}
}
