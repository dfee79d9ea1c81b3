//go:build linux

package integration

import (
	"bytes"
	"errors"
	"io"
	"syscall"
	"testing"
	"time"
)

func TestHC1(t *testing.T) {
	answer := noise(1, 10<<20)
	b := serve(t, at(2, freePort(t)), func(c peerConn) {
		if q, err := io.ReadAll(struct{ io.Reader }{c}); err == nil && string(q) == "question" {
			_, _ = c.Write(answer)
		}
	})
	e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port()})
	c := dial(t, e.addr)
	c.send(t, []byte("question"))
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if got := c.rest(t); !bytes.Equal(got, answer) {
		t.Errorf("%d of %d bytes", len(got), len(answer))
	}
	if s := e.oneSession(t); s.End != "client_fin" {
		t.Errorf("%+v", s)
	}
	oracle(t, e, b)
}

func TestHC2(t *testing.T) {
	got := make(chan []byte, 1)
	b := serve(t, at(2, freePort(t)), func(c peerConn) {
		_ = c.CloseWrite()
		data, err := io.ReadAll(struct{ io.Reader }{c})
		if err != nil {
			data = nil
		}
		got <- data
	})
	e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port()})
	c := dial(t, e.addr)
	if early := c.rest(t); len(early) > 0 {
		t.Errorf("client got %q", early)
	}
	body := noise(2, 10<<20)
	c.send(t, body)
	c.Close()
	if data := <-got; !bytes.Equal(data, body) {
		t.Errorf("%d of %d bytes", len(data), len(body))
	}
	if s := e.oneSession(t); s.End != "server_fin" {
		t.Errorf("%+v", s)
	}
	oracle(t, e, b)
}

func TestHC4(t *testing.T) {
	t.Parallel()
	b := serve(t, at(2, freePort(t)), func(c peerConn) { _, _ = c.Write([]byte("world")) })
	e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port()})
	c := dial(t, e.addr)
	time.Sleep(time.Second) // the scenario: the client is late
	if got := c.rest(t); string(got) != "world" {
		t.Errorf("got %q", got)
	}
	c.Close()
	if s := e.oneSession(t); s.End != "server_fin" {
		t.Errorf("%+v", s)
	}
	oracle(t, e, b)
}

func TestHC5(t *testing.T) {
	const part = 100 << 10
	b := serve(t, at(2, freePort(t)), func(c peerConn) {
		_, _ = c.Write(make([]byte, part))
		_, _ = c.Read(make([]byte, 1)) // until the client has all of it, for a reset overtakes what is queued
		c.abort()
	})
	e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port()})
	c := dial(t, e.addr)
	c.recv(t, part)
	c.send(t, []byte("x"))
	c.wantReset(t)
	if s := e.oneSession(t); s.End != "server_reset" || s.Out != part {
		t.Errorf("%+v", s)
	}
	oracle(t, e, b)
}

func TestHC6(t *testing.T) {
	broken := make(chan error, 1)
	b := serve(t, at(2, freePort(t)), func(c peerConn) {
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				broken <- err
				return
			}
		}
	})
	e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port()})
	c := dial(t, e.addr)
	c.recv(t, 1<<20)
	c.abort()
	select {
	case err := <-broken:
		if !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) { // EPIPE: the reset came between two writes
			t.Errorf("the peer's write: %v", err)
		}
	case <-time.After(patience):
		t.Fatal("the peer was not told")
	}
	if s := e.oneSession(t); s.End != "client_reset" {
		t.Errorf("%+v", s)
	}
	oracle(t, e, b)
}

func TestHC7(t *testing.T) {
	t.Parallel()
	b := silent(t, at(2, freePort(t)))
	e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port(), listener: `half_close_timeout = "1s"`})
	c := dial(t, e.addr)
	c.send(t, []byte("last"))
	begin := time.Now()
	if err := c.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	c.rest(t)
	atLeast(t, "the client's end", time.Since(begin), time.Second)
	if s := e.oneSession(t); s.End != "half_close_timeout" || s.In != 4 {
		t.Errorf("%+v", s)
	}
	oracle(t, e, b)
}

// atLeast checks that something did not come early, and not so late that another limit was at work.
func atLeast(t *testing.T, what string, took, limit time.Duration) {
	t.Helper()
	t.Logf("%s came after %v, the limit is %v", what, took, limit)
	if took < limit-20*time.Millisecond || took > limit+5*time.Second {
		t.Errorf("%s came after %v, expected %v and little more", what, took, limit)
	}
}

// TestHC9 stops ebb, with no time for sessions to end, while large answers are on their way to clients that do not take them.
func TestHC9(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			const sessions = 20
			b := serve(t, at(2, freePort(t)), func(c peerConn) { _, _ = c.Write(make([]byte, 64<<20)) })
			e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port(), top: `shutdown_timeout = "1ms"` + "\n" + onEngine(engine)})
			for range sessions {
				dialNarrow(t, e.addr).recv(t, 1)
			}
			begin := time.Now()
			if code := e.stop(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			t.Logf("gone within %v", time.Since(begin))
			e.soundLog(t)
			ended := e.logs.ended()
			for _, s := range ended {
				if s.End != "shutdown" {
					t.Errorf("%+v", s)
				}
			}
			if len(ended) != sessions {
				t.Errorf("%d lines of %d sessions", len(ended), sessions)
			}
		})
	}
}
