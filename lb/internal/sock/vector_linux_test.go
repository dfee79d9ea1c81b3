//go:build amd64 || arm64

package sock

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// stream is a socket that is connected to a receiver.
func stream(t *testing.T) (fd int, receiver *net.UDPConn) {
	t.Helper()
	receiver, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = receiver.Close() })
	if fd, err = Datagram(AddrPort(receiver.LocalAddr()), Default, netip.Addr{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Close(fd) })
	return fd, receiver
}

// pass sends datagrams of these sizes, each filled with its number, and wants them as they were. Those at breaks go another way
// than the one before.
func pass(t *testing.T, v *Vector, fd int, receiver *net.UDPConn, breaks map[int]bool, sizes ...int) {
	t.Helper()
	v.Reset()
	for i, n := range sizes {
		v.Add(bytes.Repeat([]byte{byte(i)}, n), nil, nil, !breaks[i])
	}
	for sent := 0; sent < len(sizes); {
		n, err := v.Send(fd)
		if err != nil {
			t.Fatal(err)
		}
		sent += n
	}
	b := make([]byte, 64<<10)
	_ = receiver.SetReadDeadline(time.Now().Add(10 * time.Second))
	for i, want := range sizes {
		n, err := receiver.Read(b)
		if err != nil || n != want || !bytes.Equal(b[:n], bytes.Repeat([]byte{byte(i)}, want)) {
			t.Fatalf("datagram %d: %d bytes, want %d: %v", i, n, want, err)
		}
	}
}

func repeated(n, times int) (sizes []int) {
	for range times {
		sizes = append(sizes, n)
	}
	return sizes
}

func TestJoinedDatagramsArriveAsTheyWere(t *testing.T) {
	if !canSegment() {
		t.Skip("this kernel cuts up no messages")
	}
	for _, c := range []struct {
		name   string
		sizes  []int
		breaks map[int]bool
		joined int
	}{
		{"one", []int{100}, nil, 0},
		{"two", []int{100, 100}, nil, 1},
		{"a short one is the last", []int{100, 100, 40, 100, 100}, nil, 3},
		{"a short one alone", []int{40, 100, 100}, nil, 1},
		{"empty", []int{0, 0, 50, 0, 50, 50}, nil, 1},
		{"another way", []int{100, 100, 100, 100}, map[int]bool{2: true}, 2},
		{"all", repeated(1200, 50), nil, 49},
		{"more bytes than a message holds", repeated(33_000, 2), nil, 0},
		{"more than one message holds", repeated(20_000, 4), nil, 2},
		{"more pieces than one message holds", repeated(1, 65), nil, 63},
	} {
		t.Run(c.name, func(t *testing.T) {
			fd, receiver := stream(t)
			v := NewVector(len(c.sizes))
			pass(t, v, fd, receiver, c.breaks, c.sizes...)
			if n := v.Joined(); n != c.joined {
				t.Errorf("%d were joined, want %d", n, c.joined)
			}
		})
	}
}

// A socket without checksums is one that the kernel joins nothing on (udp_send_skb: EINVAL), as with a device that computes none.
func TestWhatIsNotTakenJoinedIsSentOneByOne(t *testing.T) {
	fd, receiver := stream(t)
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, 1); err != nil {
		t.Fatal(err)
	}
	v := NewVector(8)
	for range 2 { // later it is not tried
		pass(t, v, fd, receiver, map[int]bool{3: true}, 200, 200, 80, 200, 200, 100, 100, 100)
		if n := v.Joined(); n != 0 {
			t.Errorf("%d were joined", n)
		}
	}
	if v.most >= 100 {
		t.Errorf("joined up to %d bytes after all", v.most)
	}
}

// A refusal is that of the whole message.
func TestRefusalOfJoinedDatagrams(t *testing.T) {
	if !canSegment() {
		t.Skip("this kernel cuts up no messages")
	}
	fd, receiver := stream(t)
	_ = receiver.Close()
	v := NewVector(5)
	v.Add([]byte("refused"), nil, nil, false)
	if n, err := v.Send(fd); n != 1 || err != nil {
		t.Fatal(n, err)
	}
	if n, err := unix.Poll([]unix.PollFd{{Fd: int32(fd)}}, 10_000); n != 1 || err != nil { // the refusal
		t.Fatal(n, err)
	}
	v.Reset()
	for _, n := range []int{9, 9, 9, 5, 9} {
		v.Add(make([]byte, n), nil, nil, true)
	}
	if n, err := v.Send(fd); n != 0 || !errors.Is(err, unix.ECONNREFUSED) {
		t.Fatal(n, err)
	}
	if n := v.Skip(); n != 4 {
		t.Errorf("%d are left out, want 4", n)
	}
	if n, err := v.Send(fd); n != 1 || err != nil {
		t.Error(n, err)
	}
}

// The control message of a reply stays in a message that is cut up, and in what is sent one by one.
func TestJoinedRepliesLeaveFromTheAddressAsked(t *testing.T) {
	for _, plain := range []int{0, 1} {
		c, err := ListenUDP(t.Context(), netip.MustParseAddrPort("0.0.0.0:0"), Default)
		if err != nil {
			t.Fatal(err)
		}
		control := c.ReplyControl(netip.MustParseAddrPort("127.0.0.3:1"))
		fd, err := c.Detach()
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = unix.Close(fd) }()
		if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_NO_CHECK, plain); err != nil {
			t.Fatal(err)
		}
		_, receiver := stream(t)
		var name [SockaddrSize]byte
		n := Sockaddr(&name, AddrPort(receiver.LocalAddr()))
		v := NewVector(4)
		for range 4 {
			v.Add([]byte("reply"), name[:n], control, true)
		}
		for sent := 0; sent < 4; {
			n, err := v.Send(fd)
			if err != nil {
				t.Fatal(err)
			}
			sent += n
		}
		b := make([]byte, 64)
		_ = receiver.SetReadDeadline(time.Now().Add(10 * time.Second))
		for range 4 {
			n, from, err := receiver.ReadFromUDPAddrPort(b)
			if err != nil || string(b[:n]) != "reply" || from.Addr().String() != "127.0.0.3" {
				t.Errorf("%q from %v: %v", b[:n], from, err)
			}
		}
	}
}
