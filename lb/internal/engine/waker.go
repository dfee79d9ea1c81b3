//go:build linux && (amd64 || arm64)

package engine

import (
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// waker is an eventfd: how other goroutines end a turn.
type waker struct{ fd int32 }

func newWaker() (waker, error) {
	fd, err := unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC)
	if err != nil {
		return waker{-1}, fmt.Errorf("eventfd: %w", err)
	}
	return waker{int32(fd)}, nil
}

func (w waker) wake() {
	one := uint64(1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(w.fd), uintptr(unsafe.Pointer(&one)), 8) // EAGAIN: it is awake for long
}

func (w waker) drain() {
	var n uint64
	_, _, _ = unix.RawSyscall(unix.SYS_READ, uintptr(w.fd), uintptr(unsafe.Pointer(&n)), 8)
}

func (w waker) close() { closeFD(int(w.fd)) }

func shutdownFD(fd int32) {
	// ENOTCONN: the other side has aborted meanwhile; its receive finds that out and says so.
	_, _, _ = unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(fd), unix.SHUT_WR, 0)
}
