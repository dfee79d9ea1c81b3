//go:build amd64 || arm64

package flow

import (
	"errors"
	"fmt"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/engine"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// batch is how many datagrams move with one system call.
const batch = 64

// What an epoll event is for, besides the slots of flows.
const (
	listening = -1 - iota
	waking
)

// readiness is the intake by epoll: it takes what is there from each socket that is ready.
type readiness struct {
	owner     Owner
	epoll     int
	eventfd   int
	ear       int         // the listening socket
	requests  *sock.Batch // from clients
	responses *sock.Batch // from peers
	events    []unix.EpollEvent
	out       []engine.Datagram
	turns     uint32
	sockets   []socket // of flows, by slot
}

// socket is what is known of a flow's socket.
type socket struct {
	read  uint32 // the turn in which it was read last
	heard bool   // it tells something in control messages
}

func newReadiness(owner Owner) (_ *readiness, err error) {
	r := &readiness{owner: owner, epoll: -1, eventfd: -1, events: make([]unix.EpollEvent, 128)}
	defer func() {
		if err != nil {
			r.close()
		}
	}()
	if r.requests, err = sock.NewBatch(batch, maxDatagram); err != nil {
		return nil, err
	}
	if r.responses, err = sock.NewBatch(batch, maxDatagram); err != nil {
		return nil, err
	}
	if r.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if r.eventfd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	return r, r.watch(r.eventfd, waking)
}

func (r *readiness) begin() error { return nil }

func (r *readiness) listen(fd int) error {
	r.ear = fd
	return r.watch(fd, listening)
}

func (r *readiness) deafen(fd int) { _ = unix.EpollCtl(r.epoll, unix.EPOLL_CTL_DEL, fd, nil) }

func (r *readiness) add(fd int, slot int32) error {
	for int(slot) >= len(r.sockets) {
		r.sockets = append(r.sockets, socket{})
	}
	r.sockets[slot] = socket{read: r.turns - 2}
	return r.watch(fd, slot)
}

func (r *readiness) watch(fd int, slot int32) error {
	if err := unix.EpollCtl(r.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: slot, Pad: int32(fd)}); err != nil {
		return fmt.Errorf("epoll: %w", err)
	}
	return nil
}

// hear reads the control messages of a flow's socket, too.
func (r *readiness) hear(slot int32) { r.sockets[slot].heard = true }

// drop has nothing to do: a socket that is closed leaves the epoll set.
func (r *readiness) drop(int, int32) {}

func (r *readiness) release() {}

// send and reply leave it to the caller, who needs as many system calls.
func (r *readiness) send(int, []byte, int) bool { return false }

func (r *readiness) reply(int, []byte, []byte, []byte, int) bool { return false }

func (r *readiness) turn(timeout time.Duration) []engine.Datagram {
	clear(r.out)
	r.out = r.out[:0]
	r.turns++
	filled := 0 // places for responses
	for _, e := range r.events[:r.wait(timeout)] {
		switch {
		case e.Fd == listening:
			r.take(r.requests, 0, r.ear, engine.Datagram{Kind: engine.Listening})
		case e.Fd == waking:
			var b [8]byte
			_, _ = unix.Read(r.eventfd, b[:])
		case filled < batch: // else it is ready in the next turn, too
			filled += r.takeReply(filled, int(e.Pad), e.Fd)
		}
	}
	return r.out
}

// takeReply takes what a flow's socket has. Mostly that is one datagram. A socket that is ready in two turns in a row had more.
func (r *readiness) takeReply(at, fd int, slot int32) int {
	d := engine.Datagram{Kind: engine.Peer, Tag: uint32(slot)}
	s := &r.sockets[slot]
	again := r.turns-s.read == 1
	s.read = r.turns
	if s.heard || again {
		return r.take(r.responses, at, fd, d)
	}
	if err := r.responses.ReceiveOne(fd, at); err != nil {
		r.failed(err, d)
		return 0
	}
	d.Payload, d.Truncated = r.responses.Payload(at), r.responses.Truncated(at)
	r.out = append(r.out, d)
	r.owner.Received(Out, 1)
	return 1
}

// failed gives out what a receive has failed with, unless it is that nothing is there.
func (r *readiness) failed(err error, d engine.Datagram) {
	var errno syscall.Errno
	if errors.As(err, &errno) && errno != unix.EAGAIN {
		d.Err = errno
		r.out = append(r.out, d)
	}
}

// take takes what a socket has into the places from at on, and says how many it has filled.
func (r *readiness) take(b *sock.Batch, at, fd int, d engine.Datagram) int {
	n, err := b.Receive(fd, at, batch)
	if err != nil {
		r.failed(err, d)
		return 0
	}
	direction := Out
	if d.Kind == engine.Listening {
		direction = In
	}
	before := len(r.out)
	for i := at; i < at+n; i++ {
		d.Payload, d.Name, d.Control, d.Truncated = b.Payload(i), b.Name(i), b.Control(i), b.Truncated(i)
		r.out = engine.AppendEach(r.out, d)
	}
	brought := len(r.out) - before
	r.owner.Received(direction, brought)
	if brought > n {
		r.owner.Coalesced(direction, brought-n)
	}
	return n
}

// wait waits for events. It looks first and sleeps only then, for a sleep costs the runtime some bookkeeping.
func (r *readiness) wait(timeout time.Duration) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(r.epoll), uintptr(unsafe.Pointer(&r.events[0])), uintptr(len(r.events)), 0, 0, 0)
	if errno != 0 {
		n = 0
	}
	if n > 0 || timeout == 0 {
		return int(n)
	}
	ms := -1
	if timeout > 0 { // rounded up: a turn that ends too early finds nothing due, and spins
		ms = int((timeout + time.Millisecond - 1) / time.Millisecond)
	}
	slept, err := unix.EpollWait(r.epoll, r.events, ms)
	if err != nil { // EINTR
		return 0
	}
	return slept
}

func (r *readiness) rest() {}

func (r *readiness) wake() {
	one := uint64(1)
	_, _, _ = unix.RawSyscall(unix.SYS_WRITE, uintptr(r.eventfd), uintptr(unsafe.Pointer(&one)), 8) // EAGAIN: it is awake for long
}

func (r *readiness) close() {
	for _, fd := range []int{r.epoll, r.eventfd} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	for _, b := range []*sock.Batch{r.requests, r.responses} {
		if b != nil {
			b.Free()
		}
	}
}
