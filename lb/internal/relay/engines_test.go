package relay

import (
	"net"
	"testing"
)

// carrier is what the tests run sessions on: the portable twin, or loops.
type carrier interface {
	// serve carries the one client that front accepts.
	serve(t *testing.T, front *net.TCPListener, next func() (*Session, Director))
}

// eachEngine runs a test on every engine that this system has.
func eachEngine(t *testing.T, test func(*testing.T, carrier)) {
	t.Helper()
	t.Run("portable", func(t *testing.T) { test(t, portable{}) })
	eachLoops(t, func(t *testing.T, c carrier) { test(t, c) })
}

type portable struct{}

func (portable) serve(t *testing.T, front *net.TCPListener, next func() (*Session, Director)) {
	c := accept(t, front)
	s, d := next()
	go s.Run(c, d)
}
