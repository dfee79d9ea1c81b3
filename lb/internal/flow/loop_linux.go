//go:build amd64 || arm64

package flow

import (
	"errors"
	"fmt"
	"sync"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
	"github.com/ebb-lb/ebb/lb/internal/wheel"
)

// CanBatch tells whether there are batches on this system.
const CanBatch = true

const (
	// batch is how many datagrams move with one system call.
	batch = 64
	// tick is how finely idle timeouts are kept.
	tick = 4 * time.Millisecond
)

// What an epoll event is for, besides the slots of flows.
const (
	listening = -1 - iota
	waking
)

// looped is what a loop notes of a flow. The goroutine of the loop owns it.
type looped struct {
	fd       int
	slot     int32
	ending   bool // it has had its last reply, which may still be in the batch
	replies  int  // in the batch
	first    int  // its first request of the batch, and the last one, as places plus one; 0 is none
	last     int
	name     [sock.SockaddrSize]byte // of the client
	nameSize int
	overflow sock.Overflow
}

// loop is the carrier with batches: one goroutine, one epoll set, nothing allocated for a datagram.
type loop struct {
	table    *Table
	fd       int // the listening socket
	epoll    int
	eventfd  int
	wildcard bool
	born     time.Time
	wheel    wheel.Wheel
	flows    []*Flow // by slot
	free     []int32
	live     int

	requests *sock.Batch // from clients
	overflow sock.Overflow
	place    int          // of the request that is being passed
	next     [batch]int   // the flow's next request, as a place plus one
	touched  []*Flow      // that have requests in the batch
	outgoing *sock.Vector // requests of one flow
	places   []int        // of each of them

	responses *sock.Batch // from peers
	filled    int         // places taken
	replies   *sock.Vector
	clients   []*Flow // of each of the replies
	ending    []*Flow

	stopped chan struct{} // closed when no more is read from clients
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

// newLoop takes the listening socket of the table.
func newLoop(t *Table) (_ carrier, err error) {
	l := &loop{
		table: t, fd: -1, epoll: -1, eventfd: -1, wildcard: t.conn.IsWildcard(), born: time.Now(),
		outgoing: sock.NewVector(batch), replies: sock.NewVector(batch),
		stopped: make(chan struct{}), gone: make(chan struct{}),
	}
	defer func() {
		if err != nil {
			l.release()
		}
	}()
	if l.requests, err = sock.NewBatch(batch, maxDatagram); err != nil {
		return nil, err
	}
	if l.responses, err = sock.NewBatch(batch, maxDatagram); err != nil {
		return nil, err
	}
	if l.epoll, err = unix.EpollCreate1(unix.EPOLL_CLOEXEC); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if l.eventfd, err = unix.Eventfd(0, unix.EFD_NONBLOCK|unix.EFD_CLOEXEC); err != nil {
		return nil, fmt.Errorf("eventfd: %w", err)
	}
	if err = l.watch(l.eventfd, waking); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	if l.fd, err = t.conn.Detach(); err != nil {
		return nil, fmt.Errorf("listening socket: %w", err)
	}
	if err = l.watch(l.fd, listening); err != nil {
		return nil, fmt.Errorf("epoll: %w", err)
	}
	return l, nil
}

func (l *loop) watch(fd int, what int32) error {
	return unix.EpollCtl(l.epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLIN, Fd: what})
}

func (l *loop) release() {
	for _, fd := range []int{l.epoll, l.eventfd, l.fd} {
		if fd >= 0 {
			_ = unix.Close(fd)
		}
	}
	for _, b := range []*sock.Batch{l.requests, l.responses} {
		if b != nil {
			b.Free()
		}
	}
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
	events := make([]unix.EpollEvent, 128)
	for {
		readable := false
		for _, e := range events[:l.wait(events)] {
			switch e.Fd {
			case listening:
				readable = true
			case waking:
				var b [8]byte
				_, _ = unix.Read(l.eventfd, b[:])
			default:
				l.fromPeer(l.flows[e.Fd])
			}
		}
		l.flushReplies()
		for i, f := range l.ending {
			l.end(f, end.Complete)
			l.ending[i] = nil
		}
		l.ending = l.ending[:0]
		if readable {
			l.fromClients()
		}
		if l.obey() {
			return
		}
		l.wheel.Advance(int64(time.Since(l.born)/tick), l.expire)
	}
}

// wait waits for events. It looks first and sleeps only then, for a sleep costs the runtime some bookkeeping.
func (l *loop) wait(events []unix.EpollEvent) int {
	n, _, errno := unix.RawSyscall6(unix.SYS_EPOLL_PWAIT, uintptr(l.epoll), uintptr(unsafe.Pointer(&events[0])), uintptr(len(events)), 0, 0, 0)
	if errno == 0 && n > 0 {
		return int(n)
	}
	timeout := -1
	if at, ok := l.wheel.Next(); ok {
		left := time.Duration(at)*tick - time.Since(l.born)
		timeout = int(max(0, (left+time.Millisecond-1)/time.Millisecond))
	}
	slept, err := unix.EpollWait(l.epoll, events, timeout)
	if err != nil { // EINTR
		return 0
	}
	return slept
}

