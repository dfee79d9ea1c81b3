//go:build linux && (amd64 || arm64)

package engine

import (
	"bytes"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// couple makes a TCP connection: one end attached, the other a blocking file.
func (b *bench) couple() (s Socket, owner uint32, peer *os.File) {
	b.Helper()
	ln, err := net.ListenTCP("tcp4", &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)})
	if err != nil {
		b.Fatal(err)
	}
	defer ln.Close()
	c, err := net.DialTCP("tcp4", nil, ln.Addr().(*net.TCPAddr))
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	a, err := ln.AcceptTCP()
	if err != nil {
		b.Fatal(err)
	}
	defer a.Close()
	raw, err := a.SyscallConn()
	if err != nil {
		b.Fatal(err)
	}
	fd := -1
	raw.Control(func(u uintptr) { fd, err = unix.FcntlInt(u, unix.F_DUPFD_CLOEXEC, 0) })
	if err != nil {
		b.Fatal(err)
	}
	if peer, err = c.File(); err != nil {
		b.Fatal(err)
	}
	b.next++
	return b.Attach(fd, b.next), b.next, peer
}

func (b *bench) pipes() *pipes {
	switch e := b.Engine.(type) {
	case *uring:
		return &e.bulk
	case *epoll:
		return &e.bulk
	}
	return nil
}

// forward sends size random bytes from one peer to the other through the engine, which carries the stream from the first
// byte on, until it has ended, and gives what arrived.
func (b *bench) forward(size int) (sent, got []byte) {
	b.Helper()
	from, fromOwner, source := b.couple()
	to, toOwner, sink := b.couple()
	defer source.Close()
	defer sink.Close()
	sent = make([]byte, size)
	rng := rand.New(rand.NewPCG(1, uint64(size)))
	for i := range sent {
		sent[i] = byte(rng.Uint32())
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		source.Write(sent)
		syscall.Shutdown(int(source.Fd()), unix.SHUT_WR)
	})
	wg.Go(func() { got, _ = io.ReadAll(sink) })
	b.Receive(from)
	b.Carry(from, to)
	taken, ended := 0, false
	for !ended || b.Queued(to) > 0 {
		b.until(func(c Completion) bool {
			switch {
			case c.Op == Received && c.Owner == fromOwner && c.Result > 0:
				b.Send(to, c.Buffer, int(c.Result))
				b.Carry(from, to)
			case c.Op == Received && c.Owner == fromOwner && c.Result == 0 && !ended:
				ended = true
			case c.Op == Sent && c.Owner == toOwner && c.Result > 0:
				taken += int(c.Result)
			default:
				b.Fatalf("completion %+v", c)
			}
			return true
		})
	}
	if taken != size {
		b.Errorf("%d bytes reported, %d sent", taken, size)
	}
	b.Shutdown(to)
	wg.Wait()
	b.quiet()
	b.closed(from, fromOwner)
	b.closed(to, toOwner)
	if p := b.pipes(); p.out != 0 {
		b.Errorf("%d pipes are still lent", p.out)
	}
	return sent, got
}

func TestCarriedStreamArrivesWhole(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		for _, size := range []int{0, 1, 100, 16 << 10, 1 << 20, 20 << 20} {
			if sent, got := b.forward(size); !bytes.Equal(sent, got) {
				t.Fatalf("%d bytes sent, %d arrived, or others", len(sent), len(got))
			}
		}
		if b.Stats().Spliced.Load() == 0 {
			t.Error("nothing was spliced")
		}
	})
}

func TestWithoutPipesStreamsAreCopied(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		calls := 0
		b.pipes().make = func() (pipe, syscall.Errno) { calls++; return pipe{}, syscall.EMFILE }
		if sent, got := b.forward(5 << 20); !bytes.Equal(sent, got) {
			t.Fatalf("%d bytes sent, %d arrived, or others", len(sent), len(got))
		}
		if calls == 0 || b.Stats().Spliced.Load() != 0 {
			t.Errorf("%d pipes asked for, %d bytes spliced", calls, b.Stats().Spliced.Load())
		}
	})
}

// TestStreamsChangeBetweenSpliceAndCopy has every second pipe refused, so that streams change between the two ways all the time.
func TestStreamsChangeBetweenSpliceAndCopy(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		calls := 0
		b.pipes().make = func() (pipe, syscall.Errno) {
			if calls++; calls%2 == 0 {
				return pipe{}, syscall.ENFILE
			}
			b.pipes().idle = nil // never kept
			return newPipe()
		}
		for range 5 {
			if sent, got := b.forward(3 << 20); !bytes.Equal(sent, got) {
				t.Fatalf("%d bytes sent, %d arrived, or others", len(sent), len(got))
			}
		}
	})
}

