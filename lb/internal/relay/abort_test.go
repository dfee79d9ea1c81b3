package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// late is a director whose first Next waits, so that a test can act on the client before there is a connect.
type late struct {
	*director
	asked, open chan struct{}
}

func (d *late) Next() (netip.AddrPort, end.Word) {
	select {
	case d.asked <- struct{}{}:
	default:
	}
	<-d.open
	return d.director.Next()
}

// before starts a session whose client is in the test's hands while no peer is connected yet.
func before(t *testing.T, c carrier, o Options, act func(client *net.TCPConn)) *rig {
	t.Helper()
	front, back := listen(t), listen(t)
	d := &late{&director{addrs: []netip.AddrPort{sock.AddrPort(back.Addr())}, done: make(chan end.Word, 1)}, make(chan struct{}, 1), make(chan struct{})}
	r := &rig{t: t, session: &Session{Options: o}, director: d.director, client: dialTo(t, front)}
	c.serve(t, front, func() (*Session, Director) { return r.session, d })
	<-d.asked // a client that is gone when it is accepted is no session
	act(r.client)
	close(d.open)
	r.backend = accept(t, back)
	return r
}

// The client is gone before the connect ends: what it has said is passed on whole, and how it went.
func TestClientGoesBeforeTheConnect(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		t.Run("end", func(t *testing.T) {
			r := before(t, c, Options{}, func(client *net.TCPConn) { client.Write([]byte("all of it")); client.Close() })
			if b := readAll(t, r.backend); string(b) != "all of it" {
				t.Errorf("the peer got %q", b)
			}
			r.backend.Close()
			r.ends(end.ClientFIN)
		})
		t.Run("abort", func(t *testing.T) {
			r := before(t, c, Options{}, func(client *net.TCPConn) { sock.Abort(client) })
			wantReset(t, r.backend)
			r.ends(end.ClientReset)
		})
	})
}

// wantReset reads until the connection is cut.
func wantReset(t *testing.T, c *net.TCPConn) {
	t.Helper()
	c.SetReadDeadline(time.Now().Add(20 * time.Second))
	if n, err := io.Copy(io.Discard, c); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("%d bytes, then %v, want a reset", n, err)
	}
}

// An abort of either side ends the session in every state that has both, and the other side sees an abort.
func TestAbortsInEveryState(t *testing.T) {
	quiet := func(r *rig) { r.say(r.client, r.backend, "q") }
	states := []struct {
		name  string
		enter func(*rig)
	}{
		{"nothing was said", func(*rig) {}},
		{"a question is open", quiet},
		{"both ways are full", func(r *rig) {
			go r.client.Write(make([]byte, 32<<20))
			go r.backend.Write(make([]byte, 32<<20))
			for last := int64(-1); ; time.Sleep(50 * time.Millisecond) { // there is no event for "nothing moves"
				now := r.session.In.Load() + r.session.Out.Load()
				if now > 0 && now == last {
					return
				}
				last = now
			}
		}},
		{"the client has finished", func(r *rig) { quiet(r); r.client.CloseWrite(); readAll(r.t, r.backend) }},
		{"the peer has finished", func(r *rig) { quiet(r); r.backend.CloseWrite(); readAll(r.t, r.client) }},
	}
	eachEngine(t, func(t *testing.T, c carrier) {
		for _, state := range states {
			for _, who := range []string{"client", "peer"} {
				t.Run(state.name+", "+who, func(t *testing.T) {
					r := newRig(t, c, Options{})
					for !r.session.Upstream().IsValid() {
						time.Sleep(time.Millisecond)
					}
					state.enter(r)
					aborter, other, want := r.client, r.backend, end.ClientReset
					if who == "peer" {
						aborter, other, want = r.backend, r.client, end.ServerReset
					}
					sock.Abort(aborter)
					// Who has finished is not listened to any more: that it is gone shows when something is sent to it.
					other.SetWriteDeadline(time.Now().Add(20 * time.Second))
					for err := error(nil); err == nil; time.Sleep(time.Millisecond) {
						_, err = other.Write([]byte("more"))
					}
					r.ends(want)
				})
			}
		}
	})
}

// Bytes, the end and an abort that come together: the other side has the bytes, if it sees the end, and else an abort. It never
// sees the end of less.
func TestEndAndAbortTogether(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		data := random(100 << 10)
		whole := 0
		for i := range 40 {
			r := newRig(t, c, Options{})
			from, to := r.client, r.backend
			if i%2 == 1 {
				from, to = to, from
			}
			from.Write(data)
			from.CloseWrite()
			sock.Abort(from)
			to.SetDeadline(time.Now().Add(20 * time.Second))
			got, err := io.ReadAll(to)
			switch {
			case err == nil && bytes.Equal(got, data):
				whole++
			case err == nil || !errors.Is(err, syscall.ECONNRESET) || !bytes.HasPrefix(data, got):
				t.Errorf("%d of %d bytes, then %v", len(got), len(data), err)
			}
			to.Close()
			select {
			case <-r.director.done:
			case <-time.After(20 * time.Second):
				t.Fatal("it lives on")
			}
		}
		t.Logf("%d of 40 were passed on whole", whole)
	})
}

// A client that sends byte by byte, and reads so, loses nothing.
func TestByteByByte(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{})
		want := random(2000)
		go func() {
			for i := range want {
				r.client.Write(want[i : i+1])
			}
			r.client.CloseWrite()
			_, _ = io.Copy(struct{ io.Writer }{r.backend}, r.backend)
			r.backend.CloseWrite()
		}()
		r.client.SetReadDeadline(time.Now().Add(20 * time.Second))
		got, b := []byte(nil), make([]byte, 1)
		for {
			n, err := r.client.Read(b)
			if err == io.EOF {
				break
			}
			if err != nil {
				t.Fatalf("%v after %d bytes", err, len(got))
			}
			got = append(got, b[:n]...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d of %d bytes came back, or others", len(got), len(want))
		}
		r.ends(end.ClientFIN)
	})
}
