//go:build linux && (amd64 || arm64)

package engine

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// pipe is where bytes are between two splices. It is empty whenever it is in the pool.
type pipe struct {
	r, w int32
	size int // bytes it is known to take
}

// pipes is a pool of pipes, lent while bytes are in flight.
type pipes struct {
	idle []pipe
	out  int                          // lent
	make func() (pipe, syscall.Errno) // makes one; a value, so that tests can make it fail

	guests int // turns for which streams still take others into account

	stats *Stats // of the engine
}

const (
	pipeSize  = 1 << 20 // a third less CPU for a byte than with 256 KiB; pages are taken as they fill
	idlePipes = 16      // kept; more are closed as they come back
	mostPipes = 64      // lent at a time: a blocked stream keeps what is in its pipe, and two descriptors

	share      = 128 << 10 // bytes that a stream moves in one step while there are guests: some 30 µs
	guestTurns = 256       // without a guest, and streams have the loop for themselves: some 10 ms of one that flows
	message    = 4 << 10   // bytes, at most
)

func newPipe() (pipe, syscall.Errno) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_NONBLOCK|unix.O_CLOEXEC); err != nil {
		var errno syscall.Errno
		errors.As(err, &errno) // unix gives nothing else
		return pipe{}, errno
	}
	p := pipe{r: int32(fds[0]), w: int32(fds[1]), size: 64 << 10}
	// Refused above fs.pipe-max-size, and to a user who has fs.pipe-user-pages-soft in pipes; who has, gets small ones.
	if n, err := unix.FcntlInt(uintptr(p.w), unix.F_SETPIPE_SZ, pipeSize); err == nil {
		p.size = n
	} else if n, err := unix.FcntlInt(uintptr(p.w), unix.F_GETPIPE_SZ, 0); err == nil {
		p.size = n
	}
	return p, 0
}

func (p *pipes) borrow() (q pipe, errno syscall.Errno) {
	switch n := len(p.idle); {
	case p.out == mostPipes:
		return q, syscall.ENFILE
	case n > 0:
		q = p.idle[n-1]
		p.idle = p.idle[:n-1]
	default:
		if q, errno = p.make(); errno != 0 {
			return q, errno
		}
	}
	p.out++
	return q, 0
}

// giveBack takes a pipe. One that is not empty is destroyed.
func (p *pipes) giveBack(q pipe, empty bool) {
	p.out--
	if !empty || len(p.idle) == idlePipes {
		q.close()
		return
	}
	p.idle = append(p.idle, q)
}

// pace is told at the end of a turn what it brings. Messages and new sessions are guests of the streams: they would wait for as
// long as a stream is being moved. Larger pieces are not; streams that are copied for a while bring them.
func (p *pipes) pace(done []Completion) {
	if p.out+len(p.idle) == 0 {
		return
	}
	p.guests = max(0, p.guests-1)
	for i := range done {
		switch c := &done[i]; c.Op {
		case Received:
			if 0 < c.Result && c.Result <= message {
				p.guests = guestTurns
			}
		case Accepted, Connected:
			p.guests = guestTurns
		}
	}
}

// most is how much a stream may put into a pipe of this size at a time.
func (p *pipes) most(size int) int {
	if p.guests > 0 {
		return min(size, share)
	}
	return size
}

// unused tells whether all pipes are idle, and there are some.
func (p *pipes) unused() bool { return p.out == 0 && len(p.idle) > 0 }

// close closes the idle pipes.
func (p *pipes) close() {
	for _, q := range p.idle {
		q.close()
	}
	p.idle = nil
}

func (q pipe) close() {
	closeFD(int(q.r))
	closeFD(int(q.w))
}
