//go:build linux && (amd64 || arm64)

package relay

import (
	"net"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/engine"
)

// looped carries sessions on loops, which are gone at the end of the test with all that they held.
type looped struct{ *Loops }

func (c looped) serve(t *testing.T, front *net.TCPListener, next func() (*Session, Director)) {
	t.Helper()
	serve := func(netip.AddrPort, netip.AddrPort, int) (*Session, Director) { return next() }
	ll, err := c.Acceptor(front)
	if err != nil {
		t.Fatal(err)
	}
	ll.Run(serve, func(reason string) { t.Errorf("accept failed: %s", reason) })
	t.Cleanup(ll.Close)
}

func eachLoops(t *testing.T, test func(*testing.T, carrier)) {
	t.Helper()
	for _, name := range []string{"epoll", "uring"} {
		t.Run(name, func(t *testing.T) { test(t, newLooped(t, 2, name, engine.Options{})) })
	}
}

func newLooped(t *testing.T, n int, name string, o engine.Options) looped {
	t.Helper()
	ls, err := newLoops(n, name, o)
	if err != nil {
		if name == "uring" && os.Getenv("CI") == "" {
			t.Skipf("not here: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for deadline := time.Now().Add(10 * time.Second); ls.live() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d sessions are left", ls.live())
			}
		}
		for i, l := range ls.loops {
			if n := l.engine.Stats().Stale.Load(); n > 0 && name == "uring" {
				t.Errorf("loop %d: %d stale completions: an operation outlived its socket", i, n)
			}
		}
		ls.Close()
	})
	return looped{ls}
}

// live is how many sessions are carried now.
func (ls *Loops) live() (n int64) {
	for _, l := range ls.loops {
		n += l.live.Load()
	}
	return n
}

// TestBulkIsToldByTheBuffersThatFill has streams by how they come in buffers: F is full, s is short.
func TestBulkIsToldByTheBuffersThatFill(t *testing.T) {
	for _, c := range []struct {
		pattern string
		after   int // buffers; 0 is never
	}{
		{"F", 16},
		{"FFFs", 55}, // 64 KiB at a time, as loopback and GRO make them
		{"FFs", 0},   // messages of up to 48 KiB
		{"FFFFFFFs", 22},
		{"FFFFFFFFFFFFFFFss", 22}, // messages of 240 KiB and more
		{"s", 0},
	} {
		var h half
		after := 0
		for n := 1; n <= 1000 && after == 0; n++ {
			if h.isBulk(c.pattern[(n-1)%len(c.pattern)] == 'F') {
				after = n
			}
		}
		if after != c.after {
			t.Errorf("%s is bulk after %d buffers, expected %d", c.pattern, after, c.after)
		}
	}
}
