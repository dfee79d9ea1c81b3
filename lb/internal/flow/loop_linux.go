//go:build amd64 || arm64

package flow

import (
	"net"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/engine"
	"github.com/ebb-lb/ebb/lb/internal/sock"
	"github.com/ebb-lb/ebb/lb/internal/wheel"
)

// Engines are the names of the carriers of this system, the reference first.
var Engines = []string{"portable", "epoll", "uring"}

const (
	// most is how many datagrams of one flow, or replies of all, are sent with one system call.
	most = 128
	// stream is how many datagrams of one flow in a turn say that more will come together: their socket may coalesce them.
	stream = 4
	// tick is how finely idle timeouts are kept.
	tick = 4 * time.Millisecond
)

// looped is what a loop notes of a flow. The goroutine of the loop owns it.
type looped struct {
	fd       int32
	replies  int32 // in the batch
	first    int32 // its first request of the batch, and the last one, as places plus one; 0 is none
	last     int32
	slot     int32
	overflow sock.Overflow
	name     [sock.SockaddrSize]byte // of the client
	nameSize uint8
	ending   bool  // it has had its last reply, which may still be in the batch
	streams  bool  // its socket has brought a stream
	class    uint8 // what is sent on it has
}

// intake is how a loop takes datagrams from the kernel: by readiness, or by completions.
type intake interface {
	// begin makes the intake the calling goroutine's.
	begin() error
	// listen takes what clients send to the listening socket; deafen no more of it.
	listen(fd int) error
	deafen(fd int)
	// add takes what comes to a flow's socket; drop no more of it. Then the socket may be closed.
	add(fd int, slot int32) error
	// hear takes the control messages, too, of what comes to a flow's socket.
	hear(slot int32)
	drop(fd int, slot int32)
	// release returns when the kernel holds nothing more of sockets that were dropped and closed.
	release()
	// send sends one datagram on a flow's socket, and reply one on the listening socket, at the latest with the next turn, which tells
	// with tag what has failed. False means that they do not: the caller sends it.
	send(fd int, payload []byte, tag int) bool
	reply(fd int, payload, name, control []byte, tag int) bool
	// turn waits for datagrams, at most for timeout (forever if negative), and returns them, good until the next turn has returned.
	turn(timeout time.Duration) []engine.Datagram
	// rest is the goroutine's last call: every socket has been dropped.
	rest()
	// wake makes the current or the next turn return. Any goroutine may call it.
	wake()
	close()
}

// answer is a reply on its way.
type answer struct {
	flow    *Flow
	payload []byte
	class   uint8
}

// loop is the carrier with batches: one goroutine, nothing allocated for a datagram.
type loop struct {
	table    *Table
	intake   intake
	fd       int  // the listening socket
	streamed bool // which has brought a stream
	wildcard bool
	born     time.Time
	now      ticks // at the beginning of the turn
	calm     ticks // the same, but one turn is one tick at most: when the loop was held up, all that came meanwhile is to be seen first
	wheel    wheel.Wheel
	flows    []*Flow // by slot
	idle     idleSockets
	free     []int32
	live     int

	came     []engine.Datagram // of this turn
	overflow sock.Overflow
	place    int          // of the request that is being passed
	next     []int32      // the flow's next request, as a place plus one; by place
	touched  []*Flow      // that have requests in the batch
	outgoing *sock.Vector // requests of one flow
	places   []int        // of each of them
	single   []*Flow      // those with one request, which the intake sends; by tag

	answers []answer // that are to be sent
	streams bool     // two of them in a row are of one flow
	sent    []*Flow  // of those that the intake sends; by tag
	replies *sock.Vector
	ending  []*Flow

	stopped chan struct{} // closed when no more flows are opened
	gone    chan struct{} // closed when the loop has ended

	queue struct {
		mu      sync.Mutex
		killed  []*Flow
		stop    bool
		close   bool
		running bool
		over    bool
	}
}

// newLoop takes the listening socket of the table, unless there is an error.
func newLoop(t *Table, name string) (carrier, error) {
	l := &loop{
		table: t, fd: -1, wildcard: t.conn.IsWildcard(), born: time.Now(),
		outgoing: sock.NewVector(most), replies: sock.NewVector(most), idle: idleSockets{lacked: lacking.Load()},
		stopped: make(chan struct{}), gone: make(chan struct{}),
	}
	var err error
	if name == "uring" {
		l.intake, err = newCompletions(t.owner)
	} else {
		l.intake, err = newReadiness(t.owner)
	}
	if err != nil {
		return nil, err
	}
	if l.fd, err = t.conn.Detach(); err != nil {
		l.intake.close()
		return nil, err
	}
	return l, nil
}

func (l *loop) run() {
	l.queue.mu.Lock()
	l.queue.running = true
	l.queue.mu.Unlock()
	go l.carry()
	<-l.stopped
}

// carry is the loop's goroutine.
func (l *loop) carry() {
	defer close(l.gone)
	l.start()
	for !l.turn() {
	}
	l.intake.rest()
}

// start makes the calling goroutine the loop's.
func (l *loop) start() {
	err := l.intake.begin()
	if err == nil {
		err = l.intake.listen(l.fd)
	}
	if err != nil { // of sockets and of a thread that are ours
		panic("flow: " + err.Error())
	}
}

