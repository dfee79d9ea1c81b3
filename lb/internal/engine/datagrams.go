//go:build linux && (amd64 || arm64)

package engine

import (
	"bytes"
	"encoding/binary"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Datagrams is an io_uring that takes datagrams from any number of sockets with one system call, and sends many with
// another. A socket's receive stays armed until Drop.
//
// One thread makes it, Start gives it to the one that uses it from then on; only Wake may be called by others. Descriptors
// are the caller's, who closes one after Drop.
type Datagrams struct {
	ring    *ring
	wake    waker
	woken   bool          // the waker is to be watched again
	slept   bool          // the last turn had to sleep
	full    bool          // buffers have held datagrams since their memory was given back
	quiet   time.Duration // for how long nothing has come
	inboxes [2]inbox
	sources [2][]source // by kind and tag
	hungry  []uint32    // places whose receive is to be armed
	armed   int         // receives, those of dropped sockets included
	sends   []sending
	urgent  bool // some are on Peer sockets, and the kernel has not taken them yet
	out     []Datagram
}

// Kind of a socket. Each kind has buffers of its own, so that a flood at one side does not starve the other.
type Kind uint8

const (
	// Listening sockets hear many: who has sent a datagram comes with it.
	Listening Kind = iota
	// Peer sockets are connected.
	Peer
)

const (
	inboxBuffers = 128
	// datagramSize is of a buffer: 64 KiB for a datagram and what goes before it, and an odd number of cache lines in all, so that
	// the beginnings of buffers do not all fall into the same lines of a cache.
	datagramSize = 64<<10 + 5*64
	maxSends     = 512 // between two turns
)

// inbox is the buffers of one kind, and what its receives ask for.
type inbox struct {
	*buffers
	lent    *lent
	used    []Buffer // their datagrams have been given out
	name    int      // bytes for the address of who has sent
	control int      // bytes for control messages
}

// source is a socket's place.
type source struct {
	fd    int32
	gen   uint32
	taken bool
	armed bool
}

// sending is a datagram on its way. Its memory is the caller's until the next Turn returns.
type sending struct {
	kind    Kind
	tag     uint32
	payload []byte
}

// OpenDatagrams makes a ring.
func OpenDatagrams() (*Datagrams, error) {
	d := &Datagrams{wake: waker{-1}, woken: true}
	var err error
	if d.ring, err = newRing(maxSends, 1024, setupDisabled); err != nil {
		return nil, err
	}
	for kind := range d.inboxes {
		in := &d.inboxes[kind]
		in.control = sock.OOBSize
		if Kind(kind) == Listening {
			in.name = sock.SockaddrSize
		}
		if in.buffers, err = mapBuffers(inboxBuffers, datagramSize); err == nil {
			in.lent, err = lend(d.ring, inboxBuffers, uint16(kind))
		}
		if err != nil {
			d.Free()
			return nil, err
		}
	}
	if d.wake, err = newWaker(); err != nil {
		d.Free()
		return nil, err
	}
	return d, nil
}

// Start makes the ring the calling thread's, to which the goroutine is locked.
func (d *Datagrams) Start() error { return d.ring.enable() }

// Free gives everything back, which ends what is armed.
func (d *Datagrams) Free() {
	d.ring.close() // first: the kernel gives up the buffers
	for i := range d.inboxes {
		if in := &d.inboxes[i]; in.buffers != nil {
			in.unmap()
			if in.lent != nil {
				in.lent.unmap()
			}
		}
	}
	if d.wake.fd >= 0 {
		d.wake.close()
	}
}

// Wake makes the current or the next Turn return. Any goroutine may call it.
func (d *Datagrams) Wake() { d.wake.wake() }

// Take receives from a socket. Its datagrams bring the tag, which no other socket of its kind has; tags are small.
func (d *Datagrams) Take(fd int, kind Kind, tag uint32) {
	for int(tag) >= len(d.sources[kind]) {
		d.sources[kind] = append(d.sources[kind], source{})
	}
	at := place(kind, tag)
	s := d.source(at)
	*s = source{fd: int32(fd), gen: s.gen + 1, taken: true}
	d.hungry = append(d.hungry, at)
}

// place is kind and tag in one number.
func place(kind Kind, tag uint32) uint32 { return tag*2 + uint32(kind) }

func (d *Datagrams) source(at uint32) *source { return &d.sources[at%2][at/2] }

// Drop receives no more from a socket, and sends what is to be sent on it.
func (d *Datagrams) Drop(kind Kind, tag uint32) {
	if d.urgent || kind == Listening && len(d.sends) > 0 {
		d.settle()
	}
	at := place(kind, tag)
	s := d.source(at)
	s.taken = false
	if !s.armed {
		return
	}
	e := d.entry()
	e.opcode, e.fd, e.flags, e.addr = opCancel, -1, sqeCQESkipSuccess, kindReceive.data(Socket(at), s.gen)
	e.userData = kindCancel.data(0, 0)
}

// Release has the kernel give up what it holds of sockets that were dropped. Until then, or the next Turn, one that is closed keeps its
// port. What has come meanwhile, the next Turn tells.
func (d *Datagrams) Release() {
	d.settle()
	usable(d.ring.enter(enterGetEvents, 0))
}

// entry gives a submission entry.
func (d *Datagrams) entry() *sqe {
	e, _ := d.entryAndArena()
	return e
}

func (d *Datagrams) entryAndArena() (*sqe, *arena) {
	for {
		if e, a := d.ring.next(); e != nil {
			return e, a
		}
		usable(syscall.EAGAIN) // the kernel has no memory now
	}
}

// settle lets the kernel take what has been asked for, which does what is to be sent.
func (d *Datagrams) settle() {
	for !d.ring.submitted() {
		usable(d.ring.enter(0, 0))
	}
	d.urgent = false
}

// Turn sends what is to be sent, waits for datagrams, at most for timeout (forever if negative), and returns them. What the last
// one has returned is good until this one returns.
func (d *Datagrams) Turn(timeout time.Duration) []Datagram {
	clear(d.out)
	d.out = d.out[:0]
	if len(d.sends) > 0 && d.isShort() {
		d.settle()
		d.reap()
	}
	if len(d.sends) == 0 {
		d.recycle()
	}
	given := [...]int{len(d.inboxes[Listening].used), len(d.inboxes[Peer].used)}
	d.arm()
	d.enter(timeout)
	d.reap()
	for kind, n := range given { // what was to be sent from them has been
		d.inboxes[kind].giveBack(n)
	}
	return d.out
}

// Rest returns when the kernel holds no socket any more. All have been dropped; without it, one that is closed would be so only some
// time after Free.
func (d *Datagrams) Rest() {
	for d.armed > 0 {
		usable(d.ring.enter(enterGetEvents, 0))
		if d.reap(); d.armed > 0 && d.ring.pending() == 0 {
			usable(d.ring.sleep(time.Second))
		}
	}
}

// isShort tells whether more than half of a kind's buffers have been given out.
func (d *Datagrams) isShort() bool {
	return len(d.inboxes[Listening].used) > inboxBuffers/2 || len(d.inboxes[Peer].used) > inboxBuffers/2
}

func (d *Datagrams) recycle() {
	for kind := range d.inboxes {
		in := &d.inboxes[kind]
		in.giveBack(len(in.used))
	}
}

// giveBack lends the first n buffers that were given out to the kernel again.
func (in *inbox) giveBack(n int) {
	for _, b := range in.used[:n] {
		in.put(b)
	}
	in.used = in.used[:copy(in.used, in.used[n:])]
	in.lent.fill(in.buffers, inboxBuffers)
}

// arm arms the receives that are not.
func (d *Datagrams) arm() {
	if d.woken {
		e := d.entry()
		e.opcode, e.fd, e.opFlags = opPollAdd, d.wake.fd, unix.POLLIN
		e.userData = kindWake.data(0, 0)
		d.woken = false
	}
	for _, at := range d.hungry {
		s := d.source(at)
		if !s.taken || s.armed {
			continue
		}
		in := &d.inboxes[at%2]
		e, a := d.entryAndArena()
		a.msg = unix.Msghdr{Namelen: uint32(in.name)}
		a.msg.SetControllen(in.control)
		e.opcode, e.fd, e.flags, e.bufGroup, e.ioprio = opRecvmsg, s.fd, sqeBufferSelect, uint16(at%2), recvMultishot
		e.addr, e.len = uint64(uintptr(unsafe.Pointer(&a.msg))), 1
		e.userData = kindReceive.data(Socket(at), s.gen)
		s.armed = true
		d.armed++
	}
	d.hungry = d.hungry[:0]
}

// enter submits, and sleeps for completions only if there are none, for the reasons of the engine's.
func (d *Datagrams) enter(timeout time.Duration) {
	mayWait := timeout != 0 && len(d.out) == 0
	if !d.slept || !mayWait || !d.ring.submitted() {
		usable(d.ring.enter(enterGetEvents, 0))
		d.settle() // what it could not take
		d.slept = false
	}
	if mayWait && d.ring.pending() == 0 {
		d.sleep(timeout)
		d.slept = true
	}
}

// sleep waits for completions. When none have come for long enough, the memory of the buffers goes back to the system: all are empty,
// those too that were given out, for what was to be sent has been.
func (d *Datagrams) sleep(timeout time.Duration) {
	if d.full {
		bound(&timeout)
	}
	errno := d.ring.sleep(timeout)
	usable(errno)
	if !d.full || errno != syscall.ETIME || d.ring.pending() > 0 {
		return
	}
	if d.quiet += timeout; d.quiet < kept {
		return
	}
	for kind := range d.inboxes {
		_ = unix.Madvise(d.inboxes[kind].mem, unix.MADV_DONTNEED)
	}
	d.full = false
}

// reap takes the kernel's completions. What was to be sent is done.
func (d *Datagrams) reap() {
	n := d.ring.pending()
	for i := range n {
		c := d.ring.peek(i)
		switch kind(c.userData >> 60) {
		case kindWake:
			d.wake.drain()
			d.woken = true
		case kindSend:
			s := d.sends[c.userData>>32&(1<<28-1)]
			// A copy, since the buffer goes back.
			d.out = append(d.out, Datagram{Kind: s.kind, Unsent: true, Tag: s.tag, Payload: bytes.Clone(s.payload), Err: syscall.Errno(-c.res)})
		case kindReceive:
			d.received(uint32(c.userData>>32&(1<<28-1)), c)
		}
	}
	d.ring.seen(n)
	d.sends = d.sends[:0]
}

// received takes the completion of a receive.
func (d *Datagrams) received(at uint32, c cqe) {
	s := d.source(at)
	in := &d.inboxes[at%2]
	b := noBuffer
	if c.flags&cqeBuffer != 0 {
		b = Buffer(c.flags >> cqeBufferShift)
		in.lent.n--
	}
	if c.flags&cqeMore == 0 {
		d.armed--
	}
	if !s.taken || s.gen != uint32(c.userData) {
		if b != noBuffer {
			in.put(b)
		}
		return
	}
	if c.flags&cqeMore == 0 {
		s.armed = false
		d.hungry = append(d.hungry, at)
	}
	if b == noBuffer {
		switch errno := syscall.Errno(-c.res); errno {
		case 0, syscall.ENOBUFS, syscall.EAGAIN, syscall.EINTR: // armed again
		default:
			d.out = append(d.out, Datagram{Kind: Kind(at % 2), Tag: at / 2, Err: errno})
		}
		return
	}
	in.used = append(in.used, b)
	d.full, d.quiet = true, 0
	d.out = AppendEach(d.out, in.open(Kind(at%2), at/2, b, int(c.res)))
}

// open reads a buffer: struct io_uring_recvmsg_out, and behind it room for name and control, and the payload.
func (in *inbox) open(kind Kind, tag uint32, b Buffer, n int) Datagram {
	const header = 16
	mem := in.Bytes(b)
	control, payload := header+in.name, header+in.name+in.control
	word := func(i int) uint32 { return binary.NativeEndian.Uint32(mem[4*i:]) }
	got := Datagram{
		Kind: kind, Tag: tag, Payload: mem[payload:max(payload, n)], Control: mem[control:][:min(int(word(1)), in.control)], Truncated: word(3)&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0,
	}
	if kind == Listening {
		got.Name = (*[sock.SockaddrSize]byte)(mem[header:])
	}
	return got
}
