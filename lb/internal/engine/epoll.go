//go:build linux && (amd64 || arm64)

package engine

import (
	"fmt"
	"net/netip"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// ready is what epoll has said about a socket and no call has disproved since (edge-triggered).
type ready uint8

const (
	readable ready = 1 << iota
	writable
	hungUp  // FIN or an error has come: a short read is not the end of what can be read
	watched // in the epoll set
)

// acceptBatch is how many connections one turn takes from a listener, so that other loops get some.
const acceptBatch = 16

// epoll is the engine on readiness: it makes the calls itself, when they will not block.
type epoll struct {
	wishes
	fd     int
	again  []Socket // the list of work of the next turn, while this one's is carried out
	hungry []Socket
	events []unix.EpollEvent
	local  []Completion
	out    []Completion
	msg    unix.Msghdr
	iov    [maxQueued]unix.Iovec

	skipped bool // the last turn did not look for events

	// The calls, so that tests can make them fail.
	accept4 func(fd int32) (int, syscall.Errno)
	connect func(fd int32, addr *[sock.SockaddrSize]byte, n int) syscall.Errno
}

func openEpoll(o Options) (Engine, error) {
	e := &epoll{events: make([]unix.EpollEvent, min(o.Events, 512)), accept4: accept4, connect: connect, wishes: wishes{bulk: pipes{make: newPipe}}}
	e.bulk.stats = &e.stats
	var err error
	if e.fd, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll_create1: %w", err)
	}
	if e.wake, err = newWaker(); err != nil {
		closeFD(e.fd)
		return nil, err
	}
	if e.buffers, err = mapBuffers(o.Buffers, o.BufferSize); err != nil {
		closeFD(e.fd)
		e.wake.close()
		return nil, err
	}
	ev := unix.EpollEvent{Events: unix.EPOLLIN, Fd: wakeSlot}
	if err = unix.EpollCtl(e.fd, unix.EPOLL_CTL_ADD, int(e.wake.fd), &ev); err != nil {
		e.Free()
		return nil, fmt.Errorf("epoll_ctl: %w", err)
	}
	return e, nil
}

func accept4(fd int32) (int, syscall.Errno) {
	n, _, errno := unix.RawSyscall6(unix.SYS_ACCEPT4, uintptr(fd), 0, 0, unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0, 0)
	return int(n), errno
}

func connect(fd int32, addr *[sock.SockaddrSize]byte, n int) syscall.Errno {
	_, _, errno := unix.RawSyscall(unix.SYS_CONNECT, uintptr(fd), uintptr(unsafe.Pointer(addr)), uintptr(n))
	return errno
}

// An event's data is the socket in the first word and its generation in the second.
const wakeSlot = -1

func (e *epoll) Name() string { return "epoll" }

func (e *epoll) Free() {
	closeFD(e.fd)
	e.wake.close()
	e.unmap()
	e.bulk.close()
}

func (e *epoll) Connect(s Socket, addr netip.AddrPort) {
	r := e.at(s)
	var b [sock.SockaddrSize]byte
	errno := e.connect(r.fd, &b, sock.Sockaddr(&b, addr))
	if errno == syscall.EINPROGRESS || errno == syscall.EINTR { // EINTR: it goes on as if it were EINPROGRESS (connect(2))
		r.state |= inConnect
		errno = 0
	} else {
		e.report(r, Connected, -int32(errno))
	}
	if errno != 0 {
		return
	}
	// After the call, since a socket that was never connected is reported as hung up.
	if errno := e.watch(s, r); errno != 0 && r.state&inConnect != 0 {
		r.state &^= inConnect
		e.report(r, Connected, -int32(errno))
	}
}

// Await takes what epoll has said of bytes for done with: what has come since then is a new edge.
func (e *epoll) Await(s Socket) {
	e.at(s).ready &^= readable
	e.wishes.Await(s)
}

// report is add between turns.
func (e *epoll) report(r *record, op Op, res int32) {
	e.local = append(e.local, Completion{Op: op, Owner: r.owner, Result: res, Buffer: noBuffer})
}

// watch adds a stream to the epoll set, where it stays until it is closed. What it is ready for already is reported, too.
func (e *epoll) watch(s Socket, r *record) syscall.Errno {
	r.ready |= watched
	return e.control(unix.EPOLL_CTL_ADD, s, r, unix.EPOLLIN|unix.EPOLLOUT|unix.EPOLLRDHUP|unix.EPOLLET)
}

