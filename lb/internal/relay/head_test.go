package relay

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/preface"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

var (
	theClient = netip.MustParseAddrPort("192.0.2.1:1234")
	theLocal  = netip.MustParseAddrPort("198.51.100.2:5432")
)

// hears starts a session that wants a header, and gives its client.
func hears(t *testing.T, c carrier, o Options, back ...*net.TCPListener) (*net.TCPConn, *Session, *director) {
	t.Helper()
	front := listen(t)
	client := dialTo(t, front)
	d := &director{done: make(chan end.Word, 1)}
	for _, ln := range back {
		d.addrs = append(d.addrs, sock.AddrPort(ln.Addr()))
	}
	s := &Session{Options: o}
	begun := make(chan struct{})
	c.serve(t, front, func() (*Session, Director) { close(begun); return s, d })
	<-begun // who leaves before that was never there
	return client, s, d
}

// TestPP3AHeaderInPartsAndWhatFollowsIt splits header and payload at every place.
func TestPP3AHeaderInPartsAndWhatFollowsIt(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		for version := byte(1); version <= 2; version++ {
			all := append(preface.Format(version, theClient, theLocal), "payload"...)
			for i := range len(all) + 1 {
				back := listen(t)
				client, s, d := hears(t, c, Options{HeaderTimeout: time.Hour}, back)
				client.Write(all[:i])
				if i%4 == 0 {
					time.Sleep(time.Millisecond) // that parts come apart is to be likely, not certain
				}
				client.Write(all[i:])
				client.CloseWrite()
				backend := accept(t, back)
				if b := readAll(t, backend); string(b) != "payload" {
					t.Fatalf("v%d split at %d: the peer got %q", version, i, b)
				}
				backend.Close()
				if w := <-d.done; w != end.ClientFIN {
					t.Fatalf("v%d split at %d: end = %v", version, i, w)
				}
				if len(d.heard) != 1 || d.heard[0] != (preface.Header{Client: theClient, Local: theLocal}) {
					t.Fatalf("v%d split at %d: heard %v", version, i, d.heard)
				}
				if n := s.In.Load(); n != int64(len("payload")) {
					t.Fatalf("v%d split at %d: %d bytes are counted as the client's", version, i, n)
				}
			}
		}
	})
}

// TestPP3AHeaderByteByByteWithALongPayload has 4096 bytes of fields, and more behind it than a socket holds.
func TestPP3AHeaderByteByByteWithALongPayload(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		back := listen(t)
		client, _, d := hears(t, c, Options{HeaderTimeout: time.Hour}, back)
		header := preface.Format(2, theClient, theLocal)
		header[14], header[15] = 0x10, 0x00
		header = append(header, 0xe0, 0x0f, 0xf1)
		header = append(header, make([]byte, preface.Max-len(header))...)
		payload := random(1 << 20)
		client.SetNoDelay(true)
		for i := range 64 {
			client.Write(header[i : i+1])
		}
		client.Write(header[64:])
		go func() { client.Write(payload); client.CloseWrite() }()
		backend := accept(t, back)
		if b := readAll(t, backend); !bytes.Equal(b, payload) {
			t.Fatalf("the peer got %d bytes, or others", len(b))
		}
		backend.Close()
		if w := <-d.done; w != end.ClientFIN {
			t.Fatalf("end = %v", w)
		}
	})
}

func TestPP5PP9ClientsWithoutAHeader(t *testing.T) {
	for _, test := range []struct {
		name string
		o    Options
		do   func(client *net.TCPConn, s *Session)
		word end.Word
	}{
		{"rubbish", Options{HeaderTimeout: time.Hour}, func(c *net.TCPConn, _ *Session) { c.Write([]byte("GET / HTTP/1.1\r\n\r\n")) }, end.BadHeader},
		{"rubbish in the second part", Options{HeaderTimeout: time.Hour}, func(c *net.TCPConn, _ *Session) {
			c.Write([]byte("PROXY "))
			c.Write([]byte("ping\r\n"))
		}, end.BadHeader},
		{"silence", Options{HeaderTimeout: 30 * time.Millisecond}, func(*net.TCPConn, *Session) {}, end.PrereadTimeout},
		{"half a header", Options{HeaderTimeout: 30 * time.Millisecond, IdleTimeout: time.Hour}, func(c *net.TCPConn, _ *Session) {
			c.Write([]byte("PROXY TCP4 "))
		}, end.PrereadTimeout},
		{"an end", Options{HeaderTimeout: time.Hour}, func(c *net.TCPConn, _ *Session) { c.CloseWrite() }, end.ClientFIN},
		{"half a header and an end", Options{HeaderTimeout: time.Hour}, func(c *net.TCPConn, _ *Session) {
			c.Write([]byte("PROXY TCP4 "))
			c.CloseWrite()
		}, end.ClientFIN},
		{"an abort", Options{HeaderTimeout: time.Hour}, func(c *net.TCPConn, _ *Session) { sock.Abort(c) }, end.ClientReset},
		{"a kill", Options{HeaderTimeout: time.Hour}, func(_ *net.TCPConn, s *Session) { s.Kill(end.Shutdown) }, end.Shutdown},
		{"old age", Options{HeaderTimeout: time.Hour, MaxAge: 30 * time.Millisecond}, func(*net.TCPConn, *Session) {}, end.MaxAge},
	} {
		eachEngine(t, func(t *testing.T, c carrier) {
			client, s, d := hears(t, c, test.o)
			test.do(client, s)
			if w := <-d.done; w != test.word && !(test.word == end.ClientReset && w == end.ClientFIN) {
				t.Errorf("%s: end = %v, want %v", test.name, w, test.word)
			}
			if len(d.heard) != 0 {
				t.Errorf("%s: heard %v", test.name, d.heard)
			}
		})
	}
}

// TestKillBeforeTheHeaderIsAwaited cuts a session that nothing carries yet.
func TestKillBeforeTheHeaderIsAwaited(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		front := listen(t)
		dialTo(t, front)
		d := &director{done: make(chan end.Word, 1)}
		s := &Session{Options: Options{HeaderTimeout: time.Hour}}
		c.serve(t, front, func() (*Session, Director) {
			s.Kill(end.Shutdown)
			return s, d
		})
		if w := <-d.done; w != end.Shutdown { // hangs if the cut was lost
			t.Fatalf("end = %v", w)
		}
	})
}

func TestAHeaderMayBeRefused(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		front, back := listen(t), listen(t)
		client := dialTo(t, front)
		d := &director{addrs: []netip.AddrPort{sock.AddrPort(back.Addr())}, refuses: end.Denied, done: make(chan end.Word, 1)}
		c.serve(t, front, func() (*Session, Director) { return &Session{Options: Options{HeaderTimeout: time.Hour}}, d })
		client.Write(preface.Format(1, theClient, theLocal))
		if w := <-d.done; w != end.Denied || len(d.addrs) != 1 {
			t.Errorf("end = %v, %d addresses are left", w, len(d.addrs))
		}
		client.SetReadDeadline(time.Now().Add(10 * time.Second))
		if _, err := client.Read(make([]byte, 1)); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("the client reads %v, want a reset", err)
		}
	})
}
