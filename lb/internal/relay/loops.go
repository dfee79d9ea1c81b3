//go:build linux && (amd64 || arm64)

package relay

import (
	"errors"
	"fmt"
	"net/netip"
	"runtime"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/engine"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Loops is a set of threads that carry sessions, each on its own engine.
type Loops struct {
	loops  []*loop
	engine string
	why    string
}

// NewLoops starts n loops on the named engine: "uring", "epoll", or "auto" for the first of them that works here.
func NewLoops(n int, name string) (*Loops, error) { return newLoops(n, name, engine.Options{}) }

func newLoops(n int, name string, o engine.Options) (*Loops, error) {
	if name == "auto" {
		ls, err := newLoops(n, "uring", o)
		if err == nil {
			return ls, nil
		}
		why := err.Error()
		if ls, err = newLoops(n, "epoll", o); err != nil {
			return nil, err
		}
		ls.why = why
		return ls, nil
	}
	ls := &Loops{engine: name}
	makeRoom(n)
	all := make([]*loop, n)
	for i := range all {
		all[i] = &loop{number: i, peers: all, gone: make(chan struct{})}
	}
	for _, l := range all {
		opened := make(chan error)
		go l.run(name, o, opened)
		if err := <-opened; err != nil {
			makeRoom(len(ls.loops) - n)
			ls.Close()
			return nil, fmt.Errorf("engine %s: %w", name, err)
		}
		ls.loops = append(ls.loops, l)
	}
	return ls, nil
}

// looping is how many loops this process has.
var looping struct {
	sync.Mutex
	loops int
}

// makeRoom gives n more loops a P each, beside two for the rest of the program. A loop waits in the kernel most of the time, but
// with its P: were there none to spare, others would wait for it, and the scheduler would take it away at each sleep, so that
// the loop has to fight for it when it wakes (redis with 50 clients, 2 loops: 0.93 of the rate of haproxy without, 1.00 to 1.05
// with two to spare).
func makeRoom(n int) {
	looping.Lock()
	defer looping.Unlock()
	looping.loops += n
	if n := looping.loops + 2; n > runtime.GOMAXPROCS(0) {
		runtime.GOMAXPROCS(n)
	}
}

// Engine names the engine that the loops run on.
func (ls *Loops) Engine() string { return ls.engine }

// Why tells why "auto" did not choose uring; "" if it did, or was not asked.
func (ls *Loops) Why() string { return ls.why }

// Counts is what all loops have done since they began.
func (ls *Loops) Counts() (c Counts) {
	for _, l := range ls.loops {
		s := l.engine.Stats()
		c.Resumed += s.Resumed.Load() // before what it never exceeds
		c.Paused += s.Paused.Load()
		c.Starved += s.NoBuffers.Load()
		c.Spliced += s.Spliced.Load()
	}
	return c
}

// Close ends the loops. Every listener is closed and every session done.
func (ls *Loops) Close() {
	for _, l := range ls.loops {
		l.stop()
	}
	makeRoom(-len(ls.loops))
}

// LoopAcceptor accepts connections on every loop until it is closed. No error ends it.
type LoopAcceptor struct {
	loops []*loop
	fds   []int // each loop's own descriptor of the listener, until Run
	parts []*accepting
	once  sync.Once
}

// Count is how many loops there are.
func (ls *Loops) Count() int { return len(ls.loops) }

// Acceptor takes ownership of a listener that all loops share, or of one for each. The kernel queues connections; none is
// accepted before Run.
func (ls *Loops) Acceptor(lns ...sock.Listener) (*LoopAcceptor, error) {
	var fds []int
	var errs []error
	for _, ln := range lns {
		more, err := split(ln, len(ls.loops)/len(lns))
		// Closed here, so that the runtime's poller is not woken for each connection; the copies keep the socket listening.
		errs = append(errs, err, ln.Close())
		fds = append(fds, more...)
	}
	if err := errors.Join(errs...); err != nil {
		closeAll(fds)
		return nil, err
	}
	return &LoopAcceptor{loops: ls.loops, fds: fds}, nil
}

// Retune changes what is asked for on the sockets of clients that come from then on.
func (a *LoopAcceptor) Retune(was, now *sock.Options) {
	for i, p := range a.parts {
		a.loops[i].post(command{do: func(*loop) {
			if p.done == nil {
				was.Retune(p.fd, now)
			}
		}})
	}
}

// Run begins to accept. serve is called in a loop for each connection: it must not block, and gives what carries the
// session, or nil to refuse it. carrier is the number of the loop that will carry it, from 0. failed is told why an accept
// failed.
func (a *LoopAcceptor) Run(serve func(client, local netip.AddrPort, carrier int) (*Session, Director), failed func(reason string)) {
	for i, l := range a.loops {
		p, fd := &accepting{serve: serve, failed: failed}, a.fds[i]
		a.parts = append(a.parts, p)
		l.post(command{do: func(l *loop) { l.listen(p, fd) }})
	}
	a.fds = nil
}

// Close stops accepting. When it returns, serve is not called any more. Sessions go on.
func (a *LoopAcceptor) Close() {
	a.once.Do(func() {
		closeAll(a.fds)
		done := make(chan struct{}, len(a.parts))
		for i, p := range a.parts {
			a.loops[i].post(command{do: func(l *loop) { p.close(l, done) }})
		}
		for range a.parts {
			<-done
		}
	})
}

func closeAll(fds []int) {
	for _, fd := range fds {
		_ = unix.Close(fd)
	}
}

// split gives each of n loops its own descriptor of the listener.
func split(ln sock.Listener, n int) (fds []int, err error) {
	raw, err := ln.SyscallConn()
	if err != nil {
		return nil, err
	}
	var fault error
	err = raw.Control(func(fd uintptr) {
		for range n {
			var own int
			if own, fault = unix.FcntlInt(fd, unix.F_DUPFD_CLOEXEC, 0); fault != nil {
				fault = fmt.Errorf("listener dup: %w", fault)
				return
			}
			fds = append(fds, own)
		}
	})
	return fds, errors.Join(err, fault)
}
