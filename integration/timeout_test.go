//go:build linux

package integration

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTO1(t *testing.T) {
	t.Parallel()
	t.Run("one peer", func(t *testing.T) {
		port := freePort(t)
		hang(t, at(2, port))
		e := start(t, setup{hosts: []string{host(2)}, port: port})
		atLeast(t, "the client's end", e.wantRefusal(t), time.Second)
		if s := e.oneSession(t); s.End != "connect_timeout" || !strings.Contains(s.Attempts, "timeout") {
			t.Errorf("%+v", s)
		}
		oracle(t, e)
	})
	t.Run("the second serves", func(t *testing.T) {
		port := freePort(t)
		hang(t, at(2, port))
		b := echo(t, at(3, port))
		e := start(t, setup{hosts: []string{host(2), host(3)}, port: port}) // a second: who is late by less is no peer that hangs
		for range 2 {                                                       // in turn, so that one of them at least meets the peer that hangs
			if err := talk(e.addr); err != nil {
				t.Error(err)
			}
		}
		oracle(t, e, b)
		retried := 0
		for _, s := range e.logs.ended() {
			if first, second, ok := strings.Cut(s.Attempts, ", "); ok {
				retried++
				if !strings.HasPrefix(first, at(2, port).String()+" timeout ") || !strings.HasPrefix(second, at(3, port).String()+" ok ") {
					t.Errorf("attempts %q", s.Attempts)
				}
			}
		}
		if retried == 0 {
			t.Errorf("no session tried twice: %+v", e.logs.ended())
		}
	})
}

func TestTO2(t *testing.T) {
	t.Parallel()
	ended := make(chan time.Time, 1)
	b := serve(t, at(2, freePort(t)), func(c peerConn) {
		_, _ = io.Copy(io.Discard, struct{ io.Reader }{c})
		ended <- time.Now()
	})
	e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port(), listener: `idle_timeout = "1s"`})
	begin := time.Now()
	dial(t, e.addr).rest(t)
	atLeast(t, "the client's end", time.Since(begin), time.Second)
	atLeast(t, "the peer's end", (<-ended).Sub(begin), time.Second)
	if s := e.oneSession(t); s.End != "idle" {
		t.Errorf("%+v", s)
	}
	oracle(t, e, b)
}

func TestTO4(t *testing.T) {
	t.Parallel()
	b := silent(t, at(2, freePort(t)))
	e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port(), listener: `idle_timeout = "3s"`})
	c := dial(t, e.addr)
	tick := time.NewTicker(250 * time.Millisecond) // much less, for a client that is held up is not idle
	defer tick.Stop()
	for range 16 {
		c.send(t, []byte{1})
		<-tick.C
	}
	if err := c.SetReadDeadline(time.Now().Add(10 * time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	var timeout net.Error
	if _, err := c.Read(make([]byte, 1)); !errors.As(err, &timeout) || !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("client read: %v, expected an open connection", err)
	}
	if n := len(e.logs.ended()); n > 0 {
		t.Errorf("closed: %+v", e.logs.ended())
	}
	c.abort()
	oracle(t, e, b)
}

// TestTO6 has clients that are slow with their header: the time for it runs from the accept, and no byte makes it longer. Who has
// said it whole is not under it any more.
func TestTO6(t *testing.T) {
	header := []byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x0f\x00") // v2, LOCAL, 3840 bytes of TLVs
	header = append(header, make([]byte, 3840)...)
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			b := echo(t, at(2, freePort(t)))
			e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port(), top: onEngine(engine), listener: "proxy_in = [\"127.0.0.0/8\"]\npreread_timeout = \"1s\""})
			for name, first := range map[string]int{"byte by byte": 1, "all but the last": len(header) - 1} {
				begin := time.Now()
				c := dial(t, e.addr)
				c.send(t, header[:first])
				var writing sync.WaitGroup
				cut := make(chan struct{})
				if name == "byte by byte" {
					writing.Go(func() {
						tick := time.NewTicker(100 * time.Millisecond)
						defer tick.Stop()
						for next := first; next < len(header)-1; next++ {
							select {
							case <-tick.C:
								_, _ = c.Write(header[next : next+1]) // the reader finds out
							case <-cut:
								return
							}
						}
					})
				}
				if n, err := c.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("%s: read %d bytes, %v, want the end", name, n, err)
				}
				close(cut)
				writing.Wait()
				atLeast(t, name+": the client's end", time.Since(begin), time.Second)
				c.abort()
			}
			c := dial(t, e.addr)
			c.send(t, header)
			time.Sleep(1500 * time.Millisecond) // the scenario: whole, and then silent for longer than the header may take
			c.echoes(t, []byte("still here"))
			c.Close()
			oracle(t, e)
			for _, s := range e.logs.ended() {
				if want := map[bool]string{true: "client_fin", false: "preread_timeout"}[s.In > 0]; s.End != want {
					t.Errorf("%+v", s)
				}
			}
			if n := b.accepted.Load(); n != 1 {
				t.Errorf("the peer has seen %d connections", n)
			}
		})
	}
}
