// Package farewell tells a client that is turned away why, in the words of its protocol, so that a driver has a reason to
// report and to try again.
//
//	if t.Reserve() {
//		t.Say(conn, farewell.Postgres, farewell.Reason{Busy: true, Word: "limit"})
//	}
//
// The model: a Teller has a goroutine for each client that it talks to, and only so many of them. Whatever a client does or
// does not do, it is gone after a few seconds and a few kilobytes.
//
// It does not decide who is turned away.
package farewell

import (
	"bufio"
	"io"
	"sync"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Dialect is what a client understands.
type Dialect uint8

// The dialects.
const (
	FIN Dialect = iota // the end of the stream, and no word
	Postgres
	MySQL
	Redis
)

// Reason is why a client is turned away.
type Reason struct {
	Busy bool   // too many are here; otherwise there is no server
	Word string // the end word, for people
}

func (r Reason) String() string {
	if r.Busy {
		return "too many connections (ebb: " + r.Word + ")"
	}
	return "no server can be reached (ebb: " + r.Word + ")"
}

const (
	mostClients = 256             // that one Teller talks to at a time
	mostTime    = 3 * time.Second // for one of them
	mostBytes   = 64 << 10        // that one of them is listened to
)

// Teller talks to clients. The zero value is ready; its methods may be called by any goroutine.
type Teller struct {
	mu     sync.Mutex
	places int
	open   map[sock.Conn]struct{}
	closed bool
	all    sync.WaitGroup
}

// Reserve takes a place for one client. If there is one, Say or Cancel follows.
func (t *Teller) Reserve() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed || t.places == mostClients {
		return false
	}
	t.places++
	return true
}

// Cancel gives the place back.
func (t *Teller) Cancel() {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.places--
}

// Say takes ownership of a connection, from which nothing was read. It does not block.
func (t *Teller) Say(c sock.Conn, d Dialect, why Reason) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.closed {
		_ = c.Close()
		return
	}
	if t.open == nil {
		t.open = make(map[sock.Conn]struct{})
	}
	t.open[c] = struct{}{}
	_ = c.SetDeadline(time.Now().Add(mostTime)) // here, so that it is not after that of Close
	t.all.Go(func() {
		say(c, d, why)
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(t.open, c)
		t.places--
	})
}

// Close ends all talk at once and waits for that. Who comes later is not talked to.
func (t *Teller) Close() {
	t.mu.Lock()
	t.closed = true
	for c := range t.open {
		_ = c.SetDeadline(time.Unix(1, 0))
	}
	t.mu.Unlock()
	t.all.Wait()
}

// say has until the connection's deadline.
func say(c sock.Conn, d Dialect, why Reason) {
	defer func() { _ = c.Close() }()
	r := bufio.NewReaderSize(io.LimitReader(c, mostBytes), 512)
	var err error
	switch d {
	case Postgres:
		err = postgres(r, c, why)
	case MySQL:
		_, err = c.Write(mysqlError(why))
	case Redis:
		err = redis(r, c, why)
	}
	if err != nil {
		sock.Abort(c)
		return
	}
	_ = c.CloseWrite()
	// A socket that is closed with bytes unread sends a reset, which may overtake what was said.
	_, _ = io.Copy(io.Discard, r)
}
