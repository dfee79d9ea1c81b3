//go:build linux && (amd64 || arm64)

package relay

import (
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/engine"
	"github.com/ebb-lb/ebb/lb/internal/sock"
	"github.com/ebb-lb/ebb/lb/internal/wheel"
)

// tick is how finely timeouts are kept.
const tick = 4 * time.Millisecond

// loop is one thread that carries sessions on its own engine. Everything below queue belongs to its goroutine.
type loop struct {
	live atomic.Int64 // sessions, those on their way to the loop included

	queue struct {
		mu       sync.Mutex
		commands []command
		waiting  atomic.Bool // commands is not empty
	}
	gone chan struct{} // closed when the goroutine has ended

	engine    engine.Engine
	number    int
	peers     []*loop // all loops, this one included
	born      time.Time
	now       time.Duration // since born; of the turn
	wheel     wheel.Wheel
	slots     []*[slotChunk]carried
	free      []int32
	listeners []*accepting
	spare     []command
	scratch   []byte // for preread; prereadSize, or nil before the first
	stopped   bool
}

// command is what another goroutine asks of a loop.
type command struct {
	do      func(*loop) // or
	session *Session    // to be cut, or, if d is set, to be carried
	fd      int         // the client
	d       Director
	resume  bool // not to be cut, but to go on
	rearm   bool // not to be cut, but to look at its limits again
}

// post hands a command to the loop. It never blocks.
func (l *loop) post(c command) {
	l.queue.mu.Lock()
	l.queue.commands = append(l.queue.commands, c)
	first := !l.queue.waiting.Swap(true)
	l.queue.mu.Unlock()
	if first {
		l.engine.Wake()
	}
}

// run is the loop's goroutine: it opens the engine, says so, and carries sessions until stop.
func (l *loop) run(name string, o engine.Options, opened chan<- error) {
	runtime.LockOSThread() // the ring belongs to the thread that made it; the thread ends with the goroutine
	e, err := engine.Open(name, o)
	if err == nil {
		if err = engine.Check(e); err != nil {
			e.Free()
		}
	}
	if err != nil {
		opened <- err
		return
	}
	l.engine = e
	defer close(l.gone)
	l.born = time.Now()
	opened <- nil
	for !l.stopped {
		done := l.engine.Turn(l.untilNext())
		l.now = time.Since(l.born)
		for i := range done {
			l.complete(&done[i])
		}
		l.obey()
		l.wheel.Advance(int64(l.now/tick), l.expire)
	}
	l.engine.Free()
}

// untilNext is how long nothing is due; negative is forever.
func (l *loop) untilNext() time.Duration {
	at, ok := l.wheel.Next()
	if !ok {
		return -1
	}
	return max(0, time.Duration(at)*tick-time.Since(l.born))
}

// obey carries out the commands that have come.
func (l *loop) obey() {
	if !l.queue.waiting.Load() {
		return
	}
	l.queue.mu.Lock()
	commands := l.queue.commands
	l.queue.commands = l.spare
	l.queue.waiting.Store(false)
	l.queue.mu.Unlock()
	for i := range commands {
		switch c := &commands[i]; {
		case c.do != nil:
			c.do(l)
		case c.d != nil:
			l.carry(c.session, c.d, c.fd)
		case c.resume:
			l.resume(c.session)
		case c.rearm:
			l.reconsider(c.session)
		default:
			l.killed(c.session)
		}
		commands[i] = command{}
	}
	l.spare = commands[:0]
}

// complete hands one completion to what it belongs to.
func (l *loop) complete(c *engine.Completion) {
	if c.Owner&ownerListener != 0 {
		l.listeners[c.Owner&^ownerListener].complete(l, c)
		return
	}
	slot := int32(c.Owner >> 1)
	k, sd := l.at(slot), side(c.Owner&1)
	switch c.Op {
	case engine.Connected:
		l.connected(slot, k, c.Err())
	case engine.Received:
		l.received(k, sd, c)
	case engine.Sent:
		l.sent(k, sd, c)
	case engine.Ready:
		if k.phase == hearing {
			l.hear(slot, k)
		}
	case engine.Left:
		if k.phase == parked {
			l.cut(slot, k, leftBy(sock.Gone(int(k.fd[sd]))))
		}
	case engine.Closed:
		l.closed(slot, k, sd)
	}
}

// expire is called when the timer of a slot fires.
func (l *loop) expire(slot int32) {
	k := l.at(slot)
	if k.listener != nil {
		k.listener.retry(l)
		return
	}
	l.timeout(slot, k)
}

const slotChunk = 256

func (l *loop) at(slot int32) *carried { return &l.slots[slot/slotChunk][slot%slotChunk] }

// take gives an empty slot.
func (l *loop) take() (int32, *carried) {
	if len(l.free) == 0 {
		base := int32(len(l.slots) * slotChunk)
		l.slots = append(l.slots, new([slotChunk]carried))
		l.wheel.Grow(len(l.slots) * slotChunk)
		for i := int32(slotChunk) - 1; i >= 0; i-- {
			l.free = append(l.free, base+i)
		}
	}
	slot := l.free[len(l.free)-1]
	l.free = l.free[:len(l.free)-1]
	return slot, l.at(slot)
}

func (l *loop) give(slot int32) {
	l.wheel.Clear(slot)
	*l.at(slot) = carried{}
	l.free = append(l.free, slot)
}

// arm sets the timer of a slot to fire after d, or at the tick that follows.
func (l *loop) arm(slot int32, d time.Duration) { l.wheel.Set(slot, int64((l.now+d+tick-1)/tick)) }

// stop ends the loop. Sessions and listeners are gone.
func (l *loop) stop() {
	l.post(command{do: func(l *loop) { l.stopped = true }})
	<-l.gone
}

// killed cuts a session whose cause is set, if it is still carried.
func (l *loop) killed(s *Session) {
	if slot := s.slot - 1; slot >= 0 && l.at(slot).session == s {
		l.cut(slot, l.at(slot), end.Word(s.cause.Load()))
	}
}

// reconsider sets the timer of a session whose limits have changed, if it is still carried.
func (l *loop) reconsider(s *Session) {
	if slot := s.slot - 1; slot >= 0 && l.at(slot).session == s && l.at(slot).phase == relaying {
		l.rearm(slot, l.at(slot))
	}
}

// idle fills in how long nothing has moved on the sessions at these places of the list.
func (l *loop) idle(sessions []*Session, at []int, idle []time.Duration) {
	done := make(chan []time.Duration, 1)
	l.post(command{do: func(l *loop) {
		found := make([]time.Duration, len(at))
		for n, i := range at {
			s := sessions[i]
			if slot := s.slot - 1; slot >= 0 && l.at(slot).session == s {
				found[n] = l.now - l.at(slot).last
			}
		}
		done <- found
	}})
	select {
	case found := <-done:
		for n, i := range at {
			idle[i] = found[n]
		}
	case <-l.gone: // with all its sessions
	}
}
