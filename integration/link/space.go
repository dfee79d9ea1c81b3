//go:build linux

// Package link makes networks for tests: namespaces, and links between them that delay, lose, repeat, damage and hold back
// packets. A link is a pair of TUN devices and this process between them, so that it needs no netem, has no offload that makes
// one packet of many, and is told by a seed.
//
//	a, err := link.NewSpace()
//	b, err := link.NewSpace()
//	l, err := link.Join(
//		link.End{Space: a, Device: "left", Address: netip.MustParsePrefix("10.1.0.1/30")},
//		link.End{Space: b, Device: "right", Address: netip.MustParsePrefix("10.1.0.2/30")},
//		link.Faults{Delay: 5 * time.Millisecond, Loss: 0.005}, seed)
//	b.Do(func() error { ln, err = net.Listen("tcp", "10.1.0.2:80"); return err })
//
// It needs CAP_SYS_ADMIN and CAP_NET_ADMIN.
package link

import (
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// Space is a network namespace.
type Space struct{ file *os.File }

// NewSpace makes a network namespace with its loopback device up. It lives until it is closed and the last socket, device
// and process in it are gone.
func NewSpace() (*Space, error) {
	var s *Space
	err := onThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("make a network namespace: %w", err)
		}
		if s, err = current(); err != nil {
			return err
		}
		return up("lo")
	})
	return s, err
}

// NamedSpace opens the namespace of a name, as `ip netns add` makes it.
func NamedSpace(name string) (*Space, error) {
	f, err := os.Open("/run/netns/" + name)
	if err != nil {
		return nil, err
	}
	return &Space{f}, nil
}

func current() (*Space, error) {
	f, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return nil, err
	}
	return &Space{f}, nil
}

// Close lets the namespace go.
func (s *Space) Close() { _ = s.file.Close() }

// Do calls f on a thread that is in the namespace. Sockets that f makes and processes that it starts stay there; goroutines
// that it starts do not.
func (s *Space) Do(f func() error) error {
	return onThread(func() error {
		if err := unix.Setns(int(s.file.Fd()), unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("enter the network namespace: %w", err)
		}
		return f()
	})
}

// onThread calls f on a thread that goes back to its namespace afterwards. One that cannot is not used again.
func onThread(f func() error) (err error) {
	runtime.LockOSThread()
	home, err := current()
	if err != nil {
		runtime.UnlockOSThread()
		return err
	}
	defer func() {
		back := unix.Setns(int(home.file.Fd()), unix.CLONE_NEWNET)
		home.Close()
		if back == nil {
			runtime.UnlockOSThread()
		}
		err = errors.Join(err, back)
	}()
	return f()
}
