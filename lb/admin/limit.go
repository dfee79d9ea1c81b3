package admin

import (
	"net"
	"sync"
)

// limitListener accepts only while fewer than a number of its connections are open; the rest wait in the kernel's queue.
type limitListener struct {
	net.Listener
	room chan struct{}
}

func limit(ln net.Listener, n int) *limitListener {
	return &limitListener{Listener: ln, room: make(chan struct{}, n)}
}

// Accept may wait for room even when the listener is closed. The server makes room then, for it closes its connections.
func (l *limitListener) Accept() (net.Conn, error) {
	l.room <- struct{}{}
	c, err := l.Listener.Accept()
	if err != nil {
		<-l.room
		return nil, err
	}
	return &limitedConn{Conn: c, room: l.room}, nil
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
