//go:build linux

package integration

import (
	"errors"
	"fmt"
	"net/http"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestRH1(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	b := echo(t, at(3, port)) // nobody is at 127.0.0.2
	e := start(t, setup{hosts: []string{host(2), host(3)}, port: port})
	for range 2 { // in turn, so that one of them at least begins at the peer that refuses
		if err := talk(e.addr); err != nil {
			t.Error(err)
		}
	}
	oracle(t, e, b)
	retried := 0
	want := regexp.MustCompile(fmt.Sprintf(`^127\.0\.0\.2:%d refused \d+\.\d+ms, 127\.0\.0\.3:%d ok \d+\.\d+ms$`, port, port))
	for _, s := range e.logs.ended() {
		if strings.Contains(s.Attempts, ",") {
			retried++
			if !want.MatchString(s.Attempts) {
				t.Errorf("attempts %q", s.Attempts)
			}
		}
		if s.Peer != b.addr.String() {
			t.Errorf("%+v", s)
		}
	}
	if retried == 0 {
		t.Error("no session tried twice")
	}
}

func TestRH2(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	b := echo(t, at(3, port)) // nobody is at 127.0.0.2
	e := start(t, setup{hosts: []string{host(2), host(3)}, port: port, pool: "connect_attempts = 1"})
	const conns = 4 // two of them on each, and too few failures for an ejection
	answered := 0
	for n := range conns {
		switch err := talk(e.addr); {
		case err == nil:
			answered++
		case !errors.Is(err, syscall.ECONNRESET):
			t.Errorf("client: %v, expected a reset", err)
		}
		eventually(t, "the end", func() bool { return len(e.logs.ended()) == n+1 })
	}
	oracle(t, e, b)
	served := 0
	for _, s := range e.logs.ended() {
		switch {
		case s.End == "client_fin" && s.Peer == b.addr.String():
			served++
		case s.End == "connect_failed" && strings.HasPrefix(s.Attempts, at(2, port).String()+" refused ") && !strings.Contains(s.Attempts, ","):
		default:
			t.Errorf("%+v", s)
		}
	}
	if n := b.accepted.Load(); served != conns/2 || answered != served || n != int64(served) {
		t.Errorf("%d clients answered, %d sessions served, %d connections to the peer that works", answered, served, n)
	}
}

func TestRH15(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	e := launch(t, setup{plain: true, hosts: []string{host(2), host(3)}, port: port, check: "rise = 2"})
	eventually(t, "both peers down", func() bool {
		for _, n := range []byte{2, 3} {
			if p, ok := e.poolStatus(t).peer(at(n, port).String()); !ok || p.Health != "down" {
				return false
			}
		}
		return true
	})
	quickest := patience
	const conns = 50
	used := e.load(t, func() {
		tick := time.NewTicker(100 * time.Millisecond)
		defer tick.Stop()
		for range conns {
			quickest = min(quickest, e.wantRefusal(t))
			<-tick.C
		}
	})
	t.Logf("quickest refusal %v, %.1f %% of a core", quickest, 100*used)
	if used > 0.10 {
		t.Errorf("used %.0f %% of a core with no peer", 100*used)
	}
	if quickest > 50*time.Millisecond {
		t.Errorf("clients were told after %v at best", quickest)
	}
	for _, s := range e.logs.ended() {
		if s.End != "no_peer" {
			t.Fatalf("%+v", s)
		}
	}
	if code, body, err := e.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "pool t") {
		t.Errorf("readyz: %d %q %v", code, body, err)
	}
	b := echo(t, at(3, port)) // nobody is at 127.0.0.2
	begin := time.Now()
	eventually(t, "a session served", func() bool { return talk(e.addr) == nil })
	t.Logf("served %v after the peer came up", time.Since(begin))
	if took := time.Since(begin); took > 600*time.Millisecond+5*time.Second { // interval × rise + 0.2 s, and a busy machine
		t.Errorf("served only %v after the peer came up", took)
	}
	e.awaitReady(t)
	oracle(t, e, b)
}

// A peer that refuses three times in a row is left alone, and comes back by itself.
func TestPassiveEjection(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	good := echo(t, at(3, port)) // nobody is at 127.0.0.2
	e := start(t, setup{hosts: []string{host(2), host(3)}, port: port})
	begin := time.Now()
	for range 20 {
		if err := talk(e.addr); err != nil {
			t.Fatal(err)
		}
	}
	p, ok := e.poolStatus(t).peer(at(2, port).String())
	if took := time.Since(begin); took > 4*time.Second {
		t.Skipf("20 sessions took %v: the ejection is over before they are", took)
	}
	oracle(t, e, good)
	if n := e.refusedAttempts(); n != 3 {
		t.Errorf("%d attempts were refused, expected an ejection after 3", n)
	}
	if !ok || p.State != "ejected" {
		t.Errorf("%+v", p)
	}
	eventually(t, "a try after the ejection", func() bool {
		if err := talk(e.addr); err != nil {
			t.Fatal(err)
		}
		return e.refusedAttempts() > 3
	})
}

// refusedAttempts counts, over the sessions that have ended, the connects that a peer refused.
func (e *ebb) refusedAttempts() (n int) {
	for _, s := range e.logs.ended() {
		n += strings.Count(s.Attempts, " refused ")
	}
	return n
}
