//go:build amd64 || arm64

package flow

import (
	"fmt"
	"runtime"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/engine"
)

// completions is the intake by io_uring: one system call brings what has come on all sockets, and sends what is to be sent.
type completions struct {
	owner Owner
	*engine.Datagrams
}

func newCompletions(owner Owner) (*completions, error) {
	d, err := engine.OpenDatagrams()
	if err != nil {
		return nil, fmt.Errorf("engine uring: %w", err)
	}
	return &completions{owner, d}, nil
}

func (c *completions) begin() error {
	runtime.LockOSThread() // the ring is that of a thread, which ends with the goroutine
	return c.Start()
}

func (c *completions) listen(fd int) error {
	c.Take(fd, engine.Listening, 0)
	return nil
}

func (c *completions) deafen(int) { c.Drop(engine.Listening, 0) }

func (c *completions) add(fd int, slot int32) error {
	c.Take(fd, engine.Peer, uint32(slot))
	return nil
}

// hear has nothing to do: every receive asks for control messages.
func (c *completions) hear(int32) {}

func (c *completions) drop(_ int, slot int32) { c.Drop(engine.Peer, uint32(slot)) }

func (c *completions) release() { c.Release() }

func (c *completions) send(fd int, payload []byte, tag int) bool {
	return c.Send(fd, payload, uint32(tag))
}

func (c *completions) reply(fd int, payload, name, control []byte, tag int) bool {
	return c.Reply(fd, payload, name, control, uint32(tag))
}

func (c *completions) turn(timeout time.Duration) []engine.Datagram {
	came := c.Turn(timeout)
	var n, more [2]int
	for i := range came {
		switch d := &came[i]; {
		case d.Unsent || d.Err != 0:
		case d.Coalesced:
			more[d.Kind]++
			fallthrough
		default:
			n[d.Kind]++
		}
	}
	for direction, kind := range [...]engine.Kind{In: engine.Listening, Out: engine.Peer} {
		if n[kind] > 0 {
			c.owner.Received(Direction(direction), n[kind])
		}
		if more[kind] > 0 {
			c.owner.Coalesced(Direction(direction), more[kind])
		}
	}
	return came
}

func (c *completions) rest() { c.Rest() }

func (c *completions) wake() { c.Wake() }

func (c *completions) close() { c.Free() }
