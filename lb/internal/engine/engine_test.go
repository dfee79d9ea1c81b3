//go:build linux && (amd64 || arm64)

package engine

import (
	"bytes"
	"os"
	"runtime"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// eachEngine runs a test on both engines, on a locked thread.
func eachEngine(t *testing.T, o Options, test func(*testing.T, *bench)) {
	t.Helper()
	for _, name := range []string{"epoll", "uring"} {
		t.Run(name, func(t *testing.T) {
			runtime.LockOSThread()
			defer runtime.UnlockOSThread()
			e, err := Open(name, o)
			if err != nil {
				if name == "uring" && os.Getenv("CI") == "" {
					t.Skipf("not here: %v", err)
				}
				t.Fatal(err)
			}
			defer e.Free()
			test(t, &bench{T: t, Engine: e})
		})
	}
}

// bench is an engine in a test's hands.
type bench struct {
	*testing.T
	Engine
	next uint32
}

// pair attaches one end of a socket pair and gives the other, which blocks for two seconds at most.
func (b *bench) pair() (s Socket, owner uint32, peer int) {
	b.Helper()
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		b.Fatal(err)
	}
	unix.SetNonblock(fds[0], true)
	unix.SetsockoptTimeval(fds[1], unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 2})
	b.next++
	return b.Attach(fds[0], b.next), b.next, fds[1]
}

// until turns until done says so, and hands it each completion.
func (b *bench) until(done func(Completion) bool) {
	b.Helper()
	for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); {
		ok := false
		for _, c := range b.Turn(50 * time.Millisecond) {
			ok = done(c) || ok
		}
		if ok {
			return
		}
	}
	b.Fatal("what was awaited did not happen")
}

// quiet turns for a while and fails if anything happens.
func (b *bench) quiet() {
	b.Helper()
	for range 5 {
		for _, c := range b.Turn(5 * time.Millisecond) {
			b.Fatalf("unexpected completion %+v", c)
		}
	}
}

func (b *bench) closed(s Socket, owner uint32) {
	b.Helper()
	b.Close(s, false)
	b.until(func(c Completion) bool {
		if c.Op != Closed || c.Owner != owner {
			b.Fatalf("completion %+v after Close, want Closed", c)
		}
		return true
	})
}

func (b *bench) write(fd int, p string) {
	b.Helper()
	if _, err := unix.Write(fd, []byte(p)); err != nil {
		b.Fatal(err)
	}
}

func TestCheckPasses(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		for range 100 {
			if err := Check(b); err != nil {
				t.Fatal(err)
			}
		}
	})
}

func TestPausedSocketIsSilentAndLosesNothing(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		s, owner, peer := b.pair()
		defer closeFD(peer)
		var got []byte
		take := func(c Completion) bool {
			if c.Op != Received || c.Result <= 0 {
				t.Fatalf("completion %+v", c)
			}
			got = append(got, bytesOf(b.Engine, c.Buffer)[:c.Result]...)
			b.Release(c.Buffer)
			return true
		}
		b.Receive(s)
		b.write(peer, "one")
		b.until(take)
		for range 20 { // pause and resume in every order within a turn
			b.Pause(s)
			b.quiet()
			b.write(peer, "x")
			b.quiet()
			b.Receive(s)
			b.Pause(s)
			b.Receive(s)
			b.until(take)
			b.Pause(s)
			b.Receive(s)
		}
		if string(got) != "one"+string(bytes.Repeat([]byte("x"), 20)) {
			t.Fatalf("got %q", got)
		}
		b.closed(s, owner)
		b.quiet()
	})
}

func bytesOf(e Engine, b Buffer) []byte {
	switch e := e.(type) {
	case *uring:
		return e.Bytes(b)
	case *epoll:
		return e.Bytes(b)
	}
	return nil
}

// TestCloseEndsABlockedSend closes a socket whose send waits for a reader that never reads.
func TestCloseEndsABlockedSend(t *testing.T) {
	eachEngine(t, Options{Buffers: 64, Lent: 16}, func(t *testing.T, b *bench) {
		s, owner, peer := b.pair()
		defer closeFD(peer)
		b.Receive(s)
		for blocked := false; !blocked; { // echo to a peer that only writes
			unix.SetNonblock(peer, true)
			if _, err := unix.Write(peer, make([]byte, 1<<20)); err == syscall.EAGAIN {
				blocked = true
			}
			for _, c := range b.Turn(time.Millisecond) {
				if c.Op == Received {
					b.Send(s, c.Buffer, int(c.Result))
				}
			}
			if b.Queued(s) >= maxQueued {
				break
			}
		}
		b.closed(s, owner)
		if n := free(b.Engine); n != 64 {
			t.Fatalf("%d buffers of 64 came back", n)
		}
		b.quiet()
	})
}

// free is how many buffers are nobody's, those lent to the kernel included.
func free(e Engine) int {
	switch e := e.(type) {
	case *uring:
		return e.left + e.lent.n
	case *epoll:
		return e.left
	}
	return 0
}

// TestReusedDescriptorBringsNothingOld closes sockets with everything in flight and opens new ones, which get the same
// numbers, before the engine has turned. No owner sees what belongs to another.
func TestReusedDescriptorBringsNothingOld(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		const n = 20
		for round := range 50 {
			var socks [n]Socket
			var peers [n]int
			first := b.next + 1
			for i := range socks {
				socks[i], _, peers[i] = b.pair()
				b.Receive(socks[i])
			}
			if round%2 == 0 {
				b.Turn(0)
			}
			for i := range socks {
				b.write(peers[i], "late")
			}
			for i := range socks {
				b.Close(socks[i], i%2 == 0)
			}
			left := n
			for left > 0 {
				b.until(func(c Completion) bool {
					if c.Owner < first {
						t.Fatalf("completion %+v is of an earlier round", c)
					}
					switch c.Op {
					case Closed:
						left--
					case Received: // before the Close was carried out
						b.Release(c.Buffer)
					}
					return true
				})
			}
			for _, fd := range peers {
				closeFD(fd)
			}
		}
		b.quiet()
		if got, want := free(b.Engine), (Options{}).withDefaults().Buffers; got != want {
			t.Fatalf("%d buffers of %d came back", got, want)
		}
	})
}

