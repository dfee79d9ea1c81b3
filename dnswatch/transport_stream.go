package dnswatch

import (
	"bufio"
	"context"
	"crypto/tls"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// errLost is the end of a connection on which a question was waiting.
var errLost = errors.New("connection lost")

// stream asks over one kept connection, TCP or TLS, many questions at a time (RFC 7766). It connects when there is
// something to ask and lets go of what has been idle.
type stream struct {
	wire *wire
	dial func(context.Context) (net.Conn, error)
	idle time.Duration

	mu      sync.Mutex
	conn    *streamConn // the newest; it may have ended
	dialing *dialing    // nil: none
}

// dialing is a connection in the making, which several questions may wait for.
type dialing struct {
	done chan struct{}
	conn *streamConn
	err  error
}

func newTCP(w *wire, s server) *stream {
	to := s.addr.String()
	return &stream{wire: w, idle: idleTCP, dial: func(ctx context.Context) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", to)
	}}
}

func newTLS(w *wire, s server) *stream {
	to, dialer := s.addr.String(), &tls.Dialer{Config: w.tlsConfig(s)}
	return &stream{wire: w, idle: idleTLS, dial: func(ctx context.Context) (net.Conn, error) {
		return dialer.DialContext(ctx, "tcp", to)
	}}
}

// exchange asks once more if the kept connection turns out to have ended: servers close idle ones.
func (s *stream) exchange(ctx context.Context, q query) (*dns.Msg, error) {
	for again := false; ; again = true {
		c, err := s.connection(ctx)
		if err != nil {
			return nil, err
		}
		m, err := c.ask(ctx, q)
		if again || !errors.Is(err, errLost) || !c.proven() {
			return m, err
		}
	}
}

// connection returns the one that is kept, or makes one. Making it goes on when ctx ends: the next question will want it.
func (s *stream) connection(ctx context.Context) (*streamConn, error) {
	s.mu.Lock()
	if c := s.conn; c != nil && c.alive() {
		s.mu.Unlock()
		return c, nil
	}
	d := s.dialing
	if d == nil {
		d = &dialing{done: make(chan struct{})}
		s.dialing = d
		s.wire.running.Go(func() { s.connect(d) })
	}
	s.mu.Unlock()
	select {
	case <-d.done:
		return d.conn, d.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *stream) connect(d *dialing) {
	ctx, cancel := context.WithTimeout(s.wire.ctx, dialTimeout)
	defer cancel()
	conn, err := s.dial(ctx)
	if err == nil {
		d.conn = &streamConn{Conn: conn, idle: s.idle, discard: s.wire.discard, waiting: make(map[uint16]*asker)}
		_ = d.conn.SetReadDeadline(time.Now().Add(s.idle))
	}
	d.err = err
	s.mu.Lock()
	s.dialing = nil
	if err == nil {
		s.conn = d.conn
	}
	s.mu.Unlock()
	close(d.done)
	if err == nil {
		stop := context.AfterFunc(s.wire.ctx, func() { d.conn.fail(net.ErrClosed) })
		defer stop()
		d.conn.read()
	}
}

func (s *stream) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.conn != nil {
		s.conn.fail(net.ErrClosed)
	}
}

// streamConn is one connection with the questions that wait for a reply on it. Its reader routes replies by id.
type streamConn struct {
	net.Conn
	idle    time.Duration
	discard func(reason string)
	writing sync.Mutex

	mu      sync.Mutex
	waiting map[uint16]*asker
	replies int
	err     error // why it has ended; nil while it lives
}

// asker is one question that waits.
type asker struct {
	query
	reply chan received // has room for one
}

type received struct {
	m   *dns.Msg
	err error
}

func (c *streamConn) alive() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err == nil
}

// proven tells that the server has once replied on this connection, so that its end says nothing about the server.
func (c *streamConn) proven() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.replies > 0
}

