package relay

import (
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/preface"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// director is a scripted owner: it hands out addresses in order and notes what it is told.
type director struct {
	mu        sync.Mutex
	addrs     []netip.AddrPort
	failed    []error
	connected int
	heard     []preface.Header
	names     []string
	refuses   end.Word // what the header is answered with
	unwanted  int      // how many of the first peers reached are given up again
	done      chan end.Word
}

func (d *director) Header(p preface.Header) end.Word {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.heard = append(d.heard, p)
	return d.refuses
}

func (d *director) Hello(name string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.names = append(d.names, name)
}

func (d *director) Next() (netip.AddrPort, end.Word) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.addrs) == 0 {
		return netip.AddrPort{}, end.NoPeer
	}
	a := d.addrs[0]
	d.addrs = d.addrs[1:]
	return a, end.None
}

func (d *director) Failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = append(d.failed, err)
}

func (d *director) Connected() bool {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connected++
	return d.connected > d.unwanted
}

func (d *director) Farewell(end.Word) func(sock.Conn) { return nil }

func (d *director) Done(w end.Word) {
	select {
	case d.done <- w:
	default:
		panic("done twice")
	}
}

// rig is one session between a client socket and a backend socket, both in the test's hands.
type rig struct {
	t               *testing.T
	session         *Session
	director        *director
	client, backend *net.TCPConn
}

func listen(t *testing.T) *net.TCPListener {
	t.Helper()
	ln, err := sock.ListenTCP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), sock.Default)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	return ln
}

// refused is an address where nobody listens: no test has another port there.
func refused(t *testing.T) netip.AddrPort {
	t.Helper()
	ln, err := sock.ListenTCP(t.Context(), netip.MustParseAddrPort("127.0.0.71:0"), sock.Default)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return sock.AddrPort(ln.Addr())
}

func accept(t *testing.T, ln *net.TCPListener) *net.TCPConn {
	t.Helper()
	if err := ln.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	c, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

func dialTo(t *testing.T, ln *net.TCPListener) *net.TCPConn {
	t.Helper()
	c, err := net.DialTCP("tcp4", nil, ln.Addr().(*net.TCPAddr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// newRig starts a session whose backend is reached after the addresses in before have been tried.
func newRig(t *testing.T, c carrier, o Options, before ...netip.AddrPort) *rig {
	t.Helper()
	front, back := listen(t), listen(t)
	d := &director{addrs: append(before, sock.AddrPort(back.Addr())), done: make(chan end.Word, 1)}
	r := &rig{t: t, session: &Session{Options: o}, director: d, client: dialTo(t, front)}
	c.serve(t, front, func() (*Session, Director) { return r.session, d })
	r.backend = accept(t, back)
	return r
}

func (r *rig) end(want end.Word) {
	r.t.Helper()
	select {
	case got := <-r.director.done:
		if got != want {
			r.t.Fatalf("end = %v, want %v", got, want)
		}
	case <-time.After(30 * time.Second):
		r.t.Fatal("the session did not end")
	}
}

func readAll(t *testing.T, c *net.TCPConn) []byte {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	b, err := io.ReadAll(c)
	if err != nil {
		t.Fatalf("read: %v", err)
	}
	return b
}

func random(n int) []byte {
	b := make([]byte, n)
	rand.Read(b)
	return b
}

func TestTD1BothDirectionsAtOnceKeepEveryByte(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{})
		up, down := random(8<<20), random(8<<20)
		var wg sync.WaitGroup
		wg.Go(func() { r.client.Write(up); r.client.CloseWrite() })
		wg.Go(func() { r.backend.Write(down); r.backend.CloseWrite() })
		var gotUp, gotDown []byte
		wg.Go(func() { gotUp = readAll(t, r.backend) })
		gotDown = readAll(t, r.client)
		wg.Wait()
		if sha256.Sum256(gotUp) != sha256.Sum256(up) || sha256.Sum256(gotDown) != sha256.Sum256(down) {
			t.Fatal("bytes differ")
		}
		select {
		case w := <-r.director.done:
			if w != end.ClientFIN && w != end.ServerFIN {
				t.Fatalf("end = %v", w)
			}
		case <-time.After(5 * time.Second):
			t.Fatal("the session did not end")
		}
		if in, out := r.session.In.Load(), r.session.Out.Load(); in != int64(len(up)) || out != int64(len(down)) {
			t.Fatalf("counted %d in, %d out", in, out)
		}
	})
}

func TestHC1ClientFinishesFirst(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{})
		r.client.Write([]byte("question"))
		r.client.CloseWrite()
		if got := readAll(t, r.backend); string(got) != "question" {
			t.Fatalf("backend got %q", got)
		}
		answer := random(10 << 20)
		go func() { r.backend.Write(answer); r.backend.Close() }()
		if got := readAll(t, r.client); !bytes.Equal(got, answer) {
			t.Fatal("the answer was cut")
		}
		r.end(end.ClientFIN)
	})
}

