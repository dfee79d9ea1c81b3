//go:build linux

package integration

import (
	"bytes"
	"fmt"
	"io"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// load is clients that come and go against echo servers, and some that stay for as long as the load does.
type load struct {
	conns, failed atomic.Int64 // short sessions
	t             *testing.T
	quit          chan struct{}
	wg            sync.WaitGroup
}

const loadWorkers = 10

// startLoad makes rate short sessions a second and holds long ones, each of which says a word now and then and expects it
// back.
func startLoad(t *testing.T, addr netip.AddrPort, rate, long int) *load {
	t.Helper()
	l := &load{t: t, quit: make(chan struct{})}
	visitors := max(1, rate/100) // at each address: one that is held up is not all of it
	for w := range loadWorkers {
		from := at(byte(100+w), 0)
		for range visitors {
			l.wg.Go(func() { l.visit(from, addr, time.Second*time.Duration(loadWorkers*visitors)/time.Duration(rate)) })
		}
		for range long / loadWorkers {
			c, err := dialFrom(from, addr)
			if err != nil {
				t.Fatal(err)
			}
			l.wg.Go(func() { l.stay(c) })
		}
	}
	return l
}

// visit makes one short session at each tick. What a slow one has missed is made up for.
func (l *load) visit(from, addr netip.AddrPort, every time.Duration) {
	due := time.Now()
	for tick := time.NewTimer(every); ; tick.Reset(time.Until(due)) {
		select {
		case <-l.quit:
			return
		case <-tick.C:
		}
		due = due.Add(every)
		l.conns.Add(1)
		if err := exchange(from, addr); err != nil && l.failed.Add(1) < 10 {
			l.t.Errorf("connection: %v", err)
		}
	}
}

func exchange(from, addr netip.AddrPort) error {
	c, err := dialFrom(from, addr)
	if err != nil {
		return err
	}
	defer c.Close()
	return c.said("ping")
}

// said sends a word and wants it back.
func (c client) said(word string) error {
	if _, err := io.WriteString(c, word); err != nil {
		return err
	}
	got := make([]byte, len(word))
	if _, err := io.ReadFull(c, got); err != nil {
		return err
	}
	if !bytes.Equal(got, []byte(word)) {
		return fmt.Errorf("said %q, heard %q", word, got)
	}
	return nil
}

// stay holds a session. What it has moved must arrive, whatever becomes of the peer's name.
func (l *load) stay(c client) {
	defer c.Close()
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for n := 0; ; n++ {
		_ = c.SetDeadline(time.Now().Add(patience))
		if err := c.said(fmt.Sprintf("still here %d", n)); err != nil {
			l.t.Errorf("a long session: %v after %d words", err, n)
			return
		}
		select {
		case <-l.quit:
			return
		case <-tick.C:
		}
	}
}

// end stops all clients and says whether one failed.
func (l *load) end(took time.Duration) {
	l.t.Helper()
	close(l.quit)
	l.wg.Wait()
	l.t.Logf("%d connections in %v, %.0f/s", l.conns.Load(), took.Round(time.Millisecond), float64(l.conns.Load())/took.Seconds())
	if n := l.failed.Load(); n != 0 {
		l.t.Errorf("%d of %d connections failed", n, l.conns.Load())
	}
}
