//go:build linux && (amd64 || arm64)

package engine

import (
	"errors"
	"fmt"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// errSilent is a kernel that takes operations and does not do them.
var errSilent = errors.New("no completion within a second")

// Check sends bytes through the engine and back, stops a receive, and closes: all that a session needs, as the kernel
// really does it. A version or a feature bit would not tell of a filter, a sysctl or a patched kernel.
func Check(e Engine) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return fmt.Errorf("socketpair: %w", err)
	}
	defer closeFD(pair[1])
	s := e.Attach(pair[0], 0)
	err = echo(e, s, pair[1])
	e.Pause(s)
	e.Close(s, false)
	if _, cerr := await(e, Closed); err == nil {
		err = cerr
	}
	return err
}

func echo(e Engine, s Socket, peer int) error {
	e.Receive(s)
	e.Turn(0) // armed before there is anything, as most receives are
	word := []byte("ebb")
	if _, err := unix.Write(peer, word); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	c, err := await(e, Received)
	if err != nil {
		return err
	}
	e.Send(s, c.Buffer, int(c.Result))
	if _, err = await(e, Sent); err != nil {
		return err
	}
	var got [4]byte
	if n, err := unix.Read(peer, got[:]); err != nil || string(got[:n]) != string(word) {
		return fmt.Errorf("read %q: %w", got[:max(n, 0)], errors.Join(err, syscall.EPROTO))
	}
	return nil
}

// await turns until the one completion that is due has come.
func await(e Engine, op Op) (Completion, error) {
	for start := time.Now(); time.Since(start) < time.Second; {
		done := e.Turn(100 * time.Millisecond)
		if len(done) == 0 {
			continue
		}
		c := done[0]
		if c.Op != op {
			return c, fmt.Errorf("completion %d, want %d: %w", c.Op, op, syscall.EPROTO)
		}
		return c, c.Err()
	}
	return Completion{}, errSilent
}