// unwatch takes a listener out of the epoll set.
func (e *epoll) unwatch(s Socket, r *record) {
	_ = e.control(unix.EPOLL_CTL_DEL, s, r, 0)
	r.state &^= inAccept
}

func (e *epoll) control(op uintptr, s Socket, r *record, events uint32) syscall.Errno {
	ev := unix.EpollEvent{Events: events, Fd: int32(s), Pad: int32(r.gen)}
	_, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_CTL, uintptr(e.fd), op, uintptr(r.fd), uintptr(unsafe.Pointer(&ev)), 0, 0)
	return errno
}

func (e *epoll) add(r *record, op Op, res int32, b Buffer) {
	e.out = append(e.out, Completion{Op: op, Owner: r.owner, Result: res, Buffer: b, More: op == Accepted && res >= 0})
}

func (e *epoll) Turn(timeout time.Duration) []Completion {
	e.out = append(e.out[:0], e.local...)
	e.local = e.local[:0]
	e.feed()
	work := e.work
	e.work = e.again[:0]
	for _, s := range work {
		r := e.at(s)
		r.state &^= dirty
		e.step(s, r)
	}
	e.again = work
	if len(e.out) > 0 && !e.skipped {
		e.skipped = true // there is enough to do; the next turn looks for more
		return e.done()
	}
	e.skipped = false
	if len(e.out) > 0 || len(e.work) > 0 {
		timeout = 0
	}
	for i := range e.wait(timeout) {
		e.happened(&e.events[i])
	}
	return e.done()
}

// done ends a turn.
func (e *epoll) done() []Completion {
	count(&e.stats.Completions, len(e.out))
	e.bulk.pace(e.out)
	return e.out
}

// happened takes one event.
func (e *epoll) happened(ev *unix.EpollEvent) {
	if ev.Fd == wakeSlot {
		e.wake.drain()
		return
	}
	s := Socket(ev.Fd)
	r := e.at(s)
	if r.gen != uint32(ev.Pad) {
		count(&e.stats.Stale, 1)
		return
	}
	r.note(ev.Events)
	e.step(s, r)
}

// wait looks for events, and waits for them if there are none.
func (e *epoll) wait(timeout time.Duration) int {
	count(&e.stats.Turns, 1)
	moment, more := linger(timeout)
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), millis(moment), 0, 0)
	if n := waited(n, errno); n > 0 || !more {
		return n
	}
	count(&e.stats.Waits, 1)
	idle := e.bulk.unused() || e.low < len(e.next)
	if idle {
		bound(&timeout)
	}
	r, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), millis(timeout), 0, 0)
	if n := waited(r, errno); n > 0 || !idle {
		return n
	}
	e.bulk.close()
	e.trim(0, 0)
	return 0
}

// millis is a timeout as epoll takes it, rounded up: a turn that ends too early finds nothing due, and spins.
func millis(timeout time.Duration) uintptr {
	if timeout < 0 {
		return ^uintptr(0)
	}
	return uintptr(min((timeout+time.Millisecond-1)/time.Millisecond, 1<<30))
}

func waited(n uintptr, errno syscall.Errno) int {
	switch errno {
	case 0:
		return int(n)
	case syscall.EINTR:
		return 0
	}
	panic("engine: epoll_pwait: " + errno.Error())
}

// note takes what epoll says into the record.
func (r *record) note(events uint32) {
	if events&unix.EPOLLIN != 0 {
		r.ready |= readable
	}
	if events&unix.EPOLLOUT != 0 {
		r.ready |= writable
	}
	if events&(unix.EPOLLRDHUP|unix.EPOLLHUP|unix.EPOLLERR) != 0 {
		r.ready |= readable | writable | hungUp
	}
}

// feed lets sockets that waited for a buffer try again.
func (e *epoll) feed() {
	if len(e.hungry) == 0 || e.left == 0 {
		return
	}
	for _, s := range e.hungry {
		if r := e.at(s); r.state&starved != 0 { // a record of a new generation is not
			r.state &^= starved
			e.mark(s, r)
		}
	}
	e.hungry = e.hungry[:0]
}
