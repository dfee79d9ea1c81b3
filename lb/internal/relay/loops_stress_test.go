//go:build linux && (amd64 || arm64)

package relay

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/engine"
	"github.com/ebb-lb/ebb/lb/internal/preface"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// tight makes every limit of an engine bite: few and small buffers, few of them lent, short queues.
var tight = engine.Options{BufferSize: 1024, Buffers: 64, Lent: 8, Entries: 8, Events: 16}

// eachStrained runs a test on both engines, in their usual size and in one where everything runs out all the time.
func eachStrained(t *testing.T, test func(*testing.T, looped)) {
	for _, name := range []string{"epoll", "uring"} {
		t.Run(name, func(t *testing.T) { test(t, newLooped(t, 2, name, engine.Options{})) })
		t.Run(name+" tight", func(t *testing.T) { test(t, newLooped(t, 2, name, tight)) })
	}
}

// front is a listener whose every session goes to one backend.
type front struct {
	addr     *net.TCPAddr
	mu       sync.Mutex
	sessions []*Session
	words    [end.Count]int
}

func newFront(t *testing.T, c looped, o Options, backend netip.AddrPort) *front {
	t.Helper()
	ln := listen(t)
	f := &front{addr: ln.Addr().(*net.TCPAddr)}
	ll, err := c.Acceptor(ln)
	if err != nil {
		t.Fatal(err)
	}
	ll.Run(func(netip.AddrPort, netip.AddrPort, int) (*Session, Director) {
		s := &Session{Options: o}
		f.mu.Lock()
		f.sessions = append(f.sessions, s)
		f.mu.Unlock()
		return s, &once{front: f, addr: backend}
	}, func(reason string) { t.Errorf("accept failed: %s", reason) })
	t.Cleanup(ll.Close)
	return f
}

// once is a director with one address.
type once struct {
	front *front
	addr  netip.AddrPort
	used  bool
	ended bool
}

func (d *once) Next() (netip.AddrPort, end.Word) {
	if d.used {
		return netip.AddrPort{}, end.ConnectFailed
	}
	d.used = true
	return d.addr, end.None
}
func (d *once) Header(preface.Header) end.Word { return end.None }
func (d *once) Hello(string)                   {}

func (d *once) Failed(error)                      {}
func (d *once) Connected() bool                   { return true }
func (d *once) Farewell(end.Word) func(sock.Conn) { return nil }
func (d *once) Done(w end.Word) {
	if d.ended {
		panic("done twice")
	}
	d.ended = true
	d.front.mu.Lock()
	d.front.words[w]++
	d.front.mu.Unlock()
}

// trickle writes n random bytes in pieces of random size with random pauses, then FIN, and gives their hash.
func trickle(c *net.TCPConn, rng *rand.Rand, n int) [32]byte {
	h := sha256.New()
	buf := make([]byte, 64<<10)
	for n > 0 {
		size := min(n, 1+rng.IntN([]int{1, 100, 5000, len(buf)}[rng.IntN(4)]))
		for i := range size {
			buf[i] = byte(rng.Uint32())
		}
		h.Write(buf[:size])
		if _, err := c.Write(buf[:size]); err != nil {
			return [32]byte{}
		}
		n -= size
		if rng.IntN(16) == 0 {
			time.Sleep(time.Duration(rng.IntN(3)) * time.Millisecond)
		}
	}
	c.CloseWrite()
	return [32]byte(h.Sum(nil))
}

// sip reads to the end in pieces of random size with random pauses, and gives the hash.
func sip(c *net.TCPConn, rng *rand.Rand) ([32]byte, error) {
	h := sha256.New()
	buf := make([]byte, 64<<10)
	c.SetReadDeadline(time.Now().Add(60 * time.Second))
	for {
		n, err := c.Read(buf[:1+rng.IntN(len(buf))])
		h.Write(buf[:n])
		if err == io.EOF {
			return [32]byte(h.Sum(nil)), nil
		}
		if err != nil {
			return [32]byte{}, err
		}
		if rng.IntN(64) == 0 {
			time.Sleep(time.Duration(rng.IntN(5)) * time.Millisecond)
		}
	}
}

