//go:build amd64 || arm64

package sock

import (
	"encoding/binary"
	"sync"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Vector is datagrams that one system call sends. It belongs to one goroutine.
//
// Datagrams of one size that go the same way in a row are one message, which the kernel carries as one and cuts up late (udp(7),
// UDP_SEGMENT; Linux 4.18). What it will not carry so is sent one by one.
type Vector struct {
	headers []header // messages
	iovs    []unix.Iovec
	control [][OOBSize]byte
	counts  []int // of datagrams in each message
	n       int   // datagrams
	at      int   // the message that is sent next
	split   bool  // that is sent one by one
	joined  int   // datagrams that were sent joined to others
	late    int   // errors of earlier datagrams that Send has met
	most    int   // bytes of a datagram that may be joined with others: shrinks with what the kernel refuses
}

const (
	maxSegments = 64    // in a message (UDP_MAX_SEGMENTS of older kernels)
	maxJoined   = 65000 // bytes in a message, less than IP carries
)

// canSegment tells whether the kernel knows how to cut a message up.
var canSegment = sync.OnceValue(func() bool {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return false
	}
	defer func() { _ = unix.Close(fd) }()
	return unix.SetsockoptInt(fd, unix.SOL_UDP, unix.UDP_SEGMENT, 0) == nil
})

// NewVector makes room for n datagrams.
func NewVector(n int) *Vector {
	v := &Vector{
		headers: make([]header, n), iovs: make([]unix.Iovec, n), control: make([][OOBSize]byte, n), counts: make([]int, 0, n), most: maxJoined,
	}
	if !canSegment() {
		v.most = 0
	}
	return v
}

// nothing is what an empty datagram is sent from.
var nothing [1]byte

// Add puts a datagram behind the others: to name, or without one to whom the socket is connected, with a control message
// or none. If it goes the same way as the one before, more says so. None of these may change until it is sent.
func (v *Vector) Add(payload, name, control []byte, more bool) {
	iov := &v.iovs[v.n]
	iov.Base = &nothing[0]
	if len(payload) > 0 {
		iov.Base = &payload[0]
	}
	iov.SetLen(len(payload))
	v.n++
	last := len(v.counts) - 1
	if more && v.joins(last, len(payload)) {
		h := &v.headers[last]
		v.counts[last]++
		h.SetIovlen(v.counts[last])
		if v.counts[last] == 2 {
			v.segment(last, control)
		}
		return
	}
	last++
	v.counts = append(v.counts, 1)
	h := &v.headers[last]
	h.Iov = iov
	h.SetIovlen(1)
	h.Name, h.Namelen = nil, uint32(len(name))
	if len(name) > 0 {
		h.Name = &name[0]
	}
	h.setControl(control)
}

func (h *header) setControl(b []byte) {
	h.Control = nil
	h.SetControllen(len(b))
	if len(b) > 0 {
		h.Control = &b[0]
	}
}

// joins tells whether a datagram of size bytes fits into the last message: all of a message but the last are of the same size,
// which that does not exceed.
func (v *Vector) joins(last, size int) bool {
	if last < 0 {
		return false
	}
	n := v.counts[last]
	first, before := v.Size(v.n-1-n), v.Size(v.n-2)
	return size > 0 && size <= first && before == first && first <= v.most && n < maxSegments && n*first+size <= maxJoined
}

// segment says into what the kernel is to cut a message.
func (v *Vector) segment(i int, control []byte) {
	b := &v.control[i]
	at := copy(b[:], control)
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[at]))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[at+unix.CmsgLen(0):], uint16(v.headers[i].Iov.Len))
	v.headers[i].setControl(b[:at+unix.CmsgSpace(2)])
}

// unsegment makes the message that is next one of single datagrams, and its size one that is not joined any more.
func (v *Vector) unsegment() {
	h := &v.headers[v.at]
	v.most = int(h.Iov.Len) - 1
	v.split = true
	h.SetIovlen(1)
	h.setControl(v.control[v.at][:int(h.Controllen)-unix.CmsgSpace(2)])
}

// Len is how many datagrams are to be sent.
func (v *Vector) Len() int { return v.n }

// Size is the length of a datagram that is to be sent.
func (v *Vector) Size(i int) int { return int(v.iovs[i].Len) }

// Reset forgets what was added.
func (v *Vector) Reset() {
	v.n, v.at, v.split, v.joined, v.late = 0, 0, false, 0, 0
	v.counts = v.counts[:0]
}

// Send sends what is left and says how many datagrams were sent. If there is an error, none was: it is that of the first, which
// stays until Skip. That an earlier datagram was too big, which an ICMP error has said since, is no such error, but counted.
func (v *Vector) Send(fd int) (int, error) {
	late := 0
	for tried := false; ; {
		messages := len(v.counts) - v.at
		if v.split {
			messages = 1
		}
		n, errno := send(fd, v.headers[v.at:v.at+messages])
		switch {
		case errno == unix.EINTR:
		case errno == unix.EMSGSIZE && !tried:
			tried, late = true, 1 // if it goes now
		case errno != 0 && v.counts[v.at] > 1 && !v.split && refusesSegments(errno):
			v.unsegment()
			late = 0
		case errno != 0:
			return 0, errno
		case v.split:
			v.late += late
			return v.Skip(), nil
		default:
			v.late += late
			sent := 0
			for range n {
				sent += v.Skip()
			}
			v.joined += sent - n
			return sent, nil
		}
	}
}

// send sends messages, one of them by a call that costs less, and says how many.
func send(fd int, headers []header) (int, unix.Errno) {
	const flags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL
	first := &headers[0]
	var n uintptr
	var errno unix.Errno
	switch {
	case len(headers) > 1:
		n, _, errno = unix.RawSyscall6(unix.SYS_SENDMMSG, uintptr(fd), uintptr(unsafe.Pointer(first)), uintptr(len(headers)), flags, 0, 0)
		return int(n), errno
	case first.Controllen == 0: // so it is one datagram: segment has given joined ones a control message
		_, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(fd), uintptr(unsafe.Pointer(first.Iov.Base)), uintptr(first.Iov.Len), flags, uintptr(unsafe.Pointer(first.Name)), uintptr(first.Namelen))
	default:
		_, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, uintptr(fd), uintptr(unsafe.Pointer(&first.Msghdr)), flags)
	}
	return 1, errno
}

// refusesSegments tells that the kernel may take one by one what it does not take joined: the way allows for smaller ones only
// (EMSGSIZE, EINVAL), or its device computes no checksums (EIO).
func refusesSegments(errno unix.Errno) bool {
	return errno == unix.EMSGSIZE || errno == unix.EINVAL || errno == unix.EIO
}

// Skip leaves the first message out, and says how many datagrams that are.
func (v *Vector) Skip() int {
	n := v.counts[v.at]
	if v.split && n > 1 {
		v.counts[v.at]--
		h := &v.headers[v.at]
		h.Iov = (*unix.Iovec)(unsafe.Add(unsafe.Pointer(h.Iov), unsafe.Sizeof(unix.Iovec{})))
		return 1
	}
	v.at++
	v.split = false
	return n
}

// Joined is how many datagrams were sent in a message that had one before them.
func (v *Vector) Joined() int { return v.joined }

// Late is how many ICMP errors Send has met that say of an earlier datagram that it was too big.
func (v *Vector) Late() int { return v.late }