func TestHC2BackendFinishesFirst(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{})
		r.backend.CloseWrite()
		if got := readAll(t, r.client); len(got) != 0 {
			t.Fatalf("client got %q", got)
		}
		body := random(10 << 20)
		go func() { r.client.Write(body); r.client.Close() }()
		if got := readAll(t, r.backend); !bytes.Equal(got, body) {
			t.Fatal("the body was cut")
		}
		r.end(end.ServerFIN)
	})
}

func TestHC5BackendAbortReachesTheClientAsAbort(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{})
		r.backend.Write(random(100 << 10))
		io.ReadFull(r.client, make([]byte, 100<<10))
		sock.Abort(r.backend)
		r.client.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := r.client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("client read: %v, want a reset", err)
		}
		r.end(end.ServerReset)
	})
}

func TestHC6ClientAbortReachesTheBackendAsAbort(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{})
		sock.Abort(r.client)
		r.backend.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := r.backend.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("backend read: %v, want a reset", err)
		}
		r.end(end.ClientReset)
	})
}

func TestHC7HalfCloseTimeout(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{HalfCloseTimeout: 50 * time.Millisecond, IdleTimeout: time.Hour})
		r.client.CloseWrite()
		r.end(end.HalfCloseTimeout)
		if got := readAll(t, r.client); len(got) != 0 {
			t.Fatalf("client got %q", got)
		}
	})
}

func TestTO2IdleEnds(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{IdleTimeout: 50 * time.Millisecond})
		r.end(end.Idle)
	})
}

func TestTO4OneDirectionKeepsTheSession(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		const idle = 400 * time.Millisecond
		var r *rig
		stalled := true // the machine stood still for so long that a session may rightly end: nothing is shown, and it goes again
		for stalled {
			stalled = false
			r = newRig(t, c, Options{IdleTimeout: idle})
			start := time.Now()
			for last := start; !stalled && last.Sub(start) < 3*idle; last = time.Now() {
				_, failed := r.client.Write([]byte{1})
				if failed == nil {
					_, failed = io.ReadFull(r.backend, make([]byte, 1))
				}
				time.Sleep(idle / 8)
				if stalled = time.Since(last) > idle/2; failed != nil && !stalled {
					t.Fatal(failed)
				}
			}
		}
		r.client.Close()
		readAll(t, r.backend)
		r.backend.Close()
		r.end(end.ClientFIN)
	})
}

func TestRH1RefusedAttemptsGoOn(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		gone := refused(t)
		r := newRig(t, c, Options{ConnectTimeout: time.Minute}, gone, gone)
		r.client.Write([]byte("x"))
		r.client.CloseWrite()
		if got := readAll(t, r.backend); string(got) != "x" {
			t.Fatalf("backend got %q", got)
		}
		r.backend.Close()
		r.end(end.ClientFIN)
		if len(r.director.failed) != 2 || r.director.connected != 1 {
			t.Fatalf("failed %v, connected %d", r.director.failed, r.director.connected)
		}
		for _, err := range r.director.failed {
			if sock.Classify(err) != sock.Refused {
				t.Fatalf("%v is not a refusal", err)
			}
		}
	})
}