// TestTD3RandomTrafficKeepsEveryByte sends random amounts both ways through many sessions at once.
func TestTD3RandomTrafficKeepsEveryByte(t *testing.T) {
	eachStrained(t, func(t *testing.T, c looped) {
		const sessions = 40
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		back := listen(t)
		f := newFront(t, c, Options{}, sock.AddrPort(back.Addr()))
		var wg sync.WaitGroup
		sent, got := make(chan [32]byte, 2*sessions), make(chan [32]byte, 2*sessions)
		both := func(conn *net.TCPConn, stream uint64) {
			rng := rand.New(rand.NewPCG(seed, stream))
			n := rng.IntN(400 << 10)
			wg.Go(func() { sent <- trickle(conn, rng, n) })
			rng2 := rand.New(rand.NewPCG(seed, stream+1000))
			wg.Go(func() {
				sum, err := sip(conn, rng2)
				if err != nil {
					t.Errorf("read: %v", err)
				}
				got <- sum
			})
		}
		for i := range uint64(sessions) {
			client, err := net.DialTCP("tcp4", nil, f.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			both(client, 2*i)
			both(accept(t, back), 2*i+1)
		}
		wg.Wait()
		want := make(map[[32]byte]int)
		for range 2 * sessions {
			want[<-sent]++
			want[<-got]--
		}
		for _, n := range want {
			if n != 0 {
				t.Fatal("what was sent and what came differ")
			}
		}
	})
}

// TestKillRacesWithData cuts sessions at random moments of heavy traffic. Each ends once, and nothing is left.
func TestKillRacesWithData(t *testing.T) {
	eachStrained(t, func(t *testing.T, c looped) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		back := listen(t)
		go echoAll(back)
		f := newFront(t, c, Options{}, sock.AddrPort(back.Addr()))
		var wg sync.WaitGroup
		for i := range uint64(24) {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(seed, i))
				for range 10 {
					client, err := net.DialTCP("tcp4", nil, f.addr)
					if errors.Is(err, syscall.ECONNRESET) {
						continue // another client's kill met this session before the dial had returned
					}
					if err != nil {
						t.Error(err)
						return
					}
					go func() { _, _ = io.CopyBuffer(struct{ io.Writer }{client}, zeros{}, make([]byte, 4096)) }()
					client.SetReadDeadline(time.Now().Add(20 * time.Second))
					_, _ = io.ReadFull(client, make([]byte, rng.IntN(60<<10)))
					switch rng.IntN(3) {
					case 0:
						sock.Abort(client)
					case 1:
						client.Close()
					default:
						f.mu.Lock()
						s := f.sessions[rng.IntN(len(f.sessions))]
						f.mu.Unlock()
						s.Kill(end.Shutdown)
						client.Close()
					}
				}
			})
		}
		wg.Wait()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			f.mu.Lock()
			n, sessions := 0, slices.Clone(f.sessions) // some may be accepted only now
			for _, k := range f.words {
				n += k
			}
			f.mu.Unlock()
			if n == len(sessions) && c.live() == 0 {
				return
			}
			for _, s := range sessions {
				s.Kill(end.Shutdown)
			}
			if time.Now().After(deadline) {
				t.Fatalf("%d of %d sessions ended", n, len(sessions))
			}
		}
	})
}

type zeros struct{}

func (zeros) Read(b []byte) (int, error) { return len(b), nil }

// echoAll sends back what comes, on every connection, until the listener is closed.
func echoAll(ln *net.TCPListener) {
	for {
		c, err := ln.AcceptTCP()
		if err != nil {
			return
		}
		go func() {
			defer c.Close()
			_, _ = io.Copy(struct{ io.Writer }{c}, c)
		}()
	}
}

