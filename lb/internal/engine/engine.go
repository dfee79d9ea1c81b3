//go:build linux && (amd64 || arm64)

// Package engine moves bytes through sockets for one loop, by completions.
//
//	e, err := engine.Open("uring", engine.Options{})
//	s := e.Attach(fd, owner)
//	e.Receive(s)
//	for _, c := range e.Turn(timeout) { ... }
//
// The model: a socket has a receive that stays armed until it is paused, and an ordered queue of buffers to send. The
// caller says what it wants; each Turn brings the kernel's state nearer to that, waits, and returns what happened as
// completions. The uring engine gets them from an io_uring; the epoll engine makes the call itself when the socket is
// ready and reports the same.
//
// An engine belongs to the goroutine that opened it, which is locked to its thread; only Wake may be called from elsewhere.
//
// Invariants:
//
//	E1  A descriptor is closed exactly once, and only when no operation on it is in flight in the kernel.
//	E2  A completion reaches the owner only if its generation is the record's: completions outlive descriptors.
//	E3  A socket has at most one receive and one send in flight, so bytes keep their order.
//	E4  A buffer is in exactly one place: free, lent to the kernel, in a completion, or in one socket's queue.
//	E5  Closed is a socket's last completion, and every Close brings one.
//	E6  An idle socket holds no buffer.
//
// testdata/model has E1 to E5 of the uring engine for spin, from arming to the re-use of a descriptor, and a carried stream
// with the end that is passed on behind its bytes; make model checks both.
//
// It does not know sessions, peers or timeouts.
package engine

import (
	"net/netip"
	"syscall"
	"time"
)

// Socket names a socket of one engine from Attach to its Closed completion.
type Socket uint32

// Op says what a completion tells.
type Op uint8

// The completions. Result is a count or a negative errno.
const (
	Accepted  Op = iota + 1 // Result is the new descriptor, the caller's to attach or close; More: accepting goes on
	Connected               // Result is 0
	Received                // Result bytes in Buffer, the caller's to send or release; 0 is the end of the stream
	Sent                    // Result bytes were taken by the kernel
	Closed                  // the descriptor is closed and the Socket void
	Left                    // the other side has finished or aborted; nothing was read
	Ready                   // there is something to receive; nothing was read
)

// Completion is something that happened to a socket.
type Completion struct {
	Op     Op
	More   bool
	Full   bool // Received: the buffer is full
	Unread bool // Sent: of a carried stream, whose bytes nobody has received
	Owner  uint32
	Result int32
	Buffer Buffer
}

// Err is the error that Result stands for, or nil.
func (c *Completion) Err() error {
	if c.Result >= 0 {
		return nil
	}
	return syscall.Errno(-c.Result)
}

// Engine is the seam between the sessions of a loop and the kernel.
type Engine interface {
	Name() string

	// Attach takes over a non-blocking descriptor. owner comes back in its completions.
	Attach(fd int, owner uint32) Socket
	// Accept reports connections until the socket is closed or a completion without More tells a failure.
	Accept(Socket)
	// Connect reports Connected once. A connect that takes too long is given up by Close.
	Connect(Socket, netip.AddrPort)
	// Receive reports what arrives until Pause, the end of the stream, or a failure.
	Receive(Socket)
	// Watch reports Left once, when the other side finishes or aborts, whatever it has sent before; Unwatch makes it stop, though
	// one that has happened may still be reported.
	Watch(Socket)
	Unwatch(Socket)
	// Await reports Ready once, when there is something to receive, the end of the stream included. The caller has read
	// all there was.
	Await(Socket)
	// Pause stops the receive, or the accepting. What was already taken from the kernel is still reported.
	Pause(Socket)
	// Send queues n bytes of a buffer that came from Received. The buffer is the engine's again.
	Send(s Socket, b Buffer, n int)
	// Carry tells that from's stream is bulk and goes to another socket as it is. The engine may move it without showing it,
	// and report no more than Sent for to and the end of from's stream, until it is bulk no more.
	Carry(from, to Socket)
	// Bytes gives the memory of a buffer that came from Received, until it is sent or released.
	Bytes(Buffer) []byte
	// Release gives back a buffer that is not sent.
	Release(Buffer)
	// Queued is how many buffers wait in a socket's queue.
	Queued(Socket) int
	// Room is how many buffers one socket's queue should hold at most, for now: it shrinks as buffers run out, so that
	// blocked sockets never starve the others.
	Room() int
	// Shutdown sends FIN. The queue is empty.
	Shutdown(Socket)
	// Close ends everything in flight and closes the descriptor, with RST if abort. What is queued is dropped.
	Close(s Socket, abort bool)

	// Turn carries out what was asked for, waits for something to happen, at most for timeout (forever if negative), and
	// returns it. The slice is valid until the next Turn.
	Turn(timeout time.Duration) []Completion
	// Wake makes the current or the next Turn return. Any goroutine may call it.
	Wake()
	// Stats may be read by any goroutine.
	Stats() *Stats
	// Free gives everything back. Every socket has been closed.
	Free()
}

// Options size an engine. Zero values stand for defaults.
type Options struct {
	BufferSize int // bytes; a power of two
	Buffers    int // at most 32768
	Lent       int // buffers in the kernel's hands at a time (uring); a power of two
	Entries    int // submission queue (uring)
	Events     int // completion queue (uring); events taken in one turn (epoll)
}

func (o Options) withDefaults() Options {
	def := func(v *int, d int) {
		if *v == 0 {
			*v = d
		}
	}
	def(&o.BufferSize, 16<<10)
	def(&o.Buffers, 8192)
	def(&o.Lent, 256)
	def(&o.Entries, 1024)
	def(&o.Events, 4096)
	o.Lent = min(o.Lent, o.Buffers)
	return o
}

// maxQueued is the most buffers that one socket's queue is meant to hold: 256 KiB of the default size.
const maxQueued = 16
