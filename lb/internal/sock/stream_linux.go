//go:build amd64 || arm64

package sock

import (
	"net"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// SockaddrSize is the room for an address of either family in the kernel's form.
const SockaddrSize = unix.SizeofSockaddrInet6

// Sockaddr writes addr in the kernel's form and gives the length used.
func Sockaddr(b *[SockaddrSize]byte, addr netip.AddrPort) int {
	*b = [SockaddrSize]byte{}
	ip := addr.Addr()
	b[2], b[3] = byte(addr.Port()>>8), byte(addr.Port())
	if ip.Is4() {
		*(*uint16)(unsafe.Pointer(&b[0])) = unix.AF_INET
		a := ip.As4()
		copy(b[4:8], a[:])
		return unix.SizeofSockaddrInet4
	}
	*(*uint16)(unsafe.Pointer(&b[0])) = unix.AF_INET6
	a := ip.As16()
	copy(b[8:24], a[:])
	*(*uint32)(unsafe.Pointer(&b[24])) = scope(ip.Zone())
	return unix.SizeofSockaddrInet6
}

// scope is the index of the interface that a zone names; 0 is none.
func scope(zone string) uint32 {
	if zone == "" {
		return 0
	}
	if n, err := strconv.ParseUint(zone, 10, 32); err == nil {
		return uint32(n)
	}
	ifi, err := net.InterfaceByName(zone)
	if err != nil {
		return 0
	}
	return uint32(ifi.Index)
}

// Address reads the kernel's form; the zero value if it is of another family.
func Address(b *[SockaddrSize]byte) netip.AddrPort {
	port := uint16(b[2])<<8 | uint16(b[3])
	switch *(*uint16)(unsafe.Pointer(&b[0])) {
	case unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), port)
	case unix.AF_INET6:
		ip := netip.AddrFrom16([16]byte(b[8:24])).Unmap()
		if n := *(*uint32)(unsafe.Pointer(&b[24])); n != 0 && ip.Is6() {
			ip = ip.WithZone(strconv.FormatUint(uint64(n), 10))
		}
		return netip.AddrPortFrom(ip, port)
	}
	return netip.AddrPort{}
}

// LocalAddr is our own address on a socket; the zero value if there is none.
func LocalAddr(fd int) netip.AddrPort { return name(unix.SYS_GETSOCKNAME, fd) }

// PeerAddr is the other side's address; the zero value once the connection is gone.
func PeerAddr(fd int) netip.AddrPort { return name(unix.SYS_GETPEERNAME, fd) }

// Gone tells that a socket that was connected is not any more: it was reset. One at a path never is.
func Gone(fd int) bool {
	var b [SockaddrSize]byte
	n := uint32(len(b))
	_, _, errno := unix.RawSyscall(unix.SYS_GETPEERNAME, uintptr(fd), uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&n)))
	return errno != 0
}

func name(call uintptr, fd int) netip.AddrPort {
	var b [SockaddrSize]byte
	n := uint32(len(b))
	_, _, errno := unix.RawSyscall(call, uintptr(fd), uintptr(unsafe.Pointer(&b)), uintptr(unsafe.Pointer(&n)))
	if errno != 0 {
		return netip.AddrPort{}
	}
	return Address(&b)
}

// Stream makes a socket that can connect to addr, on behalf of a client if one is given, by the number of a way (Source.Ways):
// non-blocking, with everything but keepalive. The caller closes it.
func Stream(addr netip.AddrPort, o *Options, client netip.Addr, way int) (int, error) {
	family := uintptr(unix.AF_INET6)
	if addr.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, family, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	if !o.Nagle {
		set(int(fd), unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	}
	if err := o.dial(int(fd), addr.Addr(), client, way, true); err != nil {
		_ = unix.Close(int(fd))
		return -1, err
	}
	return int(fd), nil
}

// Connect begins to connect a non-blocking socket; that it has, or has not, shows when the socket is writable.
func Connect(fd int, addr netip.AddrPort) error {
	var b [SockaddrSize]byte
	n := Sockaddr(&b, addr)
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(&b)), uintptr(n))
	if errno != 0 && errno != unix.EINPROGRESS {
		return errno
	}
	return nil
}

// HandshakeTime is how long the other side took to answer a connect, as the kernel has measured it; 0 if it has not.
func HandshakeTime(fd int) time.Duration {
	info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
	if err != nil || info.Total_retrans > 0 {
		return 0
	}
	return time.Duration(info.Rtt) * time.Microsecond
}

// SendWhole sends bytes on a new non-blocking connection, whose buffer is empty: it takes them all, or the connection is no
// good.
func SendWhole(fd int, b []byte) error {
	n, _, errno := unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	switch {
	case errno != 0:
		return errno
	case int(n) < len(b):
		return unix.ENOBUFS
	}
	return nil
}

// AbortOnClose makes the next close of fd send RST and throw away what is queued.
func AbortOnClose(fd int) {
	l := unix.Linger{Onoff: 1}
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), unix.SOL_SOCKET, unix.SO_LINGER, uintptr(unsafe.Pointer(&l)), unix.SizeofLinger, 0)
}
