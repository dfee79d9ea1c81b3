package sock

import (
	"encoding/binary"
	"syscall"

	"golang.org/x/sys/unix"
)

// CountOverflow makes a socket tell what its receive buffer had no room for since it was made (socket(7), SO_RXQ_OVFL; Linux
// 2.6.33). Without it, that is not counted.
func CountOverflow(fd int) { _ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RXQ_OVFL, 1) }

func countOverflowOf(c syscall.Conn) {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { CountOverflow(int(fd)) })
	}
}

// overflowed is what the control messages of a datagram say of those that were dropped so far.
func overflowed(control []byte) (total uint32, ok bool) {
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		if err != nil {
			return 0, false
		}
		if h.Level == unix.SOL_SOCKET && h.Type == unix.SO_RXQ_OVFL && len(data) >= 4 {
			return binary.NativeEndian.Uint32(data), true
		}
		control = rest
	}
	return 0, false
}
