package check

import (
	"context"
	"errors"
	"io"
	"net"
	"time"
)

// conn is the connection of a probe: it ends with the probe's context, and gives no more bytes than a sound server sends.
type conn struct {
	net.Conn
	left   int   // bytes that may still be read
	broken error // what ended reading; some drivers keep it to themselves
	stop   func() bool
}

// mostBytes is what a probe reads at most of one connection, far more than any server needs for an answer.
const mostBytes = 256 << 10

var errTooMuch = errors.New("the server sends too much for an answer")

// bound ties c to ctx.
func bound(ctx context.Context, c net.Conn) *conn {
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	return &conn{Conn: c, left: mostBytes, stop: context.AfterFunc(ctx, func() { _ = c.SetDeadline(time.Unix(1, 0)) })}
}

func (c *conn) Read(p []byte) (int, error) {
	if c.left <= 0 {
		c.broken = errTooMuch
		return 0, errTooMuch
	}
	n, err := c.Conn.Read(p[:min(len(p), c.left)])
	c.left -= n
	if err != nil {
		c.broken = err
	}
	return n, err
}

// CloseWrite says FIN.
func (c *conn) CloseWrite() error {
	if half, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return half.CloseWrite()
	}
	return nil
}

func (c *conn) Close() error {
	c.stop()
	return c.Conn.Close()
}

// A server that greets first (MySQL, SMTP, SSH), or sends after its last word (the tickets of TLS), has sent bytes by the
// time the probe closes, and closing a socket with unread bytes sends a reset. So the probe says FIN, reads what there is
// until the server's own FIN, and only then closes; a server that does neither in time, or talks on and on, is left.
const (
	politeTime  = 100 * time.Millisecond
	politeBytes = 64 << 10
)

// leave ends a connection so that the server sees a plain end, and closes it. What goes wrong here says nothing about the
// peer.
func leave(c interface {
	net.Conn
	CloseWrite() error
}) {
	if c.SetDeadline(time.Now().Add(politeTime)) == nil && c.CloseWrite() == nil {
		_, _ = io.CopyN(io.Discard, c, politeBytes)
	}
	_ = c.Close()
}
