package relay

import (
	"encoding/binary"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Quiet is the wish that sessions end, with end.Drained, when they are quiet: both sides are there, all bytes are passed on,
// the peer has spoken last or nobody has, and nothing has moved since for the time that it names. Where bytes can be read,
// an open transaction of PostgreSQL or Redis is not quiet.
//
// Sessions share a wish, which is taken back from all of them at once. A session obeys one at a time.
type Quiet struct {
	after time.Duration
	off   atomic.Bool
}

// NewQuiet makes a wish for sessions on which nothing has moved for this long.
func NewQuiet(after time.Duration) *Quiet { return &Quiet{after: after} }

// TakeBack ends the wish. Sessions live on.
func (q *Quiet) TakeBack() { q.off.Store(true) }

// EndWhenQuiet gives a connected session the wish, unless that is taken back or the session has another that is not. Any
// goroutine may call it.
func (s *Session) EndWhenQuiet(q *Quiet) {
	for {
		old := s.quiet.Load()
		if q.off.Load() || old != nil && !old.off.Load() {
			return
		}
		if s.quiet.CompareAndSwap(old, q) {
			break
		}
	}
	if l := s.loop.Load(); l != nil {
		l.post(command{session: s, rearm: true})
		return
	}
	s.arm()
}

// untilQuiet adds the wish to what is left of a relaying session. One that is not at rest is looked at again.
func (s *Session) untilQuiet(left time.Duration, w end.Word, still time.Duration, atRest func() bool) (time.Duration, end.Word) {
	q := s.quiet.Load()
	if q == nil || q.off.Load() {
		return left, w
	}
	wait := q.after
	if atRest() {
		wait -= still
	}
	if w != end.None && left <= wait {
		return left, w
	}
	return wait, end.Drained
}

// talk is what is known of a conversation: who spoke last, and how the last bytes of each side read. It is kept from the
// first byte on, for what was said before a wish comes cannot be asked for any more.
type talk struct {
	last  side // plus one; 0 while nobody has spoken
	ready byte // of PostgreSQL: the status of its last ReadyForQuery, or running; 0 if none was ever seen
	tail  [2]uint64
}

// running stands for a PostgreSQL that has been asked for something since its last ReadyForQuery.
const running = '?'

// hear takes what one side has said.
func (t *talk) hear(from side, b []byte) {
	t.last = from + 1
	tail := &t.tail[from]
	if n := len(b); n >= 8 {
		*tail = binary.BigEndian.Uint64(b[n-8:])
	} else {
		for _, c := range b {
			*tail = *tail<<8 | uint64(c)
		}
	}
	switch {
	case from == client && t.ready != 0:
		t.ready = running
	case from == server && *tail>>8&(1<<40-1) == 'Z'<<32|5: // ReadyForQuery: 'Z', the length 5, and the status
		t.ready = byte(*tail)
	}
}

// pass takes that one side has said something which nobody has read.
func (t *talk) pass(from side) { *t = talk{last: from + 1} }

// atRest tells that the peer owes no answer and holds no transaction open, as far as can be known.
func (t *talk) atRest() bool {
	const (
		queued = uint64('Q')<<56 | 'U'<<48 | 'E'<<40 | 'U'<<32 | 'E'<<24 | 'D'<<16 | '\r'<<8 | '\n'
		ok     = uint64('+')<<32 | 'O'<<24 | 'K'<<16 | '\r'<<8 | '\n'
		multi  = uint64('M')<<48 | 'U'<<40 | 'L'<<32 | 'T'<<24 | 'I'<<16 | '\r'<<8 | '\n'
		upper  = uint64(0xdfdfdfdfdf)<<16 | 0xffff // letters as capitals
	)
	switch {
	case t.last == client+1:
		return false
	case t.ready != 0:
		return t.ready == 'I'
	}
	said, asked := t.tail[server], t.tail[client]
	return said != queued && (said&(1<<40-1) != ok || asked&upper != multi)
}

// heard is the talk of a session that no loop carries, and how many writes are under way.
type heard struct {
	mu      sync.Mutex
	talk    talk
	writing int
}

func (h *heard) begin(from side, b []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writing++
	h.talk.hear(from, b)
}

func (h *heard) end() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.writing--
}

func (h *heard) atRest() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.writing == 0 && h.talk.atRest()
}

// atRest is for a session that no loop carries.
func (s *Session) atRest() bool { return s.heard.atRest() && !unread(s.client) && !unread(s.server) }

func unread(c sock.Conn) (is bool) {
	raw, err := c.SyscallConn()
	if err != nil {
		return true
	}
	err = raw.Control(func(fd uintptr) { is = sock.Unread(int(fd)) })
	return is || err != nil
}
