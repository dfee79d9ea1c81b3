//go:build linux && (amd64 || arm64)

package engine

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Buffer names a buffer of one engine.
type Buffer uint16

// noBuffer ends a list. It is never a buffer's name.
const noBuffer Buffer = 0xffff

// buffers is a set of buffers of one size in mapped memory, which the garbage collector neither sees nor moves. Pages
// are touched only as deep as the free list was ever taken: it is last in, first out.
type buffers struct {
	mem  []byte
	size int
	next []Buffer // the list that a buffer is in
	fill []uint32 // bytes in it while it is queued
	free Buffer
	left int // buffers on the free list
	low  int // the least that left was since the last trim
}

func mapBuffers(n, size int) (*buffers, error) {
	mem, err := unix.Mmap(-1, 0, n*size, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_NORESERVE)
	if err != nil {
		return nil, fmt.Errorf("map buffers: %w", err)
	}
	p := &buffers{mem: mem, size: size, next: make([]Buffer, n), fill: make([]uint32, n), free: noBuffer}
	for i := n - 1; i >= 0; i-- {
		p.put(Buffer(i))
	}
	p.low = n
	return p, nil
}

// trim gives memory back to the system, if no buffer holds bytes and more than spare of them have done so since the last
// time. lent are in the kernel's hands, empty.
func (p *buffers) trim(lent, spare int) {
	if n := len(p.next); p.left+lent < n || n-p.low <= spare {
		return
	}
	_ = unix.Madvise(p.mem, unix.MADV_DONTNEED)
	p.low = p.left
}

func (p *buffers) unmap() { _ = unix.Munmap(p.mem) }

// Bytes is all that a buffer holds.
func (p *buffers) Bytes(b Buffer) []byte { return p.mem[int(b)*p.size : int(b)*p.size+p.size] }

// take gives a free buffer, or noBuffer.
func (p *buffers) take() Buffer {
	b := p.free
	if b != noBuffer {
		p.free = p.next[b]
		p.left--
		p.low = min(p.low, p.left)
	}
	return b
}

func (p *buffers) put(b Buffer) {
	p.next[b] = p.free
	p.free = b
	p.left++
}

// room is how many buffers one queue may hold: fewer as the first half of them is taken, and one from there on. A blocked stream
// cannot hold less, so the second half is for as many more of them, and for who is not blocked.
func (p *buffers) room() int {
	half := len(p.next) / 2
	return max(1, min(maxQueued, (p.left-half)*maxQueued/max(1, half)))
}

// queue is what waits to be sent through one socket.
type queue struct {
	head, tail Buffer
	off        uint32 // bytes of head that were sent
	n          uint16 // buffers
}

func (q *queue) push(p *buffers, b Buffer, n int) {
	p.fill[b], p.next[b] = uint32(n), noBuffer
	if q.n == 0 {
		q.head = b
	} else {
		p.next[q.tail] = b
	}
	q.tail = b
	q.n++
}

// sent takes n bytes off the front and frees the buffers that became empty.
func (q *queue) sent(p *buffers, n int) {
	for n > 0 {
		left := int(p.fill[q.head] - q.off)
		if n < left {
			q.off += uint32(n)
			return
		}
		n -= left
		q.pop(p)
	}
}

func (q *queue) pop(p *buffers) {
	b := q.head
	q.head = p.next[b]
	q.off = 0
	q.n--
	p.put(b)
}

func (q *queue) drop(p *buffers) {
	for q.n > 0 {
		q.pop(p)
	}
}

// vector fills iov with what waits, as far as it reaches, and says how many entries it used.
func (q *queue) vector(p *buffers, iov []unix.Iovec) int {
	off := q.off
	b := q.head
	n := min(int(q.n), len(iov))
	for i := range n {
		iov[i].Base = &p.Bytes(b)[off]
		iov[i].SetLen(int(p.fill[b] - off))
		off, b = 0, p.next[b]
	}
	return n
}
