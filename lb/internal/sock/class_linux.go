package sock

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// HearClass makes a UDP socket tell with each datagram which traffic class it came with (ip(7), IP_RECVTOS; ipv6(7),
// IPV6_RECVTCLASS). A socket of IPv6 hears both families and takes both options; one of IPv4 has no use for the other.
func HearClass(fd int) {
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_RECVTOS, 1)
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_RECVTCLASS, 1)
}

// SetClass gives what is sent on a UDP socket from now on a traffic class.
func SetClass(fd int, v6 bool, class uint8) {
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TCLASS, int(class))
		return
	}
	_ = unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TOS, int(class))
}

// Class is the traffic class that a datagram came with, by its control messages; 0 if they do not say.
func Class(control []byte) uint8 {
	for len(control) >= unix.SizeofCmsghdr {
		h, data, rest, err := unix.ParseOneSocketControlMessage(control)
		switch {
		case err != nil:
			return 0
		case h.Level == unix.IPPROTO_IP && h.Type == unix.IP_TOS && len(data) >= 1:
			return data[0]
		case h.Level == unix.IPPROTO_IPV6 && h.Type == unix.IPV6_TCLASS && len(data) >= 4:
			return uint8(binary.NativeEndian.Uint32(data))
		}
		control = rest
	}
	return 0
}

// AppendClass adds the control message that gives one datagram a traffic class. v6 is of whom it goes to.
func AppendClass(control []byte, v6 bool, class uint8) []byte {
	at := len(control)
	control = append(control, make([]byte, unix.CmsgSpace(4))...)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&control[at]))
	h.Level, h.Type = unix.IPPROTO_IP, unix.IP_TOS
	if v6 {
		h.Level, h.Type = unix.IPPROTO_IPV6, unix.IPV6_TCLASS
	}
	h.SetLen(unix.CmsgLen(4))
	binary.NativeEndian.PutUint32(control[at+unix.CmsgLen(0):], uint32(class))
	return control
}
