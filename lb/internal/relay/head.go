package relay

import (
	"syscall"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/preface"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// head is the header that a client has to send first, while it comes in.
type head struct{ part []byte } // what has come, if that was not all

// read takes what is there of the header off the socket, and not a byte of what follows. Until all of it has come, done is
// false: then nothing is left to be read. A word other than end.None says why there is no header. buf has preface.Max bytes.
func (h *head) read(fd int, buf []byte) (p preface.Header, done bool, w end.Word) {
	for {
		before := copy(buf, h.part)
		n, err := sock.Peek(fd, buf[before:])
		switch {
		case err == syscall.EAGAIN:
			return p, false, end.None
		case err != nil:
			return p, true, end.ClientReset
		case n == 0:
			return p, true, end.ClientFIN
		}
		p, size, err := preface.Parse(buf[:before+n])
		if err != nil {
			return p, true, end.BadHeader
		}
		if size == 0 {
			h.part = append(h.part, buf[before:before+n]...)
			size = before + n
		} else {
			done = true
		}
		if sock.Take(fd, buf[before:size]) != nil {
			return p, true, end.ClientReset
		}
		if done {
			return p, true, end.None
		}
	}
}

// hear waits for the header of the client and tells the director.
func (s *Session) hear(d Director) end.Word {
	raw, err := s.client.SyscallConn()
	if err != nil {
		return end.Internal
	}
	var h head
	var p preface.Header
	var w end.Word
	buf := make([]byte, preface.Max)
	err = raw.Read(func(fd uintptr) (done bool) {
		p, done, w = h.read(int(fd), buf)
		return done
	})
	s.hearing.Store(false)
	switch {
	case s.word() != end.None:
		return s.word()
	case err == nil && w == end.None:
		return d.Header(p)
	case err == nil:
		return w
	}
	return end.ClientReset
}
