//go:build linux && (amd64 || arm64)

package engine

import (
	"syscall"

	"golang.org/x/sys/unix"
)

func (u *uring) cancel(s Socket, r *record, k kind) bool {
	e, _ := u.ring.next()
	if e == nil {
		return false
	}
	e.opcode, e.fd, e.flags, e.addr = opCancel, -1, sqeCQESkipSuccess, k.data(s, r.gen)
	e.userData = kindCancel.data(s, r.gen)
	r.state |= k.inFlight() << cancelShift
	count(&u.stats.Cancels, 1)
	return true
}

// complete takes one completion of the kernel.
func (u *uring) complete(c cqe) {
	k, s, gen := kind(c.userData>>60), Socket(c.userData>>32&(1<<28-1)), uint32(c.userData)
	b := noBuffer
	if c.flags&cqeBuffer != 0 { // some kernels use up a buffer at the end of a stream
		b = Buffer(c.flags >> cqeBufferShift)
		u.lent.n--
	}
	if k == kindWake {
		u.wake.drain()
		u.woken = true
		return
	}
	r := u.at(s)
	if r.gen != gen {
		if k != kindCancel { // a cancel holds nothing, and may well come after its target's record is done with
			count(&u.stats.Stale, 1)
		}
		u.discard(k, c, b)
		return
	}
	if k == kindCancel {
		u.missed(s, r, syscall.Errno(-c.res))
		return
	}
	more := c.flags&cqeMore != 0
	if !more {
		r.state &^= k.inFlight() | k.inFlight()<<cancelShift
		u.mark(s, r)
	}
	if r.state&wantClose != 0 {
		u.discard(k, c, b)
		return
	}
	switch k {
	case kindAccept:
		u.completeAccept(r, c.res, more)
	case kindConnect:
		u.add(r, Connected, c.res, false, noBuffer)
	case kindReceive:
		u.completeReceive(s, r, c.res, more, b)
	case kindSend:
		u.completeSend(r, c.res)
	case kindPollIn:
		r.ready |= readable
		if r.state&wantReady != 0 {
			r.state &^= wantReady
			u.add(r, Ready, 0, false, noBuffer)
		}
	case kindPollOut:
		r.ready |= writable
		u.nudge(r)
	case kindPollLeft:
		if r.state&wantLeft != 0 && c.res != -int32(syscall.ECANCELED) { // else paused, and possibly wanted again
			r.state &^= wantLeft
			u.add(r, Left, 0, false, noBuffer)
		}
	}
}

func (u *uring) completeSend(r *record, res int32) {
	switch {
	case res >= 0:
		r.out.sent(u.buffers, int(res))
		u.nudge(r)
	case u.retry(syscall.Errno(-res)):
		return
	default:
		r.state |= failed
	}
	u.add(r, Sent, res, false, noBuffer)
}

// retry tells whether an operation was merely not carried out: the kernel gives up waiting for a socket that it found
// ready, and then not, often enough (6.18: 128 times). The next turn begins it again.
func (u *uring) retry(errno syscall.Errno) bool {
	if errno != syscall.EAGAIN && errno != syscall.EINTR {
		return false
	}
	count(&u.stats.Retries, 1)
	return true
}

func (u *uring) add(r *record, op Op, res int32, more bool, b Buffer) {
	u.out = append(u.out, Completion{Op: op, More: more, Owner: r.owner, Result: res, Buffer: b})
}

func (u *uring) completeAccept(r *record, res int32, more bool) {
	if res == -int32(syscall.ECANCELED) { // paused, and possibly wanted again
		return
	}
	if res < 0 && !more {
		r.state &^= wantAccept // the caller decides when to go on
	} else {
		more = true // ended without a failure: armed again by the next turn
	}
	u.add(r, Accepted, res, more, noBuffer)
}

func (u *uring) completeReceive(s Socket, r *record, res int32, more bool, b Buffer) {
	switch {
	case res > 0:
		u.add(r, Received, res, more, b)
		u.out[len(u.out)-1].Full = int(res) == u.size
		return
	case b != noBuffer:
		u.put(b)
	}
	switch syscall.Errno(-res) {
	case syscall.ECANCELED: // paused, and possibly wanted again
	case syscall.ENOBUFS:
		count(&u.stats.NoBuffers, 1)
		if r.state&starved == 0 {
			r.state |= starved
			u.hungry = append(u.hungry, s)
		}
	default:
		if res < 0 && u.retry(syscall.Errno(-res)) {
			return
		}
		r.state |= ended
		u.add(r, Received, res, false, noBuffer)
	}
}

// missed deals with a cancel that did nothing. If its target is still in flight, it is tried again, now with the socket
// shut down if it is to be closed, which ends everything that waits on it.
func (u *uring) missed(s Socket, r *record, errno syscall.Errno) {
	if r.state&canceling == 0 {
		return
	}
	count(&u.stats.Missed, 1)
	if r.state&wantClose != 0 && errno == syscall.EALREADY {
		_, _, _ = unix.RawSyscall(unix.SYS_SHUTDOWN, uintptr(r.fd), unix.SHUT_RDWR, 0)
	}
	r.state &^= canceling
	u.mark(s, r)
}

// discard drops a completion that nobody waits for, and what it brought.
func (u *uring) discard(k kind, c cqe, b Buffer) {
	if b != noBuffer {
		u.put(b)
	}
	if k == kindAccept && c.res >= 0 {
		closeFD(int(c.res))
	}
}
