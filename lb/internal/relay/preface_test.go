package relay

import (
	"io"
	"net/netip"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// TestPP1ThePrefaceComesFirstOnEachConnection has a peer that refuses, one that is given up again, and one that serves.
func TestPP1ThePrefaceComesFirstOnEachConnection(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		front, shut, first, second := listen(t), listen(t), listen(t), listen(t)
		refused := sock.AddrPort(shut.Addr())
		shut.Close()
		client := dialTo(t, front)
		client.Write([]byte("from the client"))
		client.CloseWrite()
		d := &director{
			addrs:    []netip.AddrPort{refused, sock.AddrPort(first.Addr()), sock.AddrPort(second.Addr())},
			unwanted: 1, done: make(chan end.Word, 1),
		}
		s := &Session{Options: Options{Preface: []byte("preface: ")}}
		c.serve(t, front, func() (*Session, Director) { return s, d })
		if b := readAll(t, accept(t, first)); string(b) != "preface: " {
			t.Errorf("the peer that was given up got %q", b)
		}
		backend := accept(t, second)
		if b := readAll(t, backend); string(b) != "preface: from the client" {
			t.Errorf("the peer got %q", b)
		}
		backend.Close()
		if w := <-d.done; w != end.ClientFIN {
			t.Errorf("end = %v", w)
		}
		if n := s.In.Load(); n != int64(len("from the client")) {
			t.Errorf("%d bytes are counted as the client's", n)
		}
	})
}

// TestTD2ThePrefaceDoesNotWaitForTheClient has a server that answers the preface before the client has sent a byte.
func TestTD2ThePrefaceDoesNotWaitForTheClient(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{Preface: []byte("hello")})
		b := make([]byte, 5)
		r.backend.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := io.ReadFull(r.backend, b); err != nil || string(b) != "hello" {
			t.Fatalf("the peer got %q, %v", b, err)
		}
		r.backend.Write([]byte("welcome"))
		r.backend.Close()
		if got := readAll(t, r.client); string(got) != "welcome" {
			t.Errorf("the client got %q", got)
		}
		r.client.Close()
		r.end(end.ServerFIN)
	})
}
