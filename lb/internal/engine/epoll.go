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
	slept   bool // the last one that did had to sleep

	// The calls, so that tests can make them fail.
	accept4 func(fd int32) (int, syscall.Errno)
	connect func(fd int32, addr *[sock.SockaddrSize]byte, n int) syscall.Errno
}

func openEpoll(o Options) (Engine, error) {
	e := &epoll{events: make([]unix.EpollEvent, min(o.Events, 512)), accept4: accept4, connect: connect, wishes: wishes{bulk: pipes{make: newPipe}}}
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
		count(&e.stats.Completions, len(e.out))
		return e.out
	}
	e.skipped = false
	if len(e.out) > 0 || len(e.work) > 0 {
		timeout = 0
	}
	for i := range e.wait(timeout) {
		e.happened(&e.events[i])
	}
	count(&e.stats.Completions, len(e.out))
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

// wait looks for events, and sleeps for them only if there are none: a call that may sleep costs the runtime's
// bookkeeping. After one that slept it is the first choice, since the next will most likely sleep, too.
func (e *epoll) wait(timeout time.Duration) int {
	count(&e.stats.Turns, 1)
	if !e.slept || timeout == 0 {
		n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), 0, 0, 0)
		if n := waited(n, errno); n > 0 || timeout == 0 {
			e.slept = false
			return n
		}
	}
	e.slept = true
	count(&e.stats.Waits, 1)
	idle := e.bulk.unused() || e.low < len(e.next)
	if idle {
		bound(&timeout)
	}
	ms := -1
	if timeout > 0 { // rounded up: a turn that ends too early finds nothing due, and spins
		ms = int(min((timeout+time.Millisecond-1)/time.Millisecond, 1<<30))
	}
	r, _, errno := unix.Syscall6(unix.SYS_EPOLL_PWAIT, uintptr(e.fd), uintptr(unsafe.Pointer(&e.events[0])), uintptr(len(e.events)), uintptr(ms), 0, 0)
	n := waited(r, errno)
	if idle && n == 0 {
		e.bulk.close()
		e.trim(0, 0)
	}
	return n
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

// step does what is wanted of one socket and can be done without blocking: one write and one read at most, so that the
// others get their turn.
func (e *epoll) step(s Socket, r *record) {
	switch {
	case r.state&wantClose != 0:
		e.stepClose(s, r)
		return
	case r.state&listens != 0:
		e.stepAccept(s, r)
		return
	case r.state&inConnect != 0:
		e.stepConnect(r)
		return
	}
	if r.ready&watched == 0 { // an accepted stream, which can take something
		r.ready |= writable
		if errno := e.watch(s, r); errno != 0 {
			r.state |= ended
			e.add(r, Received, -int32(errno), noBuffer)
		}
	}
	if r.state&wantReady != 0 && r.ready&readable != 0 {
		r.state &^= wantReady
		e.add(r, Ready, 0, noBuffer)
	}
	if r.state&wantLeft != 0 && r.ready&hungUp != 0 {
		r.state &^= wantLeft
		e.add(r, Left, 0, noBuffer)
	}
	if r.out.n > 0 && r.state&failed == 0 && r.ready&writable != 0 {
		e.stepSend(s, r)
	}
	if r.source != 0 && r.ready&writable != 0 {
		e.nudge(r)
	}
	switch {
	case r.carry != nil:
		e.stepCarry(s, r)
	case r.state&(wantReceive|ended|starved) == wantReceive:
		e.stepReceive(s, r)
	}
}

// stepCarry moves a carried stream on. What it finds not ready, epoll reports when it is.
func (e *epoll) stepCarry(s Socket, r *record) {
	if r.state&ended != 0 { // before it was carried
		e.part(&e.bulk, s)
		return
	}
	to := e.at(r.carry.sink)
	if to.state&(wantClose|failed) != 0 { // the end of both is near
		return
	}
	if to.out.n > 0 { // what was received before goes first; its send nudges
		r.carry.blocked = true
		return
	}
	m := e.bulk.move(r, to)
	if m.sent > 0 {
		count(&e.stats.Spliced, m.sent)
		e.add(to, Sent, int32(m.sent), noBuffer)
	}
	if m.sink != 0 {
		to.state |= failed
		e.add(to, Sent, -int32(m.sink), noBuffer)
	}
	switch {
	case m.ended || m.source != 0:
		e.part(&e.bulk, s)
		r.state |= ended
		e.add(r, Received, -int32(m.source), noBuffer)
	case m.settled:
		e.part(&e.bulk, s)
		e.mark(s, r)
	case m.progress:
		e.mark(s, r)
	}
}

