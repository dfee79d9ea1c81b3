//go:build linux && (amd64 || arm64)

package relay

import (
	"context"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/engine"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// reset is the word for an abort of each side.
var reset = [2]end.Word{end.ClientReset, end.ServerReset}

// phase is where a carried session stands.
//
//	hearing -> connecting | ending
//	connecting -> relaying -> ending
//	connecting <-> parked -> ending
//	connecting -> failing -> connecting | ending
type phase uint8

const (
	unused     phase = iota
	hearing          // what the client has to say first has not come yet
	connecting       // an attempt is under way
	parked           // no attempt until Resume
	failing          // an attempt is lost, its socket is being closed
	relaying         // bytes go both ways
	ending           // both sockets are being closed
)

// carried is a session in a loop's hands. It is the whole cost of an idle one, beside its Session and two records of the
// engine.
type carried struct {
	session  *Session
	director Director
	listener *accepting     // the slot is not a session's but a listener's
	addr     netip.AddrPort // of the attempt under way
	err      error          // why the attempt is lost
	start    time.Duration  // l.now at the accept
	last     time.Duration  // l.now when something moved, or the attempt began
	socket   [2]engine.Socket
	fd       [2]int32
	phase    phase
	word     end.Word
	preread  *preread // while it is heard
	watched  bool     // keepalive is on towards the server
	way      uint8    // of the sources, that the attempt takes
	ways     uint8    // of them that it has not taken
	talk     talk
	half     [2]half
}

// half is what a session knows of one side's socket and of the stream that comes from it.
type half struct {
	open   bool
	eof    bool  // its stream has ended
	passed bool  // its end was passed on to the other side
	full   uint8 // buffers that came full, less what short ones take off
	paused bool  // not received from, until the other side has taken what waits
}

const ownerListener = 1 << 31

func owner(slot int32, sd side) uint32 { return uint32(slot)<<1 | uint32(sd) }

// carry takes over an accepted client.
func (l *loop) carry(s *Session, d Director, fd int) {
	slot, k := l.take()
	*k = carried{session: s, director: d, start: l.now, last: l.now}
	s.slot = slot + 1
	l.open(slot, k, client, fd)
	if !s.prereads() {
		l.connect(slot, k)
		return
	}
	k.phase, k.preread = hearing, new(preread)
	s.hearing.Store(true)
	l.hear(slot, k)
}

// hear learns from what has come, and goes on when that is all of it.
func (l *loop) hear(slot int32, k *carried) {
	if w := k.session.word(); w != end.None { // a kill that came before the loop had the session
		l.finish(slot, k, w)
		return
	}
	if l.scratch == nil {
		l.scratch = make([]byte, prereadSize)
	}
	done, w := k.preread.read(k.session, k.director, int(k.fd[client]), l.scratch)
	if !done {
		l.engine.Await(k.socket[client])
		l.rearm(slot, k)
		return
	}
	k.preread = nil
	k.session.hearing.Store(false)
	if w != end.None {
		l.finish(slot, k, w)
		return
	}
	l.connect(slot, k)
}

func (l *loop) open(slot int32, k *carried, sd side, fd int) {
	k.socket[sd], k.fd[sd] = l.engine.Attach(fd, owner(slot, sd)), int32(fd)
	k.half[sd].open = true
}

// received takes what came from one side.
func (l *loop) received(k *carried, from side, c *engine.Completion) {
	slot := k.session.slot - 1
	if k.phase != relaying {
		if c.Result > 0 {
			l.engine.Release(c.Buffer)
		}
		return
	}
	to := 1 - from
	switch {
	case c.Result > 0:
		k.last = l.now
		k.talk.hear(from, l.engine.Bytes(c.Buffer)[:c.Result])
		if s := k.session; from == server && s.firstByte.Load() == 0 {
			s.firstByte.Store(int64(max(1, l.now-k.start)))
		}
		l.engine.Send(k.socket[to], c.Buffer, int(c.Result))
		if k.half[from].isBulk(c.Full) {
			l.engine.Carry(k.socket[from], k.socket[to])
			return
		}
		if !k.half[from].paused && l.engine.Queued(k.socket[to]) >= l.engine.Room() {
			k.half[from].paused = true
			l.engine.Stats().Pause()
			l.engine.Pause(k.socket[from])
		}
	case c.Result == 0 && !k.half[to].passed && sock.Gone(int(k.fd[from])):
		// The kernel reports a reset once. If a send had it, the next receive looks like an end (R3). A connection that is
		// gone although we have not sent our FIN has not ended, it was cut.
		l.cut(slot, k, reset[from])
	case c.Result == 0:
		if !k.half[to].eof && from == client {
			k.session.finished.Store(clientDone | clientFirst)
		}
		k.half[from].eof, k.last = true, l.now
		l.rearm(slot, k)
		l.pass(slot, k, from)
	default:
		l.cut(slot, k, reset[from])
	}
}

// A stream is bulk when it has filled so many buffers: 256 KiB of the default size. One that is not full takes some off again,
// but not all: what a socket holds comes in pieces of up to 64 KiB less a few bytes, so that even of the fastest stream every
// fourth buffer may be short. Messages of up to three buffers never make it.
const (
	bulk  = 16
	short = 2
)

// isBulk counts a buffer that was received, and tells whether it makes the stream bulk.
func (h *half) isBulk(full bool) bool {
	if !full {
		h.full = max(h.full, short) - short
		return false
	}
	if h.full++; h.full < bulk {
		return false
	}
	h.full = 0
	return true
}

// sent takes what one side's socket did with what was queued for it.
func (l *loop) sent(k *carried, to side, c *engine.Completion) {
	switch { // counted first: the session's end may stand before this completion in the same turn
	case c.Result > 0 && to == server:
		k.session.In.Add(int64(c.Result))
	case c.Result > 0:
		k.session.Out.Add(int64(c.Result))
	}
	if k.phase != relaying {
		return
	}
	slot, from := k.session.slot-1, 1-to
	if c.Result < 0 {
		l.cut(slot, k, reset[to])
		return
	}
	k.last = l.now
	if c.Unread {
		k.talk.pass(from)
	}
	if k.half[from].paused && l.engine.Queued(k.socket[to]) <= l.engine.Room()/2 {
		l.resumed(&k.half[from])
		l.engine.Receive(k.socket[from])
	}
	l.pass(slot, k, from)
}

// resumed ends the pause of a stream, if there is one.
func (l *loop) resumed(h *half) {
	if h.paused {
		h.paused = false
		l.engine.Stats().Resume()
	}
}

// pass passes the end of one side's stream on, once all bytes before it are sent. The session ends when both are.
func (l *loop) pass(slot int32, k *carried, from side) {
	to := 1 - from
	if h := &k.half[from]; !h.eof || h.passed || l.engine.Queued(k.socket[to]) > 0 {
		return
	}
	k.half[from].passed = true
	if k.half[to].passed {
		w := end.ServerFIN
		if k.session.finished.Load()&clientFirst != 0 {
			w = end.ClientFIN
		}
		l.finish(slot, k, w)
		return
	}
	l.engine.Shutdown(k.socket[to])
}

// cut ends the session for a cause. The first cause wins, whoever has it.
func (l *loop) cut(slot int32, k *carried, w end.Word) {
	s := k.session
	s.cause.CompareAndSwap(uint32(end.None), uint32(w))
	switch k.phase {
	case connecting:
		l.fail(slot, k, context.Canceled) // closed goes on to connect, which sees the cause
	case hearing, relaying, parked:
		l.finish(slot, k, s.word())
	}
}

// finish closes both sockets as the end asks for.
func (l *loop) finish(slot int32, k *carried, w end.Word) {
	relayed := k.half[server].open
	l.wheel.Clear(slot)
	l.resumed(&k.half[client])
	l.resumed(&k.half[server])
	k.phase, k.word = ending, w
	rst := w == end.ClientReset || w == end.ServerReset
	if !relayed {
		rst = true
		if take := k.director.Farewell(w); take != nil {
			c := handOver(int(k.fd[client]))
			take(c)
			rst = c == nil
		}
	}
	l.engine.Close(k.socket[client], rst)
	if relayed {
		l.engine.Close(k.socket[server], rst || w.Fences())
	}
}

// handOver makes a connection of its own of a client's descriptor, which the engine closes; nil if that cannot be.
func handOver(fd int) sock.Conn {
	twin, err := unix.FcntlInt(uintptr(fd), unix.F_DUPFD_CLOEXEC, 0)
	if err != nil {
		return nil
	}
	f := os.NewFile(uintptr(twin), "")
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil
	}
	return c.(sock.Conn)
}

// closed is told that a socket is closed.
func (l *loop) closed(slot int32, k *carried, sd side) {
	k.half[sd].open = false
	switch {
	case k.phase == failing && sock.Classify(k.err) == sock.NoSourcePort && k.session.word() == end.None && l.detour(k):
		if !l.attempt(slot, k) {
			l.connect(slot, k)
		}
	case k.phase == failing:
		if k.err != nil {
			k.director.Failed(k.err)
		}
		l.connect(slot, k)
	case !k.half[client].open && !k.half[server].open:
		s, d, w := k.session, k.director, k.word
		l.give(slot)
		s.slot = 0
		l.live.Add(-1)
		d.Done(w)
	}
}
