//go:build linux && (amd64 || arm64)

package engine

import "golang.org/x/sys/unix"

// state is a set of facts about a socket: what the caller wants, what has become of it, what is in flight.
type state uint32

const (
	wantAccept  state = 1 << iota // connections
	wantReceive                   // bytes
	wantLeft                      // word of the other side's leaving
	wantReady                     // word of bytes, which the caller reads itself
	wantClose
	listens // it is a listener, whether it accepts now or not
	abort   // close with RST
	failed  // a send failed: nothing more is sent
	ended   // the stream has ended or failed: nothing more is received
	dirty   // in the list of sockets whose wishes are to be carried out
	starved // in the list of sockets that wait for a buffer

	inAccept // uring: an operation is in the kernel; epoll: the listener is watched, a connect is under way
	inConnect
	inReceive
	inSend
	inPollIn
	inPollOut
	inPollLeft

	cancelAccept // uring: a cancel for the operation is on its way
	cancelConnect
	cancelReceive
	cancelSend
	cancelPollIn
	cancelPollOut
	cancelPollLeft

	inFlight  = inAccept | inConnect | inReceive | inSend | inPollIn | inPollOut | inPollLeft
	canceling = inFlight << cancelShift

	cancelShift = 7 // from an operation's bit to that of its cancel
)

// record is what an engine knows of one socket.
type record struct {
	fd     int32
	gen    uint32 // of the record: changes when a socket is done with
	owner  uint32
	state  state
	ready  ready
	out    queue
	carry  *carrying // its stream is carried
	source Socket    // plus one: whose stream is carried into it
}

// table holds records by index. They stay where they are, so a pointer to one is good until its Closed is reported.
type table struct {
	chunks []*[chunk]record
	free   []Socket
	work   []Socket // dirty sockets
}

const chunk = 256

func (t *table) at(s Socket) *record { return &t.chunks[s/chunk][s%chunk] }

func (t *table) attach(fd int, owner uint32) Socket {
	if len(t.free) == 0 {
		base := Socket(len(t.chunks) * chunk)
		c := new([chunk]record)
		t.chunks = append(t.chunks, c)
		for i := chunk - 1; i >= 0; i-- {
			t.free = append(t.free, base+Socket(i))
		}
	}
	s := t.free[len(t.free)-1]
	t.free = t.free[:len(t.free)-1]
	r := t.at(s)
	r.fd, r.owner = int32(fd), owner
	return s
}

// detach makes the record free for the next socket. Whatever the kernel still says about the old one is stale from now on.
func (t *table) detach(s Socket) {
	r := t.at(s)
	*r = record{fd: -1, gen: r.gen + 1}
	t.free = append(t.free, s)
}

// mark puts a socket into the list of those to look at in the next turn.
func (t *table) mark(s Socket, r *record) {
	if r.state&dirty == 0 {
		r.state |= dirty
		t.work = append(t.work, s)
	}
}

func (t *table) want(s Socket, set, clear state) {
	r := t.at(s)
	r.state = r.state&^clear | set
	t.mark(s, r)
}

// closeFD closes a descriptor that belongs to nobody else. EINTR does not mean that it is still open (close(2)).
func closeFD(fd int) { _, _, _ = unix.RawSyscall(unix.SYS_CLOSE, uintptr(fd), 0, 0) }
