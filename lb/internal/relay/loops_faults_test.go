//go:build linux && (amd64 || arm64)

package relay

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/engine"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// TestBP4OutOfDescriptorsBacksOffAndRecovers fills the descriptor table for real.
func TestBP4OutOfDescriptorsBacksOffAndRecovers(t *testing.T) {
	for _, name := range []string{"epoll", "uring"} {
		t.Run(name, func(t *testing.T) {
			c := newLooped(t, 1, name, engine.Options{})
			back := listen(t)
			backend := sock.AddrPort(back.Addr())
			var old unix.Rlimit
			if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &old); err != nil {
				t.Fatal(err)
			}
			few := old
			few.Cur = 200 // before Listen: the kernel notes the limit when an accept is armed
			if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &few); err != nil {
				t.Fatal(err)
			}
			defer unix.Setrlimit(unix.RLIMIT_NOFILE, &old)
			var failures, emfile atomic.Int64
			ln := listen(t)
			addr := ln.Addr().(*net.TCPAddr)
			f := &front{}
			ll, err := c.Acceptor(ln)
			if err != nil {
				t.Fatal(err)
			}
			ll.Run(func(netip.AddrPort, netip.AddrPort, int) (*Session, Director) {
				return new(Session), &once{front: f, addr: backend}
			}, func(reason string) {
				failures.Add(1)
				if reason == "emfile" {
					emfile.Add(1)
				}
			})
			defer ll.Close()
			client, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
			if err != nil {
				t.Fatal(err)
			}
			defer unix.Close(client)
			var fill []int
			for {
				fd, err := unix.Dup(client)
				if err != nil {
					break
				}
				fill = append(fill, fd)
			}
			if err := unix.Connect(client, &unix.SockaddrInet4{Port: addr.Port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
				t.Fatal(err)
			}
			for deadline := time.Now().Add(10 * time.Second); emfile.Load() < 5; time.Sleep(time.Millisecond) {
				if time.Now().After(deadline) {
					t.Fatalf("%d failures", emfile.Load())
				}
			}
			if n := c.loops[0].engine.Stats().Turns.Load(); n > 2000 {
				t.Errorf("%d turns: it spins", n)
			}
			for _, fd := range fill {
				unix.Close(fd)
			}
			server := accept(t, back) // recovers by itself
			server.Close()
			if failures.Load() != emfile.Load() {
				t.Errorf("%d failures, %d of them emfile", failures.Load(), emfile.Load())
			}
		})
	}
}

// silent is an address that answers no connect: a listener whose queue is full.
func silent(t *testing.T) netip.AddrPort {
	t.Helper()
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { unix.Close(fd) })
	if err := errors.Join(unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}), unix.Listen(fd, 0)); err != nil {
		t.Fatal(err)
	}
	addr := sock.LocalAddr(fd)
	c, err := net.Dial("tcp4", addr.String()) // who fills it
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) { // the handshake may have its last packet on the way
		info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO)
		if err == nil && info.Unacked > 0 { // of a socket that listens: who waits to be accepted
			return addr
		}
		if time.Now().After(deadline) {
			t.Fatalf("the queue does not fill: %v", err)
		}
	}
}

// patienter has only the first attempt time out soon: the others may be slow as they like.
type patienter struct {
	*director
	session *Session
}

func (d *patienter) Failed(err error) {
	d.director.Failed(err)
	d.session.ConnectTimeout = time.Hour
}

func TestTO1SilentPeerTimesOutAndTheNextIsTried(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		front, back := listen(t), listen(t)
		client := dialTo(t, front)
		d := &director{addrs: []netip.AddrPort{silent(t), sock.AddrPort(back.Addr())}, done: make(chan end.Word, 1)}
		s := &Session{Options: Options{ConnectTimeout: 60 * time.Millisecond}}
		c.serve(t, front, func() (*Session, Director) { return s, &patienter{d, s} })
		client.Write([]byte("x"))
		client.CloseWrite()
		backend := accept(t, back)
		if got := readAll(t, backend); string(got) != "x" {
			t.Fatalf("backend got %q", got)
		}
		backend.Close()
		if w := <-d.done; w != end.ClientFIN {
			t.Fatalf("end = %v", w)
		}
		if len(d.failed) != 1 || sock.Classify(d.failed[0]) != sock.TimedOut {
			t.Fatalf("failed %v", d.failed)
		}
	})
}

// TestTO1ConnectDeadlineIsForAllAttempts has one attempt that nobody answers, and then would have others.
func TestTO1ConnectDeadlineIsForAllAttempts(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		front, back := listen(t), listen(t)
		dialTo(t, front)
		mute := silent(t)
		d := &director{addrs: []netip.AddrPort{mute, mute, sock.AddrPort(back.Addr())}, done: make(chan end.Word, 1)}
		s := &Session{Options: Options{ConnectTimeout: time.Hour, ConnectDeadline: 50 * time.Millisecond}}
		c.serve(t, front, func() (*Session, Director) { return s, d })
		if w := <-d.done; w != end.ConnectTimeout {
			t.Fatalf("end = %v", w)
		}
		if len(d.failed) != 1 || sock.Classify(d.failed[0]) != sock.Canceled || len(d.addrs) != 2 {
			t.Fatalf("failed %v, %d addresses are left", d.failed, len(d.addrs))
		}
	})
}