func (c *streamConn) ask(ctx context.Context, q query) (*dns.Msg, error) {
	a := &asker{q, make(chan received, 1)}
	id, before, err := c.enter(a)
	if err != nil {
		return nil, err
	}
	defer c.leave(id, a)
	packet, err := q.pack(id)
	if err != nil {
		return nil, err
	}
	framed := append(binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(packet)), uint16(len(packet))), packet...)
	deadline, _ := ctx.Deadline()
	c.writing.Lock()
	_ = c.SetWriteDeadline(deadline)
	_, err = c.Write(framed)
	c.writing.Unlock()
	if err != nil {
		c.fail(err) // half a question may be out
	}
	select {
	case r := <-a.reply:
		if r.err != nil && ctx.Err() != nil { // the write ran into the same deadline
			return nil, ctx.Err()
		}
		return r.m, r.err
	case <-ctx.Done():
		if ctx.Err() == context.DeadlineExceeded {
			c.suspect(before)
		}
		return nil, ctx.Err()
	}
}

// enter gives a question an id that no other waits with, and says how many replies there were before.
func (c *streamConn) enter(a *asker) (id uint16, replies int, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.err != nil {
		return 0, 0, fmt.Errorf("%w: %w", errLost, c.err)
	}
	id = randomID()
	for c.waiting[id] != nil { // at most maxRunning wait
		id++
	}
	c.waiting[id] = a
	_ = c.SetReadDeadline(time.Time{})
	return id, c.replies, nil
}

func (c *streamConn) leave(id uint16, a *asker) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.waiting[id] == a {
		delete(c.waiting, id)
	}
	if len(c.waiting) == 0 && c.err == nil {
		_ = c.SetReadDeadline(time.Now().Add(c.idle))
	}
}

// suspect ends a connection on which a question timed out without any reply since: nothing comes through it any more.
func (c *streamConn) suspect(before int) {
	c.mu.Lock()
	silent := c.replies == before
	c.mu.Unlock()
	if silent {
		c.fail(errors.New("nothing came for the time of one attempt"))
	}
}

// fail ends the connection and tells all who wait.
func (c *streamConn) fail(err error) {
	c.mu.Lock()
	if c.err == nil {
		c.err = err
		for id, a := range c.waiting {
			a.reply <- received{err: fmt.Errorf("%w: %w", errLost, err)}
			delete(c.waiting, id)
		}
	}
	c.mu.Unlock()
	c.Conn.Close()
}

// read routes replies until the connection ends.
func (c *streamConn) read() {
	in := bufio.NewReader(c.Conn)
	for {
		var size [2]byte
		if _, err := io.ReadFull(in, size[:]); err != nil {
			c.fail(err)
			return
		}
		buffer := buffers.Get().(*[]byte)
		reply := (*buffer)[:binary.BigEndian.Uint16(size[:])]
		_, err := io.ReadFull(in, reply)
		if err == nil {
			err = c.take(reply)
		}
		buffers.Put(buffer)
		if err != nil {
			c.fail(err)
			return
		}
	}
}

// take hands one message to who waits for it. After an error the connection is of no use: where the next message begins
// is in doubt.
func (c *streamConn) take(reply []byte) error {
	if len(reply) < headerSize {
		c.discard(discardMalformed)
		return fmt.Errorf("%w: a message of %d bytes", errMalformed, len(reply))
	}
	id := binary.BigEndian.Uint16(reply)
	c.mu.Lock()
	a := c.waiting[id]
	c.mu.Unlock()
	if a == nil { // often the answer to a question that has given up
		c.discard(discardID)
		return nil
	}
	m, discard, err := a.verify(reply, id)
	if discard != "" {
		c.discard(discard)
		err = fmt.Errorf("%w: %s over %s", errMalformed, discard, c.LocalAddr().Network())
	}
	c.mu.Lock()
	if c.waiting[id] == a {
		delete(c.waiting, id)
		if err == nil {
			c.replies++
		}
		a.reply <- received{m, err}
	}
	c.mu.Unlock()
	return err
}
