//go:build !linux || !(amd64 || arm64)

package relay

import (
	"errors"
	"net/netip"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// loop is what carries a session on systems that have an engine.
type loop struct{}

type command struct {
	session *Session
	resume  bool
	rearm   bool
}

func (*loop) post(command) {}

func (*loop) idle([]*Session, []int, []time.Duration) {}

// Loops is a set of threads that carry sessions. There is none on this system.
type Loops struct{}

// NewLoops tells that this system has no engine.
func NewLoops(int, string) (*Loops, error) {
	return nil, errors.New("engine: only the portable one is for this system")
}

// Engine is empty.
func (*Loops) Engine() string { return "" }

// Count is none.
func (*Loops) Count() int { return 0 }

// Why is empty.
func (*Loops) Why() string { return "" }

// Counts is zero.
func (*Loops) Counts() (c Counts) { return c }

// Close does nothing.
func (*Loops) Close() {}

// LoopAcceptor accepts connections on every loop. There is none on this system.
type LoopAcceptor struct{}

// Acceptor tells that this system has no engine.
func (*Loops) Acceptor(...sock.Listener) (*LoopAcceptor, error) { return nil, errors.ErrUnsupported }

// Run does nothing.
func (*LoopAcceptor) Run(func(client, local netip.AddrPort, carrier int) (*Session, Director), func(reason string)) {
}

// Retune does nothing.
func (*LoopAcceptor) Retune(_, _ *sock.Options) {}

// Close does nothing.
func (*LoopAcceptor) Close() {}
