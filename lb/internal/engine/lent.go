//go:build linux && (amd64 || arm64)

package engine

import (
	"fmt"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"
)

// lent is the ring of buffers that the kernel may fill (IORING_REGISTER_PBUF_RING, 5.19): a receive takes one only when
// bytes are there.
type lent struct {
	mem     []byte
	entries []lentEntry
	tail    uint16
	first   uint16 // the id in entry 0, whose last word also holds the tail
	n       int    // buffers in the kernel's hands
}

// lentEntry is struct io_uring_buf. In entry 0 the upper half of the last word is the ring's tail.
type lentEntry struct {
	addr uint64
	len  uint32
	last uint32 // id, and the tail above it
}

const lentGroup = 0

// lend registers an empty ring of n buffers, a power of two, by the number of a group.
func lend(r *ring, n int, group uint16) (*lent, error) {
	size := n * int(unsafe.Sizeof(lentEntry{}))
	mem, err := unix.Mmap(-1, 0, size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	if err != nil {
		return nil, fmt.Errorf("map buffer ring: %w", err)
	}
	reg := struct {
		addr    uint64
		entries uint32
		group   uint16
		flags   uint16
		resv    [3]uint64
	}{addr: uint64(uintptr(unsafe.Pointer(&mem[0]))), entries: uint32(n), group: group}
	_, _, errno := unix.Syscall6(unix.SYS_IO_URING_REGISTER, uintptr(r.fd), registerPbufRing, uintptr(unsafe.Pointer(&reg)), 1, 0, 0)
	if errno != 0 {
		_ = unix.Munmap(mem)
		return nil, fmt.Errorf("register buffer ring: %w", errno)
	}
	return &lent{mem: mem, entries: unsafe.Slice((*lentEntry)(unsafe.Pointer(&mem[0])), n)}, nil
}

func (l *lent) unmap() { _ = unix.Munmap(l.mem) }

// fill lends free buffers until n are lent.
func (l *lent) fill(p *buffers, n int) {
	if l.n >= n || p.left == 0 {
		return
	}
	mask := uint16(len(l.entries) - 1)
	for l.n < n {
		b := p.take()
		if b == noBuffer {
			break
		}
		i := l.tail & mask
		e := &l.entries[i]
		e.addr, e.len = uint64(uintptr(unsafe.Pointer(&p.Bytes(b)[0]))), uint32(p.size)
		if i == 0 {
			l.first = uint16(b)
		} else {
			e.last = uint32(b)
		}
		l.tail++
		l.n++
	}
	// The one store that hands over: after the entries, by the order of atomic operations.
	atomic.StoreUint32(&l.entries[0].last, uint32(l.first)|uint32(l.tail)<<16)
}
