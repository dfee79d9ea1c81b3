//go:build amd64 || arm64

package flow

import (
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

func (l *loop) dial(f *Flow) error {
	s := &f.looped
	if i := l.idle.take(l.calm, f); i != nil {
		s.fd, s.slot, f.upstream = i.fd, i.slot, i.upstream
		l.table.owner.Reused()
	} else if err := l.open(f); err != nil {
		return err
	}
	l.flows[s.slot] = f
	l.live++
	s.nameSize = uint8(l.table.conn.ClientName(&s.name, f.Client))
	return nil
}

// open makes a socket for a flow, and takes what comes on it.
func (l *loop) open(f *Flow) error {
	fd, err := sock.Datagram(f.peer, f.dialing(), f.Client.Addr())
	if err != nil && (sock.Shortage(err) != "" || sock.Classify(err) == sock.NoSourcePort) {
		GiveWay()
		if l.hangUpIdle() {
			l.intake.release()
			fd, err = sock.Datagram(f.peer, f.dialing(), f.Client.Addr())
		}
	}
	if err != nil {
		return err
	}
	if len(l.free) == 0 {
		l.free = append(l.free, int32(len(l.flows)))
		l.flows = append(l.flows, nil)
		l.wheel.Grow(len(l.flows))
	}
	last := len(l.free) - 1
	slot := l.free[last]
	if err := l.intake.add(fd, slot); err != nil {
		_ = unix.Close(fd)
		return err
	}
	if f.Class != 0 {
		sock.HearClass(fd)
		l.intake.hear(slot)
	}
	f.looped.fd, f.looped.slot, f.upstream = int32(fd), slot, sock.LocalAddr(fd)
	l.free = l.free[:last]
	return nil
}

// hangUp closes the socket of a slot, which serves nobody and is not idle.
func (l *loop) hangUp(slot, fd int32) {
	l.idle.forget(slot)
	l.free = append(l.free, slot)
	l.wheel.Clear(slot)
	l.intake.drop(int(fd), slot)
	_ = unix.Close(int(fd))
}

// hangUpIdle closes the sockets that are idle, and tells whether there are any.
func (l *loop) hangUpIdle() bool {
	if l.idle.n == 0 {
		return false
	}
	for i := range l.idle.all() {
		l.idle.remove(i)
		l.hangUp(i.slot, i.fd)
	}
	return true
}

func (l *loop) begin(f *Flow) { l.arm(f) }

// arm sets the timer for when the flow would be idle. What moves does not touch it: expire looks for how much is left.
func (l *loop) arm(f *Flow) {
	due := time.Since(l.born) + f.IdleTimeout - f.Idle()
	l.wheel.Set(f.looped.slot, int64((due+tick-1)/tick))
}

func (l *loop) expire(slot int32) {
	switch f := l.flows[slot]; {
	case f == nil:
		i := l.idle.at(slot)
		l.idle.remove(i)
		l.hangUp(slot, i.fd)
	case f.Idle() >= f.IdleTimeout:
		l.end(f, end.Idle)
	default:
		l.arm(f)
	}
}

func (l *loop) cut(f *Flow, w end.Word) { l.end(f, w) }

// end ends a flow, unless it has ended. What it has in the batches is sent before.
func (l *loop) end(f *Flow, w end.Word) {
	s := &f.looped
	if l.flows[s.slot] == f && s.first != 0 {
		l.flush(f)
	}
	if l.flows[s.slot] != f {
		return
	}
	if s.replies > 0 {
		l.flushReplies()
	}
	if !f.cause.CompareAndSwap(uint32(end.None), uint32(w)) {
		w = end.Word(f.cause.Load())
	}
	l.flows[s.slot] = nil
	l.live--
	l.table.forget(f)
	if !l.keep(f) {
		l.hangUp(s.slot, s.fd)
	}
	f.director.Done(w)
}

// keep makes the socket of a flow that has ended idle; false means that it may not be.
func (l *loop) keep(f *Flow) bool {
	if l.table.closing.Load() {
		return false
	}
	i := l.idle.keep(l.calm, f)
	if i != nil {
		l.wheel.Set(i.slot, l.now+i.until-l.calm)
	}
	return i != nil
}

func (l *loop) hearClass() { sock.HearClass(l.fd) }

func (l *loop) killed(f *Flow) {
	l.queue.mu.Lock()
	l.queue.killed = append(l.queue.killed, f)
	l.wakeLocked()
	l.queue.mu.Unlock()
}

func (l *loop) stop() {
	l.queue.mu.Lock()
	l.queue.stop = true
	l.wakeLocked()
	l.queue.mu.Unlock()
}

func (l *loop) drain() {
	l.queue.mu.Lock()
	l.queue.close = true
	running := l.queue.running
	l.queue.over = l.queue.over || !running
	l.wakeLocked()
	l.queue.mu.Unlock()
	if running {
		<-l.gone
	}
}

func (l *loop) close() {
	l.intake.close()
	_ = unix.Close(l.fd)
}

// wakeLocked ends the sleep of the loop, unless it is gone, and its intake with it.
func (l *loop) wakeLocked() {
	if l.queue.over {
		return
	}
	l.intake.wake()
}

// obey does what other goroutines have asked for, and tells whether the loop is over.
func (l *loop) obey() bool {
	l.queue.mu.Lock()
	killed, stop, over := l.queue.killed, l.queue.stop, l.queue.close
	l.queue.killed = nil
	l.queue.mu.Unlock()
	for _, f := range killed {
		l.end(f, end.Word(f.cause.Load()))
	}
	if stop && !l.table.closing.Swap(true) {
		l.hangUpIdle()
		close(l.stopped)
	}
	if !over || l.live > 0 {
		return false
	}
	l.intake.deafen(l.fd)
	l.queue.mu.Lock()
	l.queue.over = true
	l.queue.mu.Unlock()
	return true
}
