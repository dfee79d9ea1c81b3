//go:build linux && (amd64 || arm64)

package engine

import (
	"os"
	"syscall"
	"testing"
)

// TestDescriptorsThatCannotBeWatched has the kernel refuse epoll_ctl, as it does for a file: it is told once, as the failure of
// what was asked for, and the descriptor is closed like any other.
func TestDescriptorsThatCannotBeWatched(t *testing.T) {
	for _, op := range []Op{Accepted, Received} {
		eachEngine(t, Options{}, func(t *testing.T, b *bench) {
			if b.Name() != "epoll" {
				return // has no epoll
			}
			f, err := os.CreateTemp(t.TempDir(), "")
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			fd, err := syscall.Dup(int(f.Fd()))
			if err != nil {
				t.Fatal(err)
			}
			b.next++
			s := b.Attach(fd, b.next)
			if op == Accepted {
				b.Accept(s)
			} else {
				b.Receive(s)
			}
			b.until(func(c Completion) bool {
				if c.Op != op || c.Err() != syscall.EPERM || c.More {
					t.Fatalf("completion %+v", c)
				}
				return true
			})
			b.quiet()
			b.closed(s, b.next)
		})
	}
}
