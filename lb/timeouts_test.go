package lb

import (
	"errors"
	"io"
	"net"
	"os"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// A limit that a reload brings holds for sessions that begin after it.
func TestTO5AReloadBringsMaxAge(t *testing.T) {
	r, _ := one(t, func(*config.Pool) {})
	old := r.dial()
	greeting(t, old)
	r.reloads(func(c *config.Config) { c.Listeners[0].MaxAge = 20 * time.Millisecond }, "listener front: changed max_age")
	for range 3 {
		c, err := net.Dial("tcp", r.addr())
		if err != nil { // reset in the middle of its connect: the peer was not reached that soon
			continue
		}
		c.SetDeadline(time.Now().Add(patience))
		if _, err := io.ReadAll(c); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Error("it lives on")
		}
		c.Close()
	}
	for _, w := range r.awaitEnds(3) {
		if w != "max_age" {
			t.Errorf("end: %s", w)
		}
	}
	if _, err := old.Write([]byte("x")); err != nil {
		t.Error(err)
	}
	if _, err := io.ReadFull(old, make([]byte, 1)); err != nil {
		t.Errorf("the session that was there: %v", err)
	}
	old.Close()
	r.closed()
}

// A client that waits in the queue is bounded by connect_deadline too, and leaves the queue.
func TestTO1ConnectDeadlineCoversTheQueue(t *testing.T) {
	r, _ := one(t, func(p *config.Pool) { p.MaxConns, p.Queue = 1, 3 })
	first := r.dial()
	greeting(t, first)
	r.reloads(func(c *config.Config) { c.Pools[0].ConnectDeadline = 20 * time.Millisecond }, "pool db: changed connect_deadline")
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("no reset: %v", err)
	}
	if ends := r.awaitEnds(1); ends[0] != "connect_timeout" {
		t.Errorf("end: %v", ends)
	}
	r.awaitWaiting(0)
	first.Close()
	r.closed()
}

func TestFirstByteTimeoutIsNotHeldAgainstThePeer(t *testing.T) {
	mute := listenOn(t, "127.0.0.2", 0)
	defer mute.Close()
	r := newRig(t)
	r.pool().Backends = []config.Backend{literal(sock.AddrPort(mute.Addr()))}
	r.pool().FirstByteTimeout = 20 * time.Millisecond
	r.serve()
	for range 4 { // more than would eject it, if it were alone
		if _, err := io.ReadAll(r.dial()); err != nil {
			t.Errorf("the client sees %v, want an end", err)
		}
	}
	for _, w := range r.awaitEnds(4) {
		if w != "first_byte_timeout" {
			t.Errorf("end: %s", w)
		}
	}
	if p := r.status().Peers[0]; p.State != "up" {
		t.Errorf("the peer is %s", p.State)
	}
	r.closed()
}