// turn waits for datagrams and passes them on. It tells whether the loop is over.
func (l *loop) turn() bool {
	l.came = l.intake.turn(l.untilNext())
	before := l.now
	l.now = ticks(time.Since(l.born) / tick)
	l.calm += min(l.now-before, 1)
	if l.idle.giveWay(l.calm) {
		l.hangUpIdle()
	}
	l.next = slices.Grow(l.next[:0], len(l.came))[:len(l.came)]
	heard := -1 // the last from a client
	for i := range l.came {
		switch d := &l.came[i]; {
		case d.Unsent:
			l.unsent(i)
		case d.Kind == engine.Peer:
			l.fromPeer(d)
		default:
			heard = i
		}
	}
	l.reply()
	for i, f := range l.ending {
		l.end(f, end.Complete)
		l.ending[i] = nil
	}
	l.ending = l.ending[:0]
	if heard >= 0 {
		l.fromClients(heard)
	}
	l.flushRequests()
	if l.obey() {
		return true
	}
	l.wheel.Advance(l.now, l.expire)
	return false
}

// untilNext is how long nothing is due; negative is forever.
func (l *loop) untilNext() time.Duration {
	at, ok := l.wheel.Next()
	if !ok {
		return -1
	}
	return max(0, time.Duration(at)*tick-time.Since(l.born))
}

// fromClients passes on what clients have sent, up to the last of it.
func (l *loop) fromClients(last int) {
	if lost := l.overflow.Since(l.came[last].Control); lost > 0 {
		l.table.owner.Overflowed(In, lost)
	}
	bound := l.table.conn.Bound()
	for i := range l.came[:last+1] {
		d := &l.came[i]
		switch {
		case d.Kind == engine.Peer:
			continue
		case d.Err != 0: // an ICMP error for an earlier reply; the socket is sound
			l.table.owner.Dropped("receive")
			continue
		case d.Truncated:
			l.table.owner.Dropped("too_big")
			continue
		}
		local := bound
		if l.wildcard {
			local = sock.Asked(d.Control, bound)
		}
		l.place = i
		l.table.send(d.Payload, key{sock.Address(d.Name), local})
	}
}

// write keeps the request for flush. Those of a flow that wait for it have one class, which its socket has.
func (l *loop) write(f *Flow, _ []byte) error {
	s, at := &f.looped, int32(l.place+1)
	if class := f.passed(l.came[l.place].Control); class != s.class {
		if l.flush(f); l.flows[s.slot] != f {
			return net.ErrClosed
		}
		s.class = class
		sock.SetClass(int(s.fd), f.peer.Addr().Is6(), class)
	}
	l.next[l.place] = 0
	if s.first == 0 {
		s.first = at
		l.touched = append(l.touched, f)
	} else {
		l.next[s.last-1] = at
	}
	s.last = at
	return nil
}

// coalesce lets the kernel hand over streams as they come, where it can.
func coalesce(fd int) {
	if sock.CanCoalesce() {
		_ = sock.Coalesce(fd)
	}
}

// fromPeer takes what has come back on a flow's socket.
func (l *loop) fromPeer(d *engine.Datagram) {
	f := l.flows[d.Tag]
	if f == nil || f.looped.ending { // it has ended since
		l.surplus(d)
		return
	}
	s := &f.looped
	switch {
	case d.Err == unix.ECONNREFUSED:
		l.end(f, f.refusal())
		return
	case d.Err == unix.EMSGSIZE:
		l.table.owner.Dropped(pathMTU)
		return
	case d.Err != 0:
		l.end(f, end.ServerReset)
		return
	}
	if lost := s.overflow.Since(d.Control); lost > 0 {
		l.table.owner.Overflowed(Out, lost)
	}
	if d.Truncated {
		l.table.owner.Dropped("too_big")
		return
	}
	pass, last := f.answer(d.Payload)
	if !pass {
		return
	}
	l.streams = l.streams || len(l.answers) > 0 && l.answers[len(l.answers)-1].flow == f
	l.answers = append(l.answers, answer{f, d.Payload, f.passed(d.Control)})
	if s.replies++; s.replies == stream && !s.streams {
		s.streams = true
		sock.CountOverflow(int(s.fd)) // of streams alone: so a flow begins with a system call less, and nothing is missed that way
		coalesce(int(s.fd))
		l.intake.hear(s.slot)
	}
	if last {
		s.ending = true
		l.ending = append(l.ending, f)
	}
}

// surplus deals with what comes on a socket whose flow has had all its answers.
func (l *loop) surplus(d *engine.Datagram) {
	f, i := l.flows[d.Tag], l.idle.at(int32(d.Tag))
	idle := i != nil && i.idle
	if d.Err == 0 && (f != nil || idle) {
		l.table.owner.Dropped("surplus")
	}
	switch {
	case f != nil:
		f.replies++ // so it is not settled
	case idle:
		if d.Err == 0 {
			l.idle.heard(l.calm, i)
		}
		l.idle.remove(i)
		l.hangUp(i.slot, i.fd)
	}
}
