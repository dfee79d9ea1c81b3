package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"time"
)

const (
	demoAskers   = 4                     // clients of UDP, each with a socket of its own
	demoAskPace  = 20 * time.Millisecond // between the datagrams of one: 200/s in all
	demoDatagram = 1200                  // bytes of one, at most
)

// answer is the UDP half of a backend: each datagram goes back with the backend's name before it.
func (b *demoBackend) answer(ctx context.Context) {
	defer context.AfterFunc(ctx, func() { _ = b.datagrams.Close() })()
	buf := make([]byte, 64<<10)
	for {
		n, from, err := b.datagrams.ReadFromUDPAddrPort(buf)
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case err == nil:
			// What goes wrong, the client sees.
			_, _ = b.datagrams.WriteToUDPAddrPort(append([]byte(b.name+"\n"), buf[:n]...), from)
		}
	}
}

// asks sends one datagram after the other, and each is to come back by way of a backend that says its name.
func (l *demoLoad) asks(ctx context.Context) {
	c, err := net.Dial("udp", l.datagrams)
	if err != nil {
		l.lose(err)
		return
	}
	defer c.Close()
	tick := time.NewTicker(demoAskPace)
	defer tick.Stop()
	for number := uint64(0); ; number++ {
		select {
		case <-tick.C:
			l.add(func(n *demoCount) { n.datagrams++ })
			if err := l.ask(c, number); err != nil {
				l.lose(err)
			}
		case <-ctx.Done():
			return
		}
	}
}

// ask sends one numbered datagram and waits for its answer; what is late of an earlier one is passed over.
func (l *demoLoad) ask(c net.Conn, number uint64) error {
	sent := binary.BigEndian.AppendUint64(nil, number)
	for range rand.IntN(demoDatagram - len(sent)) {
		sent = append(sent, byte(rand.Uint32()))
	}
	_ = c.SetDeadline(time.Now().Add(demoPatience))
	if _, err := c.Write(sent); err != nil {
		return err
	}
	got := make([]byte, 64<<10)
	for {
		n, err := c.Read(got)
		if err != nil {
			return fmt.Errorf("no answer to datagram %d: %w", number, err)
		}
		name, body, _ := bytes.Cut(got[:n], []byte("\n"))
		switch {
		case !slices.Contains(l.names, string(name)):
			return fmt.Errorf("a stranger answered: %.40q", name)
		case bytes.Equal(body, sent):
			return nil
		case len(body) < 8 || binary.BigEndian.Uint64(body) >= number:
			return fmt.Errorf("%s: another datagram came back than was sent", name)
		}
	}
}

// lose counts a datagram that had no answer, or a wrong one.
func (l *demoLoad) lose(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.sum.lost++
	l.noteLocked(err)
}