// TestCarriedStreamIsCut closes either side, or has the sink reset, while bytes are in the pipe and the sink is blocked.
func TestCarriedStreamIsCut(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		for _, how := range []string{"close source", "close sink", "reset sink"} {
			from, fromOwner, source := b.couple()
			to, toOwner, sink := b.couple()
			var writing sync.WaitGroup
			writing.Go(func() { source.Write(make([]byte, 64<<20)) })
			b.Receive(from)
			b.Carry(from, to)
			for last := uint64(1); last != b.Stats().Spliced.Load() || last == 0 || b.Queued(to) == 0; { // until it stands still
				last = b.Stats().Spliced.Load()
				for start := time.Now(); time.Since(start) < 50*time.Millisecond; {
					for _, c := range b.Turn(10 * time.Millisecond) {
						if c.Op == Received {
							b.Release(c.Buffer)
						}
					}
				}
			}
			awaits := func(done func(Completion) bool) { // the source is received from again as soon as its stream is carried no more
				b.until(func(c Completion) bool {
					if c.Op == Received && c.Owner == fromOwner && c.Result > 0 {
						b.Release(c.Buffer)
					}
					return done(c)
				})
			}
			closes := func() {
				b.Close(to, false)
				awaits(func(c Completion) bool { return c.Op == Closed && c.Owner == toOwner })
				b.closed(from, fromOwner)
			}
			linger := func(f *os.File) {
				syscall.SetsockoptLinger(int(f.Fd()), unix.SOL_SOCKET, unix.SO_LINGER, &syscall.Linger{Onoff: 1})
				unix.Shutdown(int(f.Fd()), unix.SHUT_RDWR)
				f.Close()
			}
			switch how {
			case "close source":
				b.closed(from, fromOwner)
				b.quiet()
				b.closed(to, toOwner)
			case "close sink":
				closes()
			case "reset sink":
				linger(sink)
				awaits(func(c Completion) bool { return c.Owner == toOwner && c.Result < 0 })
				closes()
			}
			source.Close()
			sink.Close()
			writing.Wait()
			if p := b.pipes(); p.out != 0 {
				t.Errorf("%s: %d pipes are still lent", how, p.out)
			}
			b.quiet()
		}
		if got, want := free(b.Engine), (Options{}).withDefaults().Buffers; got != want {
			t.Errorf("%d buffers of %d came back", got, want)
		}
	})
}

// TestTheEndOfOneWayLeavesTheOther ends one stream while the one that comes the other way has bytes in its pipe.
func TestTheEndOfOneWayLeavesTheOther(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		near, nearOwner, reader := b.couple()
		far, farOwner, writer := b.couple()
		defer reader.Close()
		defer writer.Close()
		sent := make([]byte, 32<<20) // more than the sockets on the way hold
		for i := range sent {
			sent[i] = byte(i ^ i>>8 ^ i>>16)
		}
		var wg sync.WaitGroup
		wg.Go(func() {
			writer.Write(sent)
			syscall.Shutdown(int(writer.Fd()), unix.SHUT_WR)
		})
		b.Receive(near)
		b.Receive(far)
		b.Carry(near, far)
		b.Carry(far, near)
		ends := 0
		take := func(c Completion) bool {
			switch {
			case c.Op == Received && c.Result > 0:
				b.Send(near, c.Buffer, int(c.Result))
				b.Carry(far, near)
			case c.Op == Received && c.Result == 0:
				ends++
			case c.Result < 0:
				t.Fatalf("completion %+v", c)
			}
			return true
		}
		for quiet, start := 0, time.Now(); quiet < 10 || b.Queued(near) == 0 && time.Since(start) < 20*time.Second; quiet++ { // until it is blocked
			for _, c := range b.Turn(10 * time.Millisecond) {
				take(c)
				quiet = 0
			}
		}
		if b.Queued(near) == 0 {
			t.Fatal("nothing is on the way: the test tests nothing")
		}
		before := b.Stats().Turns.Load()
		b.quiet()
		if n := b.Stats().Turns.Load() - before; n > 10 {
			t.Errorf("%d turns while both ways are blocked: it spins", n)
		}
		syscall.Shutdown(int(reader.Fd()), unix.SHUT_WR)
		b.until(func(c Completion) bool { return take(c) && ends == 1 })
		var got []byte
		wg.Go(func() { got, _ = io.ReadAll(reader) })
		for ends < 2 {
			b.until(take)
		}
		b.Shutdown(near)
		wg.Wait()
		if !bytes.Equal(sent, got) {
			t.Errorf("%d bytes sent, %d arrived, or others", len(sent), len(got))
		}
		b.closed(near, nearOwner)
		b.closed(far, farOwner)
	})
}