func TestNoPeerResetsTheClient(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		front := listen(t)
		client := dialTo(t, front)
		d := &director{done: make(chan end.Word, 1)}
		c.serve(t, front, func() (*Session, Director) { return new(Session), d })
		client.SetReadDeadline(time.Now().Add(5 * time.Second))
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Fatalf("client read: %v, want a reset", err)
		}
		if w := <-d.done; w != end.NoPeer {
			t.Fatalf("end = %v", w)
		}
	})
}

func TestKillEndsABlockedSessionOnce(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{})
		go r.client.Write(random(32 << 20)) // until every buffer on the way is full
		for r.session.In.Load() == 0 {
			time.Sleep(time.Millisecond) // polls a counter: there is no event to wait for
		}
		r.session.Kill(end.Shutdown)
		r.session.Kill(end.Idle)
		r.end(end.Shutdown)
	})
}

func TestTD9WriteThenCloseArrivesWhole(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{})
		body := random(1 << 20)
		go func() { r.client.Write(body); r.client.Close() }()
		if got := readAll(t, r.backend); !bytes.Equal(got, body) {
			t.Fatal("bytes were lost")
		}
		r.backend.Close()
		r.end(end.ClientFIN)
	})
}

func TestAcceptorBacksOffAndRecovers(t *testing.T) {
	ln := listen(t)
	a := NewAcceptor(ln, sock.Default)
	got := make(chan struct{}, 1)
	var wg sync.WaitGroup
	wg.Go(func() {
		a.Run(func(c sock.Conn) { c.Close(); got <- struct{}{} }, func(string) { t.Error("failed without cause") })
	})
	dialTo(t, ln)
	<-got
	a.Close()
	a.Close() // a second close is harmless
	wg.Wait()
}

// killer cuts the session at the moment in which a peer is reached but not yet the session's.
type killer struct {
	*director
	session *Session
}

func (k *killer) Connected() bool {
	k.session.Kill(end.Shutdown)
	return k.director.Connected()
}

func TestKillAroundTheConnectIsNotLost(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		for range 200 {
			front, back := listen(t), listen(t)
			dialTo(t, front)
			d := &director{addrs: []netip.AddrPort{sock.AddrPort(back.Addr())}, done: make(chan end.Word, 1)}
			s := new(Session)
			c.serve(t, front, func() (*Session, Director) { return s, d })
			s.Kill(end.Shutdown)
			if w := <-d.done; w != end.Shutdown { // hangs if the cut was lost
				t.Fatalf("end = %v", w)
			}
		}
		front, back := listen(t), listen(t)
		dialTo(t, front)
		d := &director{addrs: []netip.AddrPort{sock.AddrPort(back.Addr())}, done: make(chan end.Word, 1)}
		s := new(Session)
		c.serve(t, front, func() (*Session, Director) { return s, &killer{d, s} })
		if w := <-d.done; w != end.Shutdown {
			t.Fatalf("end = %v", w)
		}
	})
}

func TestAPeerGivenUpAtTheConnectIsReplaced(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		front, first, second := listen(t), listen(t), listen(t)
		client := dialTo(t, front)
		d := &director{
			addrs:    []netip.AddrPort{sock.AddrPort(first.Addr()), sock.AddrPort(second.Addr())},
			unwanted: 1, done: make(chan end.Word, 1),
		}
		s := new(Session)
		c.serve(t, front, func() (*Session, Director) { return s, d })
		if b := readAll(t, accept(t, first)); len(b) != 0 {
			t.Errorf("the peer that was given up got %q", b)
		}
		client.Write([]byte("all of it"))
		client.CloseWrite()
		backend := accept(t, second)
		if b := readAll(t, backend); string(b) != "all of it" {
			t.Errorf("the second peer got %q", b)
		}
		backend.Close()
		if w := <-d.done; w != end.ClientFIN {
			t.Errorf("end = %v", w)
		}
	})
}