func TestKillDuringConnectEndsIt(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		front := listen(t)
		dialTo(t, front)
		d := &director{addrs: []netip.AddrPort{silent(t)}, done: make(chan end.Word, 1)}
		s := new(Session)
		c.serve(t, front, func() (*Session, Director) { return s, d })
		for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
			d.mu.Lock()
			n := len(d.addrs)
			d.mu.Unlock()
			if n == 0 {
				break
			}
		}
		s.Kill(end.Drained)
		if w := <-d.done; w != end.Drained {
			t.Fatalf("end = %v", w)
		}
		if len(d.failed) != 1 || sock.Classify(d.failed[0]) != sock.Canceled {
			t.Fatalf("failed %v", d.failed)
		}
	})
}

func TestAutoTakesURingWhereItWorks(t *testing.T) {
	ls, err := NewLoops(1, "auto")
	if err != nil {
		t.Fatal(err)
	}
	defer ls.Close()
	t.Logf("engine %s, why %q", ls.Engine(), ls.Why())
	if (ls.Engine() == "uring") != (ls.Why() == "") {
		t.Fatal("the reason does not fit the engine")
	}
}

// TestAutoFallsBackUnderAFilter runs itself again with io_uring forbidden by seccomp, as containers do.
func TestAutoFallsBackUnderAFilter(t *testing.T) {
	if os.Getenv("EBB_TEST_FILTER") == "" {
		cmd := exec.Command(os.Args[0], "-test.run=^TestAutoFallsBackUnderAFilter$", "-test.v")
		cmd.Env = append(os.Environ(), "EBB_TEST_FILTER=1")
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		t.Logf("%s", out)
		return
	}
	forbid(t, unix.SYS_IO_URING_SETUP)
	if _, err := NewLoops(1, "uring"); !errors.Is(err, unix.EPERM) {
		t.Fatalf("uring under the filter: %v", err)
	}
	ls, err := NewLoops(1, "auto")
	if err != nil {
		t.Fatal(err)
	}
	if ls.Engine() != "epoll" || !strings.Contains(ls.Why(), "io_uring_setup: operation not permitted") {
		t.Fatalf("engine %s, why %q", ls.Engine(), ls.Why())
	}
	t.Logf("why: %s", ls.Why())
	ls.Close()
}

// forbid makes a system call fail with EPERM in every thread of the process.
func forbid(t *testing.T, call uint32) {
	t.Helper()
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: call},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_TSYNC, uintptr(unsafe.Pointer(&prog)))
	if errno != 0 {
		t.Skipf("seccomp: %v", errno)
	}
}

// TestHundredsOfShortSessions turns slots, records and descriptors over many times.
func TestHundredsOfShortSessions(t *testing.T) {
	eachStrained(t, func(t *testing.T, c looped) {
		back := listen(t)
		go echoAll(back)
		f := newFront(t, c, Options{IdleTimeout: time.Minute}, sock.AddrPort(back.Addr()))
		before := descriptors(t)
		var wg sync.WaitGroup
		for range 16 {
			wg.Go(func() {
				b := make([]byte, 100)
				for range 40 {
					client, err := net.DialTCP("tcp4", nil, f.addr)
					if err != nil {
						t.Error(err)
						return
					}
					client.SetDeadline(time.Now().Add(10 * time.Second))
					client.Write(b)
					if _, err := io.ReadFull(client, b); err != nil {
						t.Error(err)
					}
					client.Close()
				}
			})
		}
		wg.Wait()
		for deadline := time.Now().Add(10 * time.Second); c.live() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d sessions are left", c.live())
			}
		}
		words := func() [end.Count]int {
			f.mu.Lock()
			defer f.mu.Unlock()
			return f.words
		}
		for deadline := time.Now().Add(10 * time.Second); words()[end.ClientFIN] != 640; time.Sleep(time.Millisecond) { // told after it lives no more
			if time.Now().After(deadline) {
				t.Fatalf("ends: %v", words())
			}
		}
		for deadline := time.Now().Add(10 * time.Second); descriptors(t) > before; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d descriptors, %d before", descriptors(t), before)
			}
		}
	})
}

func descriptors(t *testing.T) int {
	t.Helper()
	d, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	return len(d)
}

// TestAcceptedSocketsInheritOptions checks what accept is relied on to copy from the listener.
func TestAcceptedSocketsInheritOptions(t *testing.T) {
	ln := listen(t)
	fds, err := split(ln, 1)
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fds[0])
	dialTo(t, ln)
	unix.SetNonblock(fds[0], false)
	fd, _, err := unix.Accept(fds[0])
	if err != nil {
		t.Fatal(err)
	}
	defer unix.Close(fd)
	for _, o := range []struct{ level, option, want int }{
		{unix.IPPROTO_TCP, unix.TCP_NODELAY, 1}, {unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
		{unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15}, {unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 15}, {unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 8},
	} {
		if got, err := unix.GetsockoptInt(fd, o.level, o.option); err != nil || got != o.want {
			t.Errorf("option %d/%d = %d, %v; want %d", o.level, o.option, got, err, o.want)
		}
	}
}
