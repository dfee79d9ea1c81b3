//go:build linux && (amd64 || arm64)

package engine

import (
	"syscall"

	"golang.org/x/sys/unix"
)

// carrying is a stream that is moved by splice(2), as long as it is bulk: its bytes never come to user space.
//
//	receiving -> (Carry) settling -> moving -> receiving
//
// While it settles, the receive that is in flight ends and the sink's queue runs empty, so that no byte is overtaken. It
// goes back to receiving when the pipe is empty and what comes is small.
//
// A splice into the pipe is tried only when the pipe is empty: then EAGAIN means that the socket has nothing, and not that
// the pipe is full; and the source is left alone while the sink is blocked.
type carrying struct {
	sink    Socket
	pipe    pipe
	held    bool // pipe is borrowed
	moving  bool // settled
	blocked bool // waits for the sink
	stalled bool // the sink has not taken all that it was to take when it was last full
	inside  int  // bytes in the pipe
	small   int  // small reads in a row
}

const (
	smallRead  = 16 << 10 // bytes; less in one splice is not bulk
	smallReads = 8        // in a row, and the stream is received again
)

// moved is what one step of a carried stream came to.
type moved struct {
	sent     int           // bytes that the sink took
	ended    bool          // the source's stream has ended, and the pipe is empty
	source   syscall.Errno // the source failed
	sink     syscall.Errno // the sink failed
	settled  bool          // the stream is small again, or cannot be spliced: it is to be received
	progress bool          // another step may well move more
}

// move takes one step: one splice in at most, and one out.
func (p *pipes) move(from, to *record) (m moved) {
	c := from.carry
	c.blocked = false
	if c.inside == 0 && from.ready&readable != 0 {
		if !p.fill(from, &m) {
			return m
		}
	}
	if c.inside > 0 && to.ready&writable != 0 {
		n, errno := splice(c.pipe.r, to.fd, c.inside)
		switch errno {
		case 0:
			c.inside -= n
			m.sent = n
		case syscall.EAGAIN:
			to.ready &^= writable
		case syscall.EINTR:
		default:
			m.sink = errno
			return m
		}
	}
	switch {
	case c.inside > 0 && to.ready&writable == 0:
		p.stall(c, true)
	case c.inside == 0:
		p.stall(c, false)
	}
	if c.inside == 0 && c.small >= smallReads {
		p.release(c)
		m.settled = true
		return m
	}
	c.blocked = c.inside > 0 && to.ready&writable == 0
	m.progress = c.inside == 0 && from.ready&readable != 0 || c.inside > 0 && to.ready&writable != 0
	return m
}

// fill splices from the source into the empty pipe. It is false if there is nothing to go on with.
func (p *pipes) fill(from *record, m *moved) bool {
	c := from.carry
	if !c.held {
		q, errno := p.borrow()
		if errno != 0 { // out of descriptors or memory: copying needs neither
			m.settled = true
			return false
		}
		c.pipe, c.held = q, true
	}
	n, errno := splice(from.fd, c.pipe.w, p.most(c.pipe.size))
	switch {
	case errno == 0 && n > 0:
		c.inside = n
		c.small++
		if n >= smallRead {
			c.small = 0
		}
		return true
	case errno == 0:
		m.ended = true
	case errno == syscall.EAGAIN:
		from.ready &^= readable
	case errno == syscall.EINTR:
		m.progress = true
	case errno == syscall.EINVAL || errno == syscall.ENOSYS || errno == syscall.ENOMEM: // nothing was moved: copying may work
		m.settled = true
	default:
		m.source = errno
	}
	p.release(c)
	return false
}

// stall counts that a stream waits for its sink, or that it does so no more.
func (p *pipes) stall(c *carrying, is bool) {
	switch {
	case is == c.stalled:
		return
	case is:
		p.stats.Pause()
	default:
		p.stats.Resume()
	}
	c.stalled = is
}

// release gives the pipe back. Bytes in it belong to a stream that is cut.
func (p *pipes) release(c *carrying) {
	p.stall(c, false)
	if !c.held {
		return
	}
	p.giveBack(c.pipe, c.inside == 0)
	c.held, c.inside = false, 0
}

func splice(from, to int32, n int) (int, syscall.Errno) {
	r, _, errno := unix.RawSyscall6(unix.SYS_SPLICE, uintptr(from), 0, uintptr(to), 0, uintptr(n), unix.SPLICE_F_MOVE|unix.SPLICE_F_NONBLOCK)
	return int(r), errno
}

// join makes a stream carried from now on.
func (t *table) join(from, to Socket) {
	r := t.at(from)
	if r.carry != nil || r.state&(wantClose|ended) != 0 {
		return
	}
	r.carry = &carrying{sink: to}
	t.at(to).source = from + 1
	t.mark(from, r)
	t.mark(to, t.at(to))
}

// part ends the carrying of a socket's stream. The stream that comes the other way goes on.
func (t *table) part(p *pipes, from Socket) {
	r := t.at(from)
	p.release(r.carry)
	t.at(r.carry.sink).source = 0
	r.carry = nil
}

// sever ends the carrying from and into a socket that is being closed.
func (t *table) sever(p *pipes, s Socket) {
	r := t.at(s)
	if r.source != 0 {
		t.part(p, r.source-1)
	}
	if r.carry != nil {
		t.part(p, s)
	}
}

// queued is how many buffers wait for a socket, what is in a pipe to it counted as one.
func (t *table) queued(s Socket) int {
	r := t.at(s)
	n := int(r.out.n)
	if r.source != 0 && t.at(r.source-1).carry.inside > 0 {
		n++
	}
	return n
}

// nudge lets the stream that is carried into a socket go on, if that is what it waits for.
func (t *table) nudge(r *record) {
	if r.source == 0 {
		return
	}
	if from := t.at(r.source - 1); from.carry.blocked {
		from.carry.blocked = false
		t.mark(r.source-1, from)
	}
}
