//go:build amd64 || arm64

package sock

import (
	"fmt"
	"net/netip"
	"unsafe"

	"golang.org/x/sys/unix"
)

// header is struct mmsghdr of recvmmsg(2) and sendmmsg(2).
type header struct {
	unix.Msghdr
	n uint32
}

// Batch is room for datagrams that one system call receives. It belongs to one goroutine. Whoever makes it frees it.
type Batch struct {
	headers []header
	iovs    []unix.Iovec
	names   [][SockaddrSize]byte
	control [][OOBSize]byte
	data    []byte
	size    int
	used    int // the headers from here on are as NewBatch has made them
}

// NewBatch makes room for n datagrams of up to size bytes each. It is not on the heap, and what no datagram has needed is
// not taken from the system.
func NewBatch(n, size int) (*Batch, error) {
	data, err := unix.Mmap(-1, 0, n*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANON)
	if err != nil {
		return nil, fmt.Errorf("mmap: %w", err)
	}
	b := &Batch{
		headers: make([]header, n), iovs: make([]unix.Iovec, n), names: make([][SockaddrSize]byte, n),
		control: make([][OOBSize]byte, n), data: data, size: size,
	}
	for i := range b.headers {
		b.iovs[i] = unix.Iovec{Base: &b.data[i*size]}
		b.iovs[i].SetLen(size)
		b.headers[i].Iov = &b.iovs[i]
		b.headers[i].SetIovlen(1)
		b.headers[i].Name = &b.names[i][0]
		b.headers[i].Control = &b.control[i][0]
		b.headers[i].clean()
	}
	return b, nil
}

// clean makes a header ready to receive, after the kernel has written into it.
func (h *header) clean() {
	h.Namelen = SockaddrSize
	h.SetControllen(OOBSize)
}

// Free gives the memory back. Nothing of the batch may be used after that.
func (b *Batch) Free() { _ = unix.Munmap(b.data) }

// Receive takes what is there on a socket into the places from at to below to, and says how many places were filled. It does not
// wait: EAGAIN says that nothing is there. Places are filled in order.
func (b *Batch) Receive(fd, at, to int) (int, error) {
	for ; b.used > at; b.used-- {
		b.headers[b.used-1].clean()
	}
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVMMSG, uintptr(fd), uintptr(unsafe.Pointer(&b.headers[at])), uintptr(to-at), unix.MSG_DONTWAIT, 0, 0)
		switch errno {
		case 0:
			b.used = at + int(n)
			return int(n), nil
		case unix.EINTR:
		default:
			return 0, errno
		}
	}
}

// ReceiveOne takes one datagram into a place, without the name and the control messages, which costs less.
func (b *Batch) ReceiveOne(fd, at int) error {
	for {
		n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(fd), uintptr(unsafe.Pointer(&b.data[at*b.size])), uintptr(b.size), unix.MSG_DONTWAIT|unix.MSG_TRUNC, 0, 0)
		switch errno {
		case 0:
			h := &b.headers[at]
			h.n, h.Flags = uint32(min(int(n), b.size)), 0
			if int(n) > b.size { // MSG_TRUNC tells how long it was
				h.Flags = unix.MSG_TRUNC
			}
			h.SetControllen(0)
			b.used = max(b.used, at+1)
			return nil
		case unix.EINTR:
		default:
			return errno
		}
	}
}

// Payload is the datagram in a place. It is good until the place is filled anew.
func (b *Batch) Payload(i int) []byte { return b.data[i*b.size:][:b.headers[i].n] }

// Truncated tells that the datagram, or what is said of it, was larger than its place.
func (b *Batch) Truncated(i int) bool {
	return b.headers[i].Flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0
}

// Control is the control messages that came with the datagram.
func (b *Batch) Control(i int) []byte { return b.control[i][:b.headers[i].Controllen] }

// Name is who sent the datagram, for Address.
func (b *Batch) Name(i int) *[SockaddrSize]byte { return &b.names[i] }

// Asked is the address that a datagram was sent to, on a socket that is bound to bound; what packet info among its control messages
// says of it comes first.
func Asked(control []byte, bound netip.AddrPort) netip.AddrPort {
	for rest := control; len(rest) >= unix.SizeofCmsghdr; {
		h, data, next, err := unix.ParseOneSocketControlMessage(rest)
		if err != nil {
			break
		}
		switch {
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			return netip.AddrPortFrom(netip.AddrFrom4([4]byte(data[8:12])), bound.Port())
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			return netip.AddrPortFrom(netip.AddrFrom16([16]byte(data[:16])).Unmap(), bound.Port())
		}
		rest = next
	}
	return bound
}

// Datagram makes a UDP socket that is connected to addr, on behalf of a client if one is given, so that only the peer's
// datagrams and refusals arrive on it. It does not block; the caller closes it.
func Datagram(addr netip.AddrPort, o *Options, client netip.Addr) (fd int, err error) {
	err = o.Source.eachWay(addr.Addr(), client, func(way int) error {
		fd, err = datagram(addr, o, client, way)
		return err
	})
	return fd, err
}

func datagram(addr netip.AddrPort, o *Options, client netip.Addr, way int) (int, error) {
	family := uintptr(unix.AF_INET6)
	if addr.Addr().Is4() {
		family = unix.AF_INET
	}
	fd, _, errno := unix.RawSyscall(unix.SYS_SOCKET, family, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if errno != 0 {
		return -1, errno
	}
	if err := o.dial(int(fd), addr.Addr(), client, way, false); err != nil {
		_ = unix.Close(int(fd))
		return -1, err
	}
	var name [SockaddrSize]byte
	n := Sockaddr(&name, addr)
	if _, _, errno = unix.RawSyscall(unix.SYS_CONNECT, fd, uintptr(unsafe.Pointer(&name)), uintptr(n)); errno != 0 {
		_ = unix.Close(int(fd))
		return -1, errno
	}
	return int(fd), nil
}

// Detach gives the socket itself, which the caller closes. The runtime does not watch it any more: it would wake for
// every datagram.
func (c *PacketConn) Detach() (fd int, err error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return -1, err
	}
	if e := raw.Control(func(own uintptr) { fd, err = unix.FcntlInt(own, unix.F_DUPFD_CLOEXEC, 0) }); e != nil {
		return -1, e
	}
	if err != nil {
		return -1, err
	}
	return fd, c.Close()
}

// ClientName writes a client's address as the socket wants it in Vector.Add, and gives the length.
func (c *PacketConn) ClientName(b *[SockaddrSize]byte, client netip.AddrPort) int {
	return Sockaddr(b, c.mapped(client))
}
