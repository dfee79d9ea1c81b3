package relay

import (
	"syscall"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/preface"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// preread is what is learned from a client before its session looks for a peer: its header is taken off the socket, its
// ClientHello is only looked at.
type preread struct {
	part  []byte // of the header, if that was not all
	heard bool   // all of it
	await int    // bytes that have to be there to know the name
}

// prereadSize is that of the buffer which preread wants.
const prereadSize = max(preface.Max, preface.MaxHello)

// read learns what it can from what is there, and tells the director. Until that was all, done is false. A word other than
// end.None ends the session.
func (p *preread) read(s *Session, d Director, fd int, buf []byte) (done bool, w end.Word) {
	if s.HeaderTimeout > 0 && !p.heard {
		h, done, w := p.header(fd, buf[:preface.Max])
		if !done || w != end.None {
			return done, w
		}
		p.heard = true
		if w := d.Header(h); w != end.None {
			return true, w
		}
	}
	if s.HelloTimeout == 0 {
		return true, end.None
	}
	name, done, w := p.hello(fd, buf[:preface.MaxHello])
	if done && w == end.None {
		d.Hello(name)
	}
	return done, w
}

// header takes what is there of the header off the socket, and not a byte of what follows. While it is not done, nothing is
// left to be read. A word other than end.None says why there is no header.
func (p *preread) header(fd int, buf []byte) (h preface.Header, done bool, w end.Word) {
	for {
		before := copy(buf, p.part)
		n, err := sock.Peek(fd, buf[before:])
		switch {
		case err == syscall.EAGAIN:
			return h, false, end.None
		case err != nil:
			return h, true, end.ClientReset
		case n == 0:
			return h, true, end.ClientFIN
		}
		h, size, err := preface.Parse(buf[:before+n])
		if err != nil {
			return h, true, end.BadHeader
		}
		if size == 0 {
			p.part = append(p.part, buf[before:before+n]...)
			size = before + n
		} else {
			done = true
		}
		if sock.Take(fd, buf[before:size]) != nil {
			return h, true, end.ClientReset
		}
		if done {
			return h, true, end.None
		}
	}
}

// hello looks for the name in the client's ClientHello and leaves that where it is. While it is not done, the socket is not
// readable before there is more to know. A client that ends before, or whose socket cannot hold so much, has no name.
func (p *preread) hello(fd int, buf []byte) (name string, done bool, w end.Word) {
	ended, aborted := sock.Ended(fd) // first: what stands before the end is seen then
	n, err := sock.Peek(fd, buf)
	switch {
	case err == syscall.EAGAIN:
		return "", false, end.None
	case err != nil || aborted:
		return "", true, end.ClientReset
	}
	name, need := preface.Hello(buf[:n])
	if need > 0 && n > 0 && !ended {
		if need == p.await {
			return "", false, end.None
		}
		if p.await = need; sock.AwaitBytes(fd, need) {
			return "", false, end.None
		}
	}
	if p.await > 0 {
		sock.AwaitBytes(fd, 1)
	}
	return name, true, end.None
}

// hear waits for what the client has to say first.
func (s *Session) hear(d Director) end.Word {
	raw, err := s.client.SyscallConn()
	if err != nil {
		return end.Internal
	}
	var p preread
	var w end.Word
	buf := make([]byte, prereadSize)
	err = raw.Read(func(fd uintptr) (done bool) {
		if s.word() != end.None {
			return true
		}
		done, w = p.read(s, d, int(fd), buf)
		return done
	})
	s.hearing.Store(false)
	switch {
	case s.word() != end.None:
		return s.word()
	case err == nil:
		return w
	}
	return end.ClientReset
}
