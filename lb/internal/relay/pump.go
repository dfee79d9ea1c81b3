package relay

import (
	"errors"
	"io"
	"os"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// bufferSize is what one read takes at most. 64 KiB is where larger buffers stop to pay on loopback.
const bufferSize = 64 << 10

var buffers = sync.Pool{New: func() any { return new([bufferSize]byte) }}

// pump moves bytes from one socket to the other until EOF, which it passes on, or until either fails. done is this
// direction's bit in s.finished; fromReset and toReset are the words for an abort of either side.
func (s *Session) pump(from, to sock.Conn, moved *atomic.Int64, done uint32, fromReset, toReset end.Word) {
	speaker := client
	if done == serverDone {
		speaker = server
	}
	r, err := newReader(from)
	for err == nil {
		var buf *[bufferSize]byte
		var n int
		if buf, n, err = r.read(); err != nil {
			break
		}
		s.touch()
		if done == serverDone && s.firstByte.Load() == 0 {
			s.firstByte.Store(s.last.Load())
		}
		s.heard.begin(speaker, buf[:n])
		written, werr := to.Write(buf[:n])
		moved.Add(int64(written))
		buffers.Put(buf)
		if werr != nil {
			s.cut(werr, toReset)
			return
		}
		s.touch()
		s.heard.end()
	}
	switch other := (clientDone | serverDone) &^ done; {
	case err != io.EOF:
		s.cut(err, fromReset)
		return
	case r.gone && s.finished.Load()&other == 0:
		// The kernel reports a reset once. If a write of the other direction had it, the next read looks like an end (R3).
		// A connection that is gone although we have not sent our FIN has not ended, it was cut.
		s.Kill(fromReset)
		return
	}
	s.finish(done)
	// ENOTCONN: the other side has aborted meanwhile; its own direction finds that out and says so.
	_ = to.CloseWrite()
}

// cut ends the session because a socket failed. A deadline means that Kill was here first.
func (s *Session) cut(err error, w end.Word) {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	s.Kill(w)
}

// reader reads from a socket with a buffer that it borrows only when bytes are there.
type reader struct {
	raw  syscall.RawConn
	step func(fd uintptr) bool
	buf  *[bufferSize]byte
	n    int
	err  error
	gone bool // at the end of the stream there was no connection any more
}

func newReader(c sock.Conn) (*reader, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	r := &reader{raw: raw}
	r.step = r.try // one closure for the session, not one for each read
	return r, nil
}

// read waits for bytes. The caller puts the buffer back. At the end of the stream the error is io.EOF.
func (r *reader) read() (*[bufferSize]byte, int, error) {
	if err := r.raw.Read(r.step); err != nil {
		return nil, 0, err
	}
	if r.err == nil && r.n > 0 {
		return r.buf, r.n, nil
	}
	if r.err == nil {
		r.err = io.EOF
	}
	return nil, 0, r.err
}

// try is called by the runtime's poller; false means wait until the socket is readable.
func (r *reader) try(fd uintptr) bool {
	buf := buffers.Get().(*[bufferSize]byte)
	for {
		r.n, r.err = syscall.Read(int(fd), buf[:])
		if r.err != syscall.EINTR {
			break
		}
	}
	if r.n > 0 && r.err == nil {
		r.buf = buf
		return true
	}
	buffers.Put(buf)
	if r.n == 0 && r.err == nil {
		_, err := syscall.Getpeername(int(fd))
		r.gone = err != nil // ENOTCONN, or EINVAL on some systems
	}
	return r.err != syscall.EAGAIN
}
