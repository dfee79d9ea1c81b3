package main

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"time"
)

// The messages of the loads named "beside": at a fixed pace, so that every proxy has the same to do, and so few that two cores
// are not full even with the stream.
const (
	besideTalkers = 8
	besideEvery   = 2 * time.Millisecond
)

// beside has messages go there and back while one session more goes on, of which other is the client. The CPU is that of both, for the
// messages that were carried.
func beside(other func(c net.Conn, moved *atomic.Int64) error) func(context.Context, *targets, string, time.Duration) (result, error) {
	return func(ctx context.Context, _ *targets, addr string, length time.Duration) (result, error) {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return result{}, err
		}
		defer c.Close()
		var moved atomic.Int64
		done := make(chan error, 1)
		go func() { done <- other(c, &moved) }()
		for moved.Load() < 4<<20 { // as fast as it will be
			select {
			case err := <-done:
				return result{}, err
			case <-time.After(time.Millisecond):
			}
		}
		start, before := time.Now(), moved.Load()
		d, err := converse(ctx, addr, besideTalkers, besideEvery, length)
		took := time.Since(start)
		r := result{units: float64(len(d)), rate: float64(len(d)) / took.Seconds(), other: float64(moved.Load()-before) / 1e9 / took.Seconds()}
		if len(d) > 0 {
			r.p99 = d.at(.99)
		}
		c.Close()
		if cut := <-done; !errors.Is(cut, net.ErrClosed) {
			err = errors.Join(err, cut)
		}
		return r, err
	}
}

// stream is the client of a stream of so many bytes a second; 0 is without a bound.
func stream(rate uint64) func(net.Conn, *atomic.Int64) error {
	return func(c net.Conn, moved *atomic.Int64) error { return order(c, rate, moved, 256<<10, 0) }
}

// slowReader takes 64 KiB every 10 ms of what comes without a bound.
func slowReader(c net.Conn, moved *atomic.Int64) error {
	_ = c.(*net.TCPConn).SetReadBuffer(256 << 10)
	return order(c, 0, moved, 64<<10, 10*time.Millisecond)
}

// order asks a mixed target for a stream and reads it in pieces, until the connection is closed.
func order(c net.Conn, rate uint64, moved *atomic.Int64, piece int, pause time.Duration) error {
	if _, err := c.Write(binary.BigEndian.AppendUint64([]byte{orderStream}, rate)); err != nil {
		return err
	}
	b := make([]byte, piece)
	for {
		n, err := c.Read(b)
		moved.Add(int64(n))
		if err != nil {
			return err
		}
		time.Sleep(pause)
	}
}

// orderStream is the first byte of the order for a stream, whose rate follows in eight bytes.
const orderStream = 1

// mixed is an echo for whoever does not order a stream.
func mixed(c net.Conn) {
	first := make([]byte, 64)
	if _, err := io.ReadFull(c, first[:1]); err != nil {
		return
	}
	if first[0] != orderStream {
		n, err := io.ReadFull(c, first[1:])
		if _, werr := c.Write(first[:1+n]); err == nil && werr == nil {
			echo(c)
		}
		return
	}
	if _, err := io.ReadFull(c, first[:8]); err != nil {
		return
	}
	rate := float64(binary.BigEndian.Uint64(first))
	b := make([]byte, 64<<10)
	start := time.Now()
	for sent := 0; ; sent += len(b) {
		if rate > 0 {
			time.Sleep(time.Until(start.Add(time.Duration(float64(sent) / rate * 1e9))))
		}
		if _, err := c.Write(b); err != nil {
			return
		}
	}
}
