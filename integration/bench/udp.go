package main

import (
	"context"
	"encoding/binary"
	"fmt"
	"math"
	"net"
	"syscall"
	"time"

	"golang.org/x/net/ipv4"
	"golang.org/x/sys/unix"
)

// Both ends of these loads do as little as they can, with one thread each and in batches: what they cost themselves takes
// the cores from the proxies, and from the better ones most.

// udpPatience is after how long a datagram that has not come is taken for lost.
const udpPatience = 50 * time.Millisecond

// udpRoundTrips keeps one question on the way from each of n ports. What has not been answered is asked again after a while; an answer that
// comes after that is not another one.
func udpRoundTrips(n int) func(context.Context, *targets, string, time.Duration) (result, error) {
	return func(ctx context.Context, _ *targets, addr string, length time.Duration) (result, error) {
		var units float64
		took, err := workers(1, length, func(until time.Time) error { return askAll(ctx, n, addr, until, &units) })
		return result{rate: units / took.Seconds(), units: units}, err
	}
}

// askAll is the asking of udpRoundTrips until a time; it counts the answers.
func askAll(ctx context.Context, n int, addr string, until time.Time, units *float64) error {
	polls := make([]unix.PollFd, n)
	for i := range polls {
		fd, err := dialUDP(addr)
		if err != nil {
			return err
		}
		defer func() { _ = unix.Close(fd) }()
		polls[i] = unix.PollFd{Fd: int32(fd), Events: unix.POLLIN}
	}
	asked := make([][64]byte, len(polls)) // each begins with its number
	b := make([]byte, 64)
	silent := true // nobody has answered lately
	for time.Now().Before(until) && ctx.Err() == nil {
		for i := range polls {
			fd := int(polls[i].Fd)
			switch {
			case polls[i].Revents != 0:
				if n, err := unix.Read(fd, b); err != nil || string(b[:n]) != string(asked[i][:]) {
					continue
				}
				*units++
				binary.NativeEndian.PutUint64(asked[i][:], binary.NativeEndian.Uint64(asked[i][:])+1)
			case !silent:
				continue
			}
			if _, err := unix.Write(fd, asked[i][:]); err != nil && err != syscall.ECONNREFUSED {
				return fmt.Errorf("write: %w", err)
			}
		}
		ready, err := unix.Poll(polls, int(udpPatience.Milliseconds()))
		if err != nil && err != syscall.EINTR {
			return fmt.Errorf("poll: %w", err)
		}
		silent = ready == 0
	}
	return nil
}

// oneWayWindow is how many datagrams of udpOneWay are under way at a time. 1200 bytes take 2304 of a socket's buffer, which has
// 212,992 by default: none is lost but by a proxy's fault. So the rate is what RFC 2544, 26.1, calls throughput.
const oneWayWindow = 64

// flood is the window of a sender that knows no bound: it keeps a core busy, and what arrives is what gets through when more comes
// than can be taken.
const flood = math.MaxInt64

// udpOneWay sends in 4 flows what the window has room for: one by one, or as QUIC's senders do, many in one message that the kernel
// cuts up. What arrives counts.
func udpOneWay(joined bool, window int64) func(context.Context, *targets, string, time.Duration) (result, error) {
	const flows = 4
	var batch [oneWayWindow / flows]ipv4.Message
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, 1200)}
	}
	messages := batch[:]
	if control := segmentsOf(1200); joined && control != nil {
		for i := range batch[1:] {
			batch[0].Buffers = append(batch[0].Buffers, batch[i+1].Buffers...)
		}
		batch[0].OOB = control
		messages = batch[:1]
	}
	return func(ctx context.Context, t *targets, addr string, length time.Duration) (result, error) {
		start := t.arrived.Load()
		took, err := workers(1, length, func(until time.Time) error {
			var conns [flows]*ipv4.PacketConn
			for i := range conns {
				c, err := net.Dial("udp", addr)
				if err != nil {
					return err
				}
				defer c.Close()
				conns[i] = ipv4.NewPacketConn(c.(*net.UDPConn))
			}
			sent := start // and not lost
			for turn := 0; time.Now().Before(until) && ctx.Err() == nil; {
				if sent-t.arrived.Load() > window-int64(len(batch)) {
					select {
					case <-t.more:
					case <-time.After(udpPatience):
						sent = t.arrived.Load()
					}
					continue
				}
				n, err := conns[turn%flows].WriteBatch(messages, 0)
				if err != nil {
					return fmt.Errorf("write: %w", err)
				}
				sent += int64(n * len(batch) / len(messages))
				turn++
			}
			return nil
		})
		units := float64(t.arrived.Load() - start)
		return result{rate: units / took.Seconds(), units: units}, err
	}
}

// dialUDP gives a blocking socket, which the runtime's poller does not watch.
func dialUDP(addr string) (int, error) {
	to, err := net.ResolveUDPAddr("udp4", addr)
	if err != nil {
		return -1, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if err = unix.Connect(fd, &unix.SockaddrInet4{Port: to.Port, Addr: [4]byte(to.IP.To4())}); err != nil {
		_ = unix.Close(fd)
		return -1, fmt.Errorf("connect: %w", err)
	}
	return fd, nil
}

// listenUDP starts a target that counts what arrives, and sends it back if echo.
func (t *targets) listenUDP(echo bool) (string, error) {
	c, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		return "", err
	}
	t.closers = append(t.closers, func() { _ = c.Close() })
	pc := ipv4.NewPacketConn(c)
	batch := make([]ipv4.Message, 64)
	for i := range batch {
		batch[i].Buffers = [][]byte{make([]byte, 2048)}
	}
	go func() {
		for {
			n, err := pc.ReadBatch(batch, 0)
			if err != nil {
				return
			}
			t.arrived.Add(int64(n))
			select {
			case t.more <- struct{}{}:
			default:
			}
			if echo {
				answer(pc, batch[:n])
			}
		}
	}()
	return c.LocalAddr().String(), nil
}

// answer sends datagrams back to whom they came from.
func answer(pc *ipv4.PacketConn, batch []ipv4.Message) {
	for i := range batch {
		batch[i].Buffers[0] = batch[i].Buffers[0][:batch[i].N]
	}
	for at := 0; at < len(batch); {
		n, err := pc.WriteBatch(batch[at:], 0)
		if err != nil { // the first of them was refused
			n = 1
		}
		at += n
	}
	for i := range batch {
		batch[i].Buffers[0] = batch[i].Buffers[0][:cap(batch[i].Buffers[0])]
	}
}

// awaitUDP returns when a datagram to addr has arrived at a target, which it tries for up to 10 s.
func (t *targets) awaitUDP(addr string) error {
	before := t.arrived.Load()
	for range 1000 {
		c, err := net.Dial("udp", addr)
		if err != nil {
			return err
		}
		_, _ = c.Write([]byte("x")) // an error only tells that it was refused
		time.Sleep(10 * time.Millisecond)
		c.Close()
		if t.arrived.Load() > before {
			return nil
		}
	}
	return fmt.Errorf("nothing arrives through %s", addr)
}
