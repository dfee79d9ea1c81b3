//go:build unix

package sock

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// Unread tells whether there is something to read, be it an end.
func Unread(fd int) bool {
	p := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
	n, err := unix.Poll(p, 0)
	return err == nil && n > 0
}

// Left tells, without reading, whether the other side has finished or aborted; aborted says which of both.
func Left(c Conn) (left, aborted bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return true, true
	}
	err = raw.Control(func(fd uintptr) { left, aborted = Ended(int(fd)) })
	return left || err != nil, aborted || err != nil
}

// Ended is Left of a descriptor.
func Ended(fd int) (ended, aborted bool) {
	p := []unix.PollFd{{Fd: int32(fd), Events: hangUp}}
	if n, err := unix.Poll(p, 0); err != nil || n == 0 {
		return false, false
	}
	_, err := syscall.Getpeername(fd)
	return true, err != nil
}
