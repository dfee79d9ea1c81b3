//go:build linux

package main

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// How clients behave: a pause between two writes, and before they connect again after an error. They have no timeouts: who is
// to end a session on a server that is silent is the proxy.
const (
	think = 100 * time.Millisecond
	again = 50 * time.Millisecond
)

// clients write through the proxy until they are stopped.
type clients struct {
	each   bool // a session for each write
	cancel context.CancelFunc
	work   sync.WaitGroup

	mu       sync.Mutex
	writes   []write
	failed   []failure
	sessions []*session
}

// write is one that the server has confirmed.
type write struct {
	server    string
	begun, at time.Time
}

type failure struct {
	at  time.Time
	err error
}

// session is one connection that a server has answered on.
type session struct {
	server string
	closed time.Time // zero while it lives
}

// startClients has n clients write until stop.
func startClients(n int, each bool) *clients {
	ctx, cancel := context.WithCancel(context.Background())
	c := &clients{each: each, cancel: cancel}
	for i := range n {
		c.work.Go(func() {
			pause(ctx, think*time.Duration(i)/time.Duration(n)) // they are not in step
			for ctx.Err() == nil {
				if err := c.talk(ctx); err != nil && ctx.Err() == nil {
					c.note(func() { c.failed = append(c.failed, failure{time.Now(), err}) })
					pause(ctx, again)
				}
			}
		})
	}
	return c
}

func (c *clients) note(what func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	what()
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// talk is one session: of writes until something is wrong, or of a single one.
func (c *clients) talk(ctx context.Context) error {
	begun := time.Now()
	conn, err := pgconn.Connect(ctx, conninfo(frontHost, frontPort))
	if err != nil {
		return err
	}
	var s *session
	defer func() {
		if s != nil && ctx.Err() == nil {
			c.note(func() { s.closed = time.Now() })
		}
		over, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = conn.Close(over)
	}()
	for ctx.Err() == nil {
		server, err := insert(ctx, conn)
		var refused *pgconn.PgError
		switch {
		case err == nil:
			c.note(func() {
				if s == nil {
					s = &session{server: server}
					c.sessions = append(c.sessions, s)
				}
				c.writes = append(c.writes, write{server, begun, time.Now()})
			})
		case errors.As(err, &refused) && refused.Code == "25006": // read only: an application's pool would keep the connection, too
			c.note(func() { c.failed = append(c.failed, failure{time.Now(), err}) })
		default:
			return err
		}
		if c.each {
			over := conn.Close(ctx)
			pause(ctx, think)
			return over
		}
		pause(ctx, think)
		begun = time.Now()
	}
	return nil
}

// insert writes a row and says where.
func insert(ctx context.Context, conn *pgconn.PgConn) (server string, err error) {
	results, err := conn.Exec(ctx, "INSERT INTO written VALUES (host(inet_server_addr())) RETURNING at").ReadAll()
	if err != nil {
		return "", err
	}
	if len(results) != 1 || len(results[0].Rows) != 1 {
		return "", errors.New("it does not say where it was written")
	}
	return string(results[0].Rows[0][0]), nil
}

func (c *clients) stop() {
	c.cancel()
	c.work.Wait()
}

// count is how many writes a server has confirmed since.
func (c *clients) count(server string, since time.Time) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.writes {
		if w.server == server && w.at.After(since) {
			n++
		}
	}
	return n
}

// open is how many sessions on a server live.
func (c *clients) open(server string) (n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		if s.server == server && s.closed.IsZero() {
			n++
		}
	}
	return n
}
