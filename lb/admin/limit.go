package admin

import (
	"errors"
	"net"
	"sync"
)

// limitListener accepts only while fewer than a number of its connections are open; the rest wait in the kernel's queue.
type limitListener struct {
	net.Listener
	room   chan struct{}
	closed chan struct{}
	once   sync.Once
}

func limit(ln net.Listener, n int) *limitListener {
	return &limitListener{Listener: ln, room: make(chan struct{}, n), closed: make(chan struct{})}
}

func (l *limitListener) Accept() (net.Conn, error) {
	select {
	case l.room <- struct{}{}:
	case <-l.closed:
		return nil, net.ErrClosed
	}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		if errors.Is(err, net.ErrClosed) {
			return nil, err
		}
		return nil, passing{err}
	}
	return &limitedConn{Conn: c, room: l.room}, nil
}

// passing is an accept's error after which a server is to wait a little and go on, as net/http does when an error is called
// temporary. The net package calls only some so: one ENOMEM would end the API.
type passing struct{ error }

func (passing) Timeout() bool   { return false }
func (passing) Temporary() bool { return true }

// Close ends an Accept that waits for room, too.
func (l *limitListener) Close() error {
	l.once.Do(func() { close(l.closed) })
	return l.Listener.Close()
}

// limitedConn makes room when it is closed, once.
type limitedConn struct {
	net.Conn
	room chan struct{}
	once sync.Once
}

func (c *limitedConn) Close() error {
	err := c.Conn.Close()
	c.once.Do(func() { <-c.room })
	return err
}
