package relay

import (
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
)

// touch notes that something moved. Timers look at it when they fire, so activity never touches a timer.
func (s *Session) touch() { s.last.Store(int64(time.Since(s.born))) }

// finish notes that one side sent its FIN and puts the session under the half-close timeout.
func (s *Session) finish(done uint32) {
	old := s.finished.Or(done)
	if old == 0 && done == clientDone {
		s.finished.Or(clientFirst)
	}
	s.touch()
	s.arm()
}

// arm sets the timer for the limit that holds now.
func (s *Session) arm() {
	limit, _ := s.limit(s.half())
	if limit == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
	case s.timer == nil:
		s.timer = time.AfterFunc(limit, s.expire)
	default:
		s.timer.Reset(limit)
	}
}

// half tells whether one side has finished.
func (s *Session) half() bool { return s.finished.Load()&(clientDone|serverDone) != 0 }

// limit is how long the session may stay without a byte, and the end that follows; 0 is for ever.
func (o *Options) limit(half bool) (time.Duration, end.Word) {
	idle := o.IdleTimeout
	if half && o.HalfCloseTimeout > 0 && (idle == 0 || o.HalfCloseTimeout < idle) {
		return o.HalfCloseTimeout, end.HalfCloseTimeout
	}
	return idle, end.Idle
}

// expire runs when the timer fires: it ends the session, or sleeps for what is left.
func (s *Session) expire() {
	limit, w := s.limit(s.half())
	if limit == 0 {
		return
	}
	left := limit - (time.Since(s.born) - time.Duration(s.last.Load()))
	if left <= 0 {
		s.Kill(w)
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.ended {
		s.timer.Reset(left)
	}
}
