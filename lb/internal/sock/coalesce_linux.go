//go:build amd64 || arm64

package sock

import (
	"encoding/binary"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// CanCoalesce tells whether the kernel hands over datagrams of one sender and size as one message that says how to cut it up
// (udp(7), UDP_GRO; Linux 5.0). It tries that, once.
var CanCoalesce = sync.OnceValue(coalesces)

// coalesces sends a message of two datagrams to itself, and tells whether it comes back as one.
func coalesces() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	if unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}) != nil {
		return false
	}
	self, err := unix.Getsockname(fd)
	if err != nil || unix.Connect(fd, self) != nil || Coalesce(fd) != nil { // connected: nobody else is heard
		return false
	}
	v := NewVector(2)
	v.Add([]byte{1, 2}, nil, nil, true)
	v.Add([]byte{3}, nil, nil, true)
	if n, err := v.Send(fd); n != 2 || err != nil {
		return false
	}
	_ = unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}) // loopback takes no time
	var b [4]byte
	var control [OOBSize]byte
	n, controls, _, _, err := unix.Recvmsg(fd, b[:], control[:], 0)
	return err == nil && n == 3 && SegmentSize(control[:controls]) == 2
}

// Coalesce asks for that on a socket. Whoever receives from it has to look at SegmentSize.
func Coalesce(fd int) error { return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_GRO, 1) }

// separateOf undoes Coalesce, which somebody may have asked for who had the socket before.
func separateOf(c syscall.Conn) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { _ = unix.SetsockoptInt(int(fd), unix.SOL_UDP, unix.UDP_GRO, 0) })
	}
}

// SegmentSize is what a message's control messages say of the size of its datagrams, of which the last may be shorter; 0 says that
// it is one.
func SegmentSize(control []byte) int {
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0
		}
		if h.Level == unix.SOL_UDP && h.Type == unix.UDP_GRO && len(data) >= 4 {
			return int(binary.NativeEndian.Uint32(data))
		}
		control = rest
	}
	return 0
}
