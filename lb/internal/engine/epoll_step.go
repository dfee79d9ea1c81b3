//go:build linux && (amd64 || arm64)

package engine

import (
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

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
		e.out[len(e.out)-1].Unread = true
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
