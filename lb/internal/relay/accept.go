package relay

import (
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Back-off after an accept that failed for lack of resources: such a failure returns at once, so a loop without a pause
// spins (more than a million failed accepts in two seconds were measured).
const (
	backoffMin = 5 * time.Millisecond
	backoffMax = time.Second
)

// Acceptor accepts connections until it is closed. No error ends it.
type Acceptor struct {
	ln     sock.Listener
	wish   atomic.Pointer[sock.Options] // of connections
	closed chan struct{}
	once   sync.Once
}

// NewAcceptor takes ownership of ln, which was made with the options.
func NewAcceptor(ln sock.Listener, o *sock.Options) *Acceptor {
	a := &Acceptor{ln: ln, closed: make(chan struct{})}
	a.wish.Store(o)
	return a
}

// Retune changes what is asked for on the sockets of clients that come from then on.
func (a *Acceptor) Retune(now *sock.Options) {
	was := a.wish.Swap(now)
	if raw, err := a.ln.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { was.Retune(int(fd), now) })
	}
}

// Run hands each connection to serve, which owns it and must not block, and each failure's reason to failed. It returns
// after Close.
func (a *Acceptor) Run(serve func(sock.Conn), failed func(reason string)) {
	backoff := backoffMin
	for {
		accepted, err := a.ln.Accept()
		if err == nil {
			backoff = backoffMin
			c := accepted.(sock.Conn)
			a.wish.Load().Settle(c)
			serve(c)
			continue
		}
		if errors.Is(err, net.ErrClosed) {
			return
		}
		reason := sock.AcceptReason(err)
		if reason == "" {
			continue
		}
		failed(reason)
		select {
		case <-a.closed:
			return
		case <-time.After(backoff):
		}
		backoff = min(2*backoff, backoffMax)
	}
}

// Close stops accepting. Connections that were handed out are not touched.
func (a *Acceptor) Close() {
	a.once.Do(func() {
		close(a.closed)
		_ = a.ln.Close()
	})
}
