package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	demoWorkers  = 4                     // of short connections
	demoPace     = 20 * time.Millisecond // between the connections of one worker: 200/s in all
	demoSessions = 6                     // long ones at a time
	demoBeat     = 50 * time.Millisecond // between two exchanges of a long session
	demoPatience = 5 * time.Second       // a step that takes longer has failed
	demoChunk    = 2048                  // bytes of one exchange, at most
)

// demoLoad is the client: short connections and datagrams at a steady pace, and a few long sessions that live through several
// changes of the name. It trusts nobody: every connection must meet a backend that says its name, give back every byte,
// and end with a FIN.
type demoLoad struct {
	addr      string
	datagrams string   // where UDP goes
	names     []string // what a backend may say

	mu       sync.Mutex
	sum      demoCount
	failures []error // the first few
}

// demoCount is what the client has seen.
type demoCount struct {
	connections, failed int
	datagrams, lost     int            // by UDP, and those that had no answer, or a wrong one
	bytes               int64          // sent, come back and compared
	long                int            // long sessions that live
	met                 map[string]int // connections by who answered
}

func newDemoLoad(addr, datagrams netip.AddrPort, names []string) *demoLoad {
	return &demoLoad{addr: addr.String(), datagrams: datagrams.String(), names: names, sum: demoCount{met: make(map[string]int)}}
}

func (l *demoLoad) count() demoCount {
	l.mu.Lock()
	defer l.mu.Unlock()
	sum := l.sum
	sum.met = maps.Clone(sum.met)
	return sum
}

// add counts; change is called with the lock held.
func (l *demoLoad) add(change func(*demoCount)) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change(&l.sum)
}

// fail counts a connection that has failed.
func (l *demoLoad) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.failed++
	l.noteLocked(err)
}

// noteLocked keeps the first few failures.
func (l *demoLoad) noteLocked(err error) {
	const most = 10
	if len(l.failures) < most {
		l.failures = append(l.failures, err)
	}
}

// failed lists the first failures.
func (l *demoLoad) failed() []error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.failures)
}

func (l *demoLoad) verdict() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch {
	case l.sum.failed == 0 && l.sum.lost == 0:
		return nil
	case l.sum.failed == 0:
		return fmt.Errorf("%d of %d datagrams are lost, the first with: %w", l.sum.lost, l.sum.datagrams, l.failures[0])
	}
	return fmt.Errorf("%d of %d connections failed, the first with: %w", l.sum.failed, l.sum.connections, l.failures[0])
}

// run loads until ctx is done, then ends every session as it should end, and returns when the last one has.
func (l *demoLoad) run(ctx context.Context) {
	var clients sync.WaitGroup
	for range demoWorkers {
		clients.Go(func() { l.shorts(ctx) })
	}
	for range demoSessions {
		clients.Go(func() { l.longs(ctx) })
	}
	for range demoAskers {
		clients.Go(func() { l.asks(ctx) })
	}
	clients.Wait()
}

// shorts makes one connection after the other.
func (l *demoLoad) shorts(ctx context.Context) {
	tick := time.NewTicker(demoPace)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			l.connection((*demoDialog).exchange)
		case <-ctx.Done():
			return
		}
	}
}

// longs makes one long session after the other, each of another length, so that old epochs are held and let go.
func (l *demoLoad) longs(ctx context.Context) {
	for ctx.Err() == nil {
		length := time.Second + rand.N(9*time.Second)
		l.add(func(n *demoCount) { n.long++ })
		l.connection(func(d *demoDialog) error { return d.beat(ctx, length) })
		l.add(func(n *demoCount) { n.long-- })
	}
}

// connection makes one connection and counts it.
func (l *demoLoad) connection(talk func(*demoDialog) error) {
	l.add(func(n *demoCount) { n.connections++ })
	if err := l.converse(talk); err != nil {
		l.fail(err)
	}
}

func (l *demoLoad) converse(talk func(*demoDialog) error) error {
	c, err := net.DialTimeout("tcp", l.addr, demoPatience)
	if err != nil {
		return err
	}
	defer c.Close()
	d := &demoDialog{load: l, conn: c.(*net.TCPConn), in: bufio.NewReader(c)}
	if err := d.greeting(); err != nil {
		return err
	}
	err = talk(d)
	if err == nil {
		err = d.farewell()
	}
	if err != nil {
		return fmt.Errorf("%s: %w", d.backend, err)
	}
	return nil
}

// demoDialog is one connection that lives.
type demoDialog struct {
	load    *demoLoad
	conn    *net.TCPConn
	in      *bufio.Reader
	backend string // who answers
}

func (d *demoDialog) patience() { _ = d.conn.SetDeadline(time.Now().Add(demoPatience)) }

// greeting reads who the backend says it is.
func (d *demoDialog) greeting() error {
	d.patience()
	line, err := d.in.ReadString('\n')
	if err != nil {
		return fmt.Errorf("no backend said its name: %w", err)
	}
	d.backend = strings.TrimSuffix(line, "\n")
	if !slices.Contains(d.load.names, d.backend) {
		return fmt.Errorf("a stranger answered: %.40q", d.backend)
	}
	d.load.add(func(n *demoCount) { n.met[d.backend]++ })
	return nil
}

// exchange sends random bytes and compares what comes back.
func (d *demoDialog) exchange() error {
	d.patience()
	sent := make([]byte, 1+rand.IntN(demoChunk))
	for i := range sent {
		sent[i] = byte(rand.Uint32())
	}
	if _, err := d.conn.Write(sent); err != nil {
		return err
	}
	got := make([]byte, len(sent))
	if n, err := io.ReadFull(d.in, got); err != nil {
		return fmt.Errorf("%d of %d bytes came back: %w", n, len(sent), err)
	}
	if !bytes.Equal(sent, got) {
		return errors.New("other bytes came back than were sent")
	}
	d.load.add(func(n *demoCount) { n.bytes += int64(len(sent)) })
	return nil
}

// beat exchanges again and again for a time, or until ctx is done.
func (d *demoDialog) beat(ctx context.Context, length time.Duration) error {
	end := time.NewTimer(length)
	defer end.Stop()
	tick := time.NewTicker(demoBeat)
	defer tick.Stop()
	for {
		if err := d.exchange(); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-end.C:
			return nil
		case <-ctx.Done():
			return nil
		}
	}
}

// farewell closes one direction and expects that the other is closed too, with nothing more in it.
func (d *demoDialog) farewell() error {
	d.patience()
	if err := d.conn.CloseWrite(); err != nil {
		return err
	}
	rest, err := io.ReadAll(io.LimitReader(d.in, demoChunk))
	if err != nil {
		return fmt.Errorf("no clean end: %w", err)
	}
	if len(rest) > 0 {
		return fmt.Errorf("%d bytes came that nobody sent", len(rest))
	}
	return nil
}
