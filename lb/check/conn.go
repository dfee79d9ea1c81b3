package check

import (
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"
)

// conn is the connection of a probe: it ends with the probe's context, and gives no more bytes than a sound server sends.
type conn struct {
	net.Conn
	left   int    // bytes that may still be read
	broken error  // what ended reading; some drivers keep it to themselves
	untie  func() // the context has no say any more, when it returns
}

// mostBytes is what a probe reads at most of one connection, far more than any server needs for an answer.
const mostBytes = 256 << 10

var errTooMuch = errors.New("the server sends too much for an answer")

// bound ties c to ctx.
func bound(ctx context.Context, c net.Conn) *conn {
	if deadline, ok := ctx.Deadline(); ok {
		_ = c.SetDeadline(deadline)
	}
	cut := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		_ = c.SetDeadline(time.Unix(1, 0))
		close(cut)
	})
	return &conn{Conn: c, left: mostBytes, untie: sync.OnceFunc(func() {
		if !stop() {
			<-cut
		}
	})}
}

// SetDeadline is for who takes the connection over from its context.
func (c *conn) SetDeadline(t time.Time) error {
	c.untie()
	return c.Conn.SetDeadline(t)
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
	c.untie()
	return c.Conn.Close()
}

// A server that greets first (MySQL, SMTP, SSH), or sends after its last word (the tickets of TLS), has sent bytes by the
// time the probe closes, and closing a socket with unread bytes sends a reset. So the probe says FIN, reads what there is
// until the server's own FIN, and only then closes; a server that does neither in time, or talks on and on, is left.
const (
	politeTime  = 100 * time.Millisecond
	politeBytes = 64 << 10
)

// finishing is the context of a conversation that does harm when it breaks off: who cancels ctx, because ebb stops or the peer is
// gone, leaves it politeTime to come to its end.
func finishing(ctx context.Context) (context.Context, context.CancelFunc) {
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	if deadline, ok := ctx.Deadline(); ok {
		own, cancel = context.WithDeadline(own, deadline)
	}
	stop := context.AfterFunc(ctx, func() {
		select {
		case <-own.Done():
		case <-time.After(politeTime):
			cancel()
		}
	})
	return own, func() {
		stop()
		cancel()
	}
}

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