// TestBP1SlowReadersHoldBoundedMemoryAndStarveNobody blocks many sessions for good; another still works.
func TestBP1SlowReadersHoldBoundedMemoryAndStarveNobody(t *testing.T) {
	eachStrained(t, func(t *testing.T, c looped) {
		back := listen(t)
		f := newFront(t, c, Options{}, sock.AddrPort(back.Addr()))
		var conns []*net.TCPConn
		var writers sync.WaitGroup
		for range 20 {
			client, err := net.DialTCP("tcp4", nil, f.addr)
			if err != nil {
				t.Fatal(err)
			}
			conns = append(conns, client, accept(t, back)) // never read from
			writers.Go(func() { _, _ = io.CopyBuffer(struct{ io.Writer }{client}, zeros{}, make([]byte, 64<<10)) })
		}
		defer func() {
			for _, c := range conns {
				sock.Abort(c)
			}
			writers.Wait()
		}()
		f.settle()
		client, err := net.DialTCP("tcp4", nil, f.addr)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, client)
		server := accept(t, back)
		conns = append(conns, server)
		go func() { _, _ = io.Copy(struct{ io.Writer }{server}, server) }()
		b := make([]byte, 100)
		client.SetDeadline(time.Now().Add(10 * time.Second))
		for i := range 100 {
			if _, err := client.Write(b); err != nil {
				t.Fatalf("write %d: %v", i, err)
			}
			if _, err := io.ReadFull(client, b); err != nil {
				t.Fatalf("read %d: %v", i, err)
			}
		}
	})
}

// settle returns when no session has moved a byte for a while.
func (f *front) settle() {
	sum := func() (n int64) {
		f.mu.Lock()
		defer f.mu.Unlock()
		for _, s := range f.sessions {
			n += s.In.Load()
		}
		return n
	}
	for last := int64(-1); ; {
		time.Sleep(100 * time.Millisecond) // there is no event for "nothing happens"
		n := sum()
		if n == last && n > 0 {
			return
		}
		last = n
	}
}

// TestTD5BulkIsSplicedAndKeepsEveryByte has streams that turn from small to bulk and back, some with readers that pause.
func TestTD5BulkIsSplicedAndKeepsEveryByte(t *testing.T) {
	for _, name := range []string{"epoll", "uring"} {
		t.Run(name, func(t *testing.T) {
			c := newLooped(t, 2, name, engine.Options{})
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			back := listen(t)
			f := newFront(t, c, Options{}, sock.AddrPort(back.Addr()))
			var wg sync.WaitGroup
			stream := func(from, to *net.TCPConn, n uint64) {
				sum := make(chan [32]byte, 1)
				wg.Go(func() { sum <- swell(from, rand.New(rand.NewPCG(seed, n))) })
				wg.Go(func() {
					got, err := sip(to, rand.New(rand.NewPCG(seed, n+1000)))
					if want := <-sum; err != nil || got != want {
						t.Errorf("stream %d: %v, bytes differ: %v", n, err, got != want)
					}
				})
			}
			for i := range uint64(6) {
				client, err := net.DialTCP("tcp4", nil, f.addr)
				if err != nil {
					t.Fatal(err)
				}
				defer client.Close()
				server := accept(t, back)
				stream(client, server, 2*i)
				stream(server, client, 2*i+1)
			}
			wg.Wait()
			var spliced uint64
			for _, l := range c.loops {
				spliced += l.engine.Stats().Spliced.Load()
			}
			t.Logf("%d MiB spliced", spliced>>20)
			if spliced < 20<<20 {
				t.Errorf("%d bytes spliced: it was copied", spliced)
			}
		})
	}
}

// swell writes small and large things by turns, then FIN, and gives their hash.
func swell(c *net.TCPConn, rng *rand.Rand) [32]byte {
	h := sha256.New()
	buf := make([]byte, 2<<20)
	for range 6 {
		for range rng.IntN(30) {
			n := 1 + rng.IntN(200)
			fill(buf[:n], rng)
			h.Write(buf[:n])
			c.Write(buf[:n])
			if rng.IntN(10) == 0 {
				time.Sleep(time.Millisecond)
			}
		}
		n := len(buf) - rng.IntN(1000)
		fill(buf[:n], rng)
		h.Write(buf[:n])
		c.Write(buf[:n])
	}
	c.CloseWrite()
	return [32]byte(h.Sum(nil))
}

func fill(b []byte, rng *rand.Rand) {
	for len(b) >= 8 {
		binary.LittleEndian.PutUint64(b, rng.Uint64())
		b = b[8:]
	}
	for i := range b {
		b[i] = byte(rng.Uint32())
	}
}
