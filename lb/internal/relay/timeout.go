package relay

import (
	"cmp"
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
	left, w := s.now()
	if w == end.None {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.ended:
	case s.timer == nil:
		s.timer = time.AfterFunc(left, s.expire)
	default:
		s.timer.Reset(left)
	}
}

// disarm makes sure that no timer is armed from now on.
func (s *Session) disarm() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ended = true
	if s.timer != nil {
		s.timer.Stop()
	}
}

// expire runs when the timer fires: it ends the session, or sleeps for what is left.
func (s *Session) expire() {
	left, w := s.now()
	switch {
	case w == end.None:
	case left <= 0:
		s.Kill(w)
	default:
		s.arm()
	}
}

// now is left of a session that no loop carries.
func (s *Session) now() (time.Duration, end.Word) {
	age, done := time.Since(s.born), s.finished.Load()
	still := age - time.Duration(s.last.Load())
	left, w := s.left(age, still, done&clientDone != 0, done&serverDone != 0)
	if s.reached.Load() == 0 || done != 0 {
		return left, w
	}
	return s.untilQuiet(left, w, still, s.atRest)
}

// left is how long the session may stay as it is, and the end that follows; with end.None it is for ever. It is so old, and
// nothing has moved for still; each side may have finished.
func (s *Session) left(age, still time.Duration, clientDone, serverDone bool) (time.Duration, end.Word) {
	left, word := time.Duration(1<<63-1), end.None
	within := func(limit, passed time.Duration, w end.Word) {
		if limit > 0 && limit-passed < left {
			left, word = limit-passed, w
		}
	}
	within(s.MaxAge, age, end.MaxAge)
	if s.hearing.Load() {
		within(cmp.Or(s.HeaderTimeout, s.HelloTimeout), age, end.PrereadTimeout)
	}
	reached := time.Duration(s.reached.Load())
	if reached == 0 {
		within(s.ConnectDeadline, age, end.ConnectTimeout)
		return left, word
	}
	if s.firstByte.Load() == 0 && !serverDone {
		within(s.FirstByteTimeout, age-reached, end.FirstByteTimeout)
	}
	within(s.IdleTimeout, still, end.Idle)
	if clientDone || serverDone {
		within(s.HalfCloseTimeout, still, end.HalfCloseTimeout)
	}
	return left, word
}
