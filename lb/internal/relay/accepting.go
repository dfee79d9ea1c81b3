//go:build linux && (amd64 || arm64)

package relay

import (
	"net/netip"
	"syscall"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/engine"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// accepting is one listener in one loop.
type accepting struct {
	socket  engine.Socket
	fd      int // of the listener, until close
	serve   func(client, local netip.AddrPort, carrier int) (*Session, Director)
	failed  func(reason string)
	backoff time.Duration
	paused  bool
	path    bool           // of a unix socket: nobody has an address
	local   netip.AddrPort // what every client connected to; the zero value if each may have asked another address
	slot    int32          // its timer
	index   int            // in loop.listeners
	done    chan<- struct{}
}

// listen starts to accept. fd is the loop's own.
func (l *loop) listen(a *accepting, fd int) {
	slot, k := l.take()
	k.listener = a
	a.slot, a.fd, a.backoff, a.index = slot, fd, backoffMin, len(l.listeners)
	for i, other := range l.listeners { // closed ones leave holes, so that indices stay
		if other == nil {
			a.index = i
		}
	}
	if a.index == len(l.listeners) {
		l.listeners = append(l.listeners, nil)
	}
	l.listeners[a.index] = a
	local := sock.LocalAddr(fd)
	if a.path = !local.IsValid(); !local.Addr().IsUnspecified() {
		a.local = local
	}
	a.socket = l.engine.Attach(fd, ownerListener|uint32(a.index))
	l.engine.Accept(a.socket)
}

// close stops accepting; done is told when nothing more comes.
func (a *accepting) close(l *loop, done chan<- struct{}) {
	a.done = done
	l.wheel.Clear(a.slot)
	l.engine.Close(a.socket, false)
}

// retry goes on after a back-off.
func (a *accepting) retry(l *loop) {
	a.paused = false
	l.engine.Accept(a.socket)
}

func (a *accepting) complete(l *loop, c *engine.Completion) {
	switch {
	case c.Op == engine.Closed:
		l.give(a.slot)
		l.listeners[a.index] = nil
		a.done <- struct{}{}
	case c.Result >= 0:
		a.accepted(l, int(c.Result))
	default:
		a.refused(l, c)
	}
}

// refused backs off if more of the same is to be expected.
func (a *accepting) refused(l *loop, c *engine.Completion) {
	if reason := sock.AcceptReason(c.Err()); reason != "" {
		a.pause(l, reason)
	} else {
		l.engine.Accept(a.socket)
	}
}

// pause stops accepting for a while.
func (a *accepting) pause(l *loop, reason string) {
	if a.paused || a.done != nil {
		return
	}
	a.paused = true
	a.failed(reason)
	l.engine.Pause(a.socket)
	l.arm(a.slot, a.backoff)
	a.backoff = min(2*a.backoff, backoffMax)
}

// exhausted is told that no socket could be made for a session: what is accepted now could not be served.
func (l *loop) exhausted(err error) {
	reason := sock.AcceptReason(err)
	if reason == "" {
		return
	}
	for _, a := range l.listeners {
		if a != nil {
			a.pause(l, reason)
		}
	}
}

func (a *accepting) accepted(l *loop, fd int) {
	peer := sock.PeerAddr(fd)
	if !peer.IsValid() && !a.path { // gone again: as good as never accepted
		closeAborted(fd)
		return
	}
	if !a.paused {
		a.backoff = backoffMin
	}
	to := l.place()
	local := a.local
	if !local.IsValid() && !a.path {
		local = sock.LocalAddr(fd)
	}
	s, d := a.serve(peer, local, to.number)
	if s == nil {
		closeAborted(fd)
		return
	}
	to.live.Add(1)
	s.born = time.Now()
	s.loop.Store(to) // before the cause is looked at: a Kill from now on finds the loop
	if to == l {
		l.carry(s, d, fd)
	} else {
		to.post(command{session: s, d: d, fd: fd})
	}
}

// place chooses the loop for a new session: this one, unless it holds clearly more than another. Long sessions make a
// loop take fewer new ones; the slack keeps short ones from going from thread to thread.
func (l *loop) place() *loop {
	least, few := l, l.live.Load()
	mine := few
	for _, p := range l.peers {
		if n := p.live.Load(); n < few {
			least, few = p, n
		}
	}
	if mine > few+few/8+16 {
		return least
	}
	return l
}

func closeAborted(fd int) {
	sock.AbortOnClose(fd)
	_ = syscall.Close(fd)
}