// TestEverythingRunsOut drives an engine through more sockets than it has submissions, completions or buffers, and
// expects every byte.
func TestEverythingRunsOut(t *testing.T) {
	eachEngine(t, Options{BufferSize: 64, Buffers: 8, Lent: 4, Entries: 4, Events: 8}, func(t *testing.T, b *bench) {
		const n, size = 64, 1000
		var socks [n]Socket
		var peers [n]int
		got := make(map[uint32][]byte)
		want := bytes.Repeat([]byte("0123456789"), size/10)
		for i := range socks {
			socks[i], _, peers[i] = b.pair()
			b.Receive(socks[i])
			b.write(peers[i], string(want))
			unix.Shutdown(peers[i], unix.SHUT_WR)
		}
		ended := 0
		for ended < n {
			b.until(func(c Completion) bool {
				switch {
				case c.Op != Received || c.Result < 0:
					t.Fatalf("completion %+v", c)
				case c.Result == 0:
					ended++
				default:
					got[c.Owner] = append(got[c.Owner], bytesOf(b.Engine, c.Buffer)[:c.Result]...)
					b.Release(c.Buffer)
				}
				return true
			})
		}
		for owner, g := range got {
			if !bytes.Equal(g, want) {
				t.Fatalf("socket %d: got %d bytes, want %d", owner, len(g), len(want))
			}
		}
		if st := b.Stats(); b.Name() == "uring" && (st.NoBuffers.Load() == 0 || st.Overflows.Load() == 0) {
			t.Fatalf("%d times out of buffers, %d overflows: nothing ran out", st.NoBuffers.Load(), st.Overflows.Load())
		}
		for _, s := range socks {
			b.Close(s, false)
		}
		closed := 0
		for closed < n {
			b.until(func(c Completion) bool { closed++; return true })
		}
		for _, fd := range peers {
			closeFD(fd)
		}
		if got := free(b.Engine); got != 8 {
			t.Fatalf("%d buffers of 8 came back", got)
		}
	})
}

func TestWakeEndsATurn(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		for range 100 {
			go b.Wake()
			if c := b.Turn(-1); len(c) != 0 { // hangs if the wake is lost
				t.Fatalf("completions %v", c)
			}
		}
		b.Wake()
		b.Wake()
		b.Turn(-1)
		b.quiet()
	})
}

func TestTurnEndsAtItsTimeout(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		b.Turn(0)
		start := time.Now()
		for time.Since(start) < 30*time.Millisecond {
			b.Turn(30*time.Millisecond - time.Since(start))
		}
		if turns := b.Stats().Turns.Load(); turns > 100 {
			t.Fatalf("%d turns in 30 ms: it spins", turns)
		}
	})
}

// TestEndOfStreamComesAfterItsBytes has a FIN behind bytes that fill buffers exactly, and nearly.
func TestEndOfStreamComesAfterItsBytes(t *testing.T) {
	eachEngine(t, Options{BufferSize: 64}, func(t *testing.T, b *bench) {
		for _, size := range []int{0, 1, 63, 64, 65, 128, 1000} {
			s, owner, peer := b.pair()
			b.write(peer, string(make([]byte, size)))
			closeFD(peer)
			b.Receive(s)
			got, ended := 0, 0
			for ended == 0 {
				b.until(func(c Completion) bool {
					if c.Result > 0 {
						got += int(c.Result)
						b.Release(c.Buffer)
					} else {
						ended++
					}
					return true
				})
			}
			if got != size {
				t.Fatalf("%d bytes before the end, want %d", got, size)
			}
			b.quiet() // the end is told once
			b.closed(s, owner)
		}
	})
}

// TestE2StaleEventsReachNobody makes up what the kernel would say about a socket that is done with: its record has a new
// owner.
func TestE2StaleEventsReachNobody(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		old, owner, peer := b.pair()
		closeFD(peer)
		b.closed(old, owner)
		s, _, peer := b.pair()
		defer closeFD(peer)
		if s != old {
			t.Fatal("the record is not used again: the test tests nothing")
		}
		b.Receive(s)
		b.Turn(0)
		switch e := b.Engine.(type) {
		case *uring:
			gen := e.at(s).gen - 1
			for k := kindAccept; k <= kindCancel; k++ {
				e.complete(cqe{userData: k.data(s, gen), res: -int32(syscall.ECONNRESET)})
			}
			if e.at(s).state&inReceive == 0 || len(e.out) > 0 {
				t.Errorf("state %b, completions %v", e.at(s).state, e.out)
			}
		case *epoll:
			ready := e.at(s).ready
			e.happened(&unix.EpollEvent{Events: unix.EPOLLIN | unix.EPOLLHUP, Fd: int32(s), Pad: int32(e.at(s).gen - 1)})
			if e.at(s).ready != ready || len(e.out) > 0 {
				t.Errorf("ready %b, completions %v", e.at(s).ready, e.out)
			}
		}
		if b.Stats().Stale.Load() == 0 {
			t.Error("not counted")
		}
		b.quiet()
		b.closed(s, b.next)
	})
}