// fromClients takes a batch from the listening socket and passes it on.
func (l *loop) fromClients() {
	n, err := l.requests.Receive(l.fd, 0, batch)
	if err != nil {
		if !errors.Is(err, unix.EAGAIN) {
			l.table.owner.Dropped("receive")
		}
		return
	}
	l.table.owner.Received(In, n)
	if lost := l.overflow.Since(l.requests.Control(n - 1)); lost > 0 {
		l.table.owner.Overflowed(In, lost)
	}
	bound := l.table.conn.Bound()
	for i := range n {
		if l.requests.Truncated(i) {
			l.table.owner.Dropped("too_big")
			continue
		}
		local := bound
		if l.wildcard {
			local = l.requests.Local(i, bound)
		}
		l.place = i
		l.table.send(l.requests.Payload(i), key{l.requests.From(i), local})
	}
	for i := 0; i < len(l.touched); i++ { // a flow that ends may make others
		l.flush(l.touched[i])
		l.touched[i] = nil
	}
	l.touched = l.touched[:0]
}

// write keeps the request for flush.
func (l *loop) write(f *Flow, _ []byte) error {
	s, at := &f.looped, l.place+1
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

// flush sends the requests of a flow that are in the batch.
func (l *loop) flush(f *Flow) {
	l.outgoing.Reset()
	l.places = l.places[:0]
	for at := f.looped.first; at != 0; at = l.next[at-1] {
		l.outgoing.Add(l.requests.Payload(at-1), nil, nil, true)
		l.places = append(l.places, at-1)
	}
	f.looped.first = 0
	for at := 0; at < len(l.places); {
		n, err := l.send(l.outgoing, f.looped.fd, In)
		for i := range n {
			f.In.Add(int64(l.outgoing.Size(at + i)))
		}
		at += n
		switch {
		case err == nil:
		case errors.Is(err, unix.ECONNREFUSED):
			// The refusal of an earlier datagram, reported on this one, which was not sent: it opens another flow.
			l.again(f, l.places[at:])
			return
		default:
			for range l.outgoing.Skip() {
				l.table.owner.Dropped(unsent(err))
				at++
			}
		}
	}
}

// send sends what is left of v.
func (l *loop) send(v *sock.Vector, fd int, d Direction) (n int, err error) {
	before := v.Joined()
	n, err = v.Send(fd)
	if more := v.Joined() - before; more > 0 {
		l.table.owner.Joined(d, more)
	}
	return n, err
}

// again ends a flow that was refused and passes what it has not sent.
func (l *loop) again(f *Flow, places []int) {
	var kept [batch]int // the next flush writes over places
	n := copy(kept[:], places)
	l.end(f, f.refusal())
	before := l.place // of the request for which there is a flush
	for _, at := range kept[:n] {
		l.place = at
		l.table.send(l.requests.Payload(at), key{f.Client, f.Local})
	}
	l.place = before
}

// fromPeer takes what has come back on a flow's socket.
func (l *loop) fromPeer(f *Flow) {
	if f == nil || f.looped.ending { // it has ended since the event
		return
	}
	if l.filled == batch {
		l.flushReplies()
	}
	s := &f.looped
	n, err := l.responses.Receive(s.fd, l.filled, batch)
	switch {
	case err == nil:
	case errors.Is(err, unix.EAGAIN):
		return
	case errors.Is(err, unix.ECONNREFUSED):
		l.end(f, f.refusal())
		return
	default:
		l.end(f, end.ServerReset)
		return
	}
	l.table.owner.Received(Out, n)
	if lost := s.overflow.Since(l.responses.Control(l.filled + n - 1)); lost > 0 {
		l.table.owner.Overflowed(Out, lost)
	}
	from := l.filled
	l.filled += n
	for i := from; i < l.filled; i++ {
		if l.responses.Truncated(i) {
			l.table.owner.Dropped("too_big")
			continue
		}
		pass, last := f.answer()
		if !pass {
			continue
		}
		more := len(l.clients) > 0 && l.clients[len(l.clients)-1] == f
		l.replies.Add(l.responses.Payload(i), s.name[:s.nameSize], f.control, more)
		l.clients = append(l.clients, f)
		s.replies++
		if last {
			s.ending = true
			l.ending = append(l.ending, f)
			return
		}
	}
}

// flushReplies sends the replies of all flows.
func (l *loop) flushReplies() {
	for at := 0; at < l.replies.Len(); {
		n, err := l.send(l.replies, l.fd, Out)
		for i := range n {
			l.clients[at+i].Out.Add(int64(l.replies.Size(at + i)))
		}
		at += n
		if err != nil {
			for range l.replies.Skip() {
				l.table.owner.Dropped("reply")
				at++
			}
		}
	}
	for i, f := range l.clients {
		f.looped.replies = 0
		l.clients[i] = nil
	}
	l.clients = l.clients[:0]
	l.replies.Reset()
	l.filled = 0
}
