//go:build amd64 || arm64

package flow

import (
	"iter"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Sockets whose flow has had all its answers stay open for a while. Where flows come fast, the next one to the same peer takes the one
// that has been idle the longest, and saves what a socket costs: two fifths of a flow with one round trip. Where they do not, a flow has
// a socket and a port of its own.
//
// The kernel, too, soon gives the port of a closed socket to the next one when flows come fast, and asks for no pause. Here
// there is one, and whoever is heard in it loses the socket: so what comes late for one flow does not go to the client of another.
const (
	idlePause = ticks(50 * time.Millisecond / tick) // before a socket is used again
	idleLife  = ticks(10 * time.Second / tick)      // of a socket, from when it is idle for the first time
	idleMost  = 4096                                // of a loop
	idleMany  = idleMost / 2                        // from so many on they are used again
	// idleShy is for how long none is used again after a peer has sent something in the second half of a pause: more than it was asked
	// for, and late.
	idleShy = ticks(10 * time.Minute / tick)
)

// ticks is a time of a loop.
type ticks = int64

// descriptors is how many this process may have.
var descriptors = sync.OnceValue(func() int64 {
	var limit unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		return 0
	}
	return int64(min(limit.Cur, 1<<30))
})

// idleAll is how many sockets are idle in all loops.
var idleAll atomic.Int64

// lacking counts how often somebody has lacked a descriptor.
var lacking atomic.Int64

// GiveWay is told that somebody lacks a descriptor: idle sockets are closed with the next turn of their loop, and for a while no more are
// kept. Any goroutine may call it.
func GiveWay() { lacking.Add(1) }

// idleSocket is a socket that has been idle, or is.
type idleSocket struct {
	neighbours[idleSocket] // of its kind
	idleKey
	upstream netip.AddrPort // our own address
	fd, slot int32
	since    ticks // idle
	until    ticks // used again
	idle     bool
}

// idleKey is what makes sockets alike.
type idleKey struct {
	peer   netip.AddrPort
	dialed *sock.Options
}

// idleLine is the idle sockets of one kind, that which has been so the longest first.
type idleLine = line[idleSocket, *idleSocket]

// idleSockets is the sockets of a loop that are idle, or have been. It knows no clock, and closes nothing.
type idleSockets struct {
	bySlot []*idleSocket // as far as there ever was one
	lines  map[idleKey]*idleLine
	n      int
	shy    ticks // none is kept or used again before
	lacked int64 // of lacking, as far as it was obeyed
}

// at gives the socket of a slot; nil is one that has never been idle.
func (s *idleSockets) at(slot int32) *idleSocket {
	if int(slot) >= len(s.bySlot) {
		return nil
	}
	return s.bySlot[slot]
}

// forget is called when a slot's socket is closed, which is not idle.
func (s *idleSockets) forget(slot int32) {
	if int(slot) < len(s.bySlot) {
		s.bySlot[slot] = nil
	}
}

// keep takes the socket of a flow that is over; nil means that it is to be closed.
func (s *idleSockets) keep(now ticks, f *Flow) *idleSocket {
	slot, limit := f.looped.slot, descriptors()
	i := s.at(slot)
	switch {
	case !f.mayShare(), !f.isSettled(), f.looped.streams:
		return nil
	case now < s.shy, i != nil && now >= i.until:
		return nil
	case s.n >= idleMost, int64(f.looped.fd) > limit/2: // descriptors are given out from below: a high one says that few are left
		return nil
	}
	if idleAll.Add(1) > limit/4 {
		idleAll.Add(-1)
		return nil
	}
	if i == nil {
		for int(slot) >= len(s.bySlot) {
			s.bySlot = append(s.bySlot, nil)
		}
		i = &idleSocket{idleKey: idleKey{f.peer, f.dialing()}, upstream: f.upstream, fd: f.looped.fd, slot: slot, until: now + idleLife}
		s.bySlot[slot] = i
	}
	line := s.lines[i.idleKey]
	if line == nil {
		if s.lines == nil {
			s.lines = make(map[idleKey]*idleLine)
		}
		line = new(idleLine)
		s.lines[i.idleKey] = line
	}
	i.since, i.idle = now, true
	line.push(i)
	s.n++
	return i
}

// take gives a socket for a flow, which is idle no more; nil means that the flow needs one of its own.
func (s *idleSockets) take(now ticks, f *Flow) *idleSocket {
	if now < s.shy || s.n < int(min(idleMany, descriptors()/8)) || !f.mayShare() {
		return nil
	}
	line := s.lines[idleKey{f.peer, f.dialing()}]
	if line == nil || now-line.first.since < idlePause {
		return nil
	}
	i := line.first
	s.remove(i)
	return i
}

// heard is told that an idle socket has brought a datagram.
func (s *idleSockets) heard(now ticks, i *idleSocket) {
	if now-i.since > idlePause/2 {
		s.shy = now + idleShy
	}
}

// all gives the sockets that are idle, each of which may be removed.
func (s *idleSockets) all() iter.Seq[*idleSocket] {
	return func(yield func(*idleSocket) bool) {
		for _, i := range s.bySlot {
			if i != nil && i.idle && !yield(i) {
				return
			}
		}
	}
}

// giveWay tells whether all are to be closed, since somebody lacks a descriptor.
func (s *idleSockets) giveWay(now ticks) bool {
	n := lacking.Load()
	if n == s.lacked {
		return false
	}
	s.lacked, s.shy = n, max(s.shy, now+idleLife)
	return true
}

// remove takes a socket out that is idle.
func (s *idleSockets) remove(i *idleSocket) {
	line := s.lines[i.idleKey]
	if line.remove(i); line.n == 0 {
		delete(s.lines, i.idleKey)
	}
	i.idle = false
	s.n--
	idleAll.Add(-1)
}