func (e *epoll) stepClose(s Socket, r *record) {
	e.sever(&e.bulk, s)
	r.out.drop(e.buffers)
	if r.state&inAccept != 0 { // other loops hold the same listener open, so the close alone would leave it in the set
		e.unwatch(s, r)
	}
	if r.state&abort != 0 {
		sock.AbortOnClose(int(r.fd))
	}
	closeFD(int(r.fd))
	e.add(r, Closed, 0, noBuffer)
	e.detach(s)
}

func (e *epoll) stepAccept(s Socket, r *record) {
	if r.state&wantAccept == 0 {
		if r.state&inAccept != 0 {
			e.unwatch(s, r)
		}
		return
	}
	if r.state&inAccept == 0 {
		// Level-triggered, and one loop is woken for each connection (EPOLLEXCLUSIVE, 4.5).
		if errno := e.control(unix.EPOLL_CTL_ADD, s, r, unix.EPOLLIN|unix.EPOLLEXCLUSIVE); errno != 0 {
			r.state &^= wantAccept
			e.add(r, Accepted, -int32(errno), noBuffer)
			return
		}
		r.state |= inAccept
		return
	}
	for range acceptBatch {
		fd, errno := e.accept4(r.fd)
		switch errno {
		case 0:
			e.add(r, Accepted, int32(fd), noBuffer)
		case syscall.EAGAIN:
			return
		case syscall.EINTR, syscall.ECONNABORTED, syscall.EPROTO:
		default:
			// Not watched while the caller waits: it is level-triggered, and would be reported all the time.
			e.unwatch(s, r)
			r.state &^= wantAccept
			e.add(r, Accepted, -int32(errno), noBuffer)
			return
		}
	}
}

func (e *epoll) stepConnect(r *record) {
	if r.ready&(writable|hungUp) == 0 {
		return
	}
	var res, n int32 = 0, 4
	_, _, errno := unix.RawSyscall6(unix.SYS_GETSOCKOPT, uintptr(r.fd), unix.SOL_SOCKET, unix.SO_ERROR, uintptr(unsafe.Pointer(&res)), uintptr(unsafe.Pointer(&n)), 0)
	if errno != 0 {
		res = int32(errno)
	}
	r.state &^= inConnect
	e.add(r, Connected, -res, noBuffer)
}

func (e *epoll) stepSend(s Socket, r *record) {
	var n uintptr
	var errno syscall.Errno
	want := 0
	if r.out.n == 1 {
		b := e.Bytes(r.out.head)[r.out.off:e.fill[r.out.head]]
		want = len(b)
		n, _, errno = unix.RawSyscall6(unix.SYS_SENDTO, uintptr(r.fd), uintptr(unsafe.Pointer(&b[0])), uintptr(len(b)), unix.MSG_NOSIGNAL, 0, 0)
	} else {
		e.msg = unix.Msghdr{Iov: &e.iov[0]}
		iov := e.iov[:r.out.vector(e.buffers, e.iov[:])]
		e.msg.SetIovlen(len(iov))
		for i := range iov {
			want += int(iov[i].Len)
		}
		n, _, errno = unix.RawSyscall(unix.SYS_SENDMSG, uintptr(r.fd), uintptr(unsafe.Pointer(&e.msg)), unix.MSG_NOSIGNAL)
	}
	switch errno {
	case 0:
		r.out.sent(e.buffers, int(n))
		if int(n) < want {
			r.ready &^= writable
		}
		e.add(r, Sent, int32(n), noBuffer)
	case syscall.EAGAIN:
		r.ready &^= writable
	case syscall.EINTR:
	default:
		r.state |= failed
		e.add(r, Sent, -int32(errno), noBuffer)
	}
	if r.out.n > 0 && r.state&failed == 0 && r.ready&writable != 0 {
		e.mark(s, r)
	}
}

func (e *epoll) stepReceive(s Socket, r *record) {
	if r.ready&readable == 0 {
		return
	}
	b := e.take()
	if b == noBuffer {
		count(&e.stats.NoBuffers, 1)
		r.state |= starved
		e.hungry = append(e.hungry, s)
		return
	}
	buf := e.Bytes(b)
	n, _, errno := unix.RawSyscall6(unix.SYS_RECVFROM, uintptr(r.fd), uintptr(unsafe.Pointer(&buf[0])), uintptr(len(buf)), 0, 0, 0)
	if errno == 0 && n > 0 {
		if int(n) < len(buf) && r.ready&hungUp == 0 {
			r.ready &^= readable // a short read took all there was (epoll(7)); what comes now is a new edge
		} else {
			e.mark(s, r)
		}
		e.add(r, Received, int32(n), b)
		e.out[len(e.out)-1].Full = int(n) == len(buf)
		return
	}
	e.put(b)
	switch errno {
	case syscall.EAGAIN:
		r.ready &^= readable
	case syscall.EINTR:
		e.mark(s, r)
	default:
		r.state |= ended
		e.add(r, Received, -int32(errno), noBuffer)
	}
}
