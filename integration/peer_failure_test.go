//go:build linux

package integration

import (
	"errors"
	"io"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

func TestPeerDeadAtStart(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	e := start(t, setup{hosts: []string{host(2)}, port: port})
	e.wantRefusal(t)
	if s := e.oneSession(t); s.End != "connect_failed" || s.Peer != at(2, port).String() {
		t.Errorf("%+v", s)
	}
	oracle(t, e)
}

// A peer that dies under load takes its own sessions with it and no others, and new clients do not notice.
func TestPeerDiesUnderLoad(t *testing.T) {
	t.Parallel()
	const sessions = 40
	port := freePort(t)
	doomed, good := echo(t, at(2, port)), echo(t, at(3, port))
	e := start(t, setup{hosts: []string{host(2), host(3)}, port: port})
	type verdict struct{ cut, whole bool }
	verdicts := make([]verdict, sessions)
	stop := make(chan struct{})
	var answered atomic.Int64 // sessions, once
	var wg sync.WaitGroup
	for i := range sessions {
		c := dial(t, e.addr)
		wg.Go(func() {
			defer c.Close()
			data, got := noise(uint64(i), 10_000), make([]byte, 10_000)
			for round := 0; ; round++ {
				if round == 1 {
					answered.Add(1)
				}
				select {
				case <-stop:
					verdicts[i].whole = true
					return
				default:
				}
				if _, err := c.Write(data); err != nil {
					verdicts[i].cut = true
					return
				}
				if _, err := io.ReadFull(c, got); err != nil {
					verdicts[i].cut = err != io.EOF && err != io.ErrUnexpectedEOF // a clean end would hide the loss
					return
				}
			}
		})
	}
	eventually(t, "all sessions", func() bool { return answered.Load() == sessions })
	lost := doomed.live() // half of them, or a turn more or less: a burst takes several turns at a time
	if kept := good.live(); lost+kept != sessions || lost < sessions/4 || kept < sessions/4 {
		t.Fatalf("%d and %d sessions, expected about %d on each peer", lost, kept, sessions/2)
	}
	doomed.close()
	eventually(t, "the end of the lost sessions", func() bool { return len(e.logs.ended()) == lost })
	for range 20 {
		if err := talk(e.addr); err != nil {
			t.Errorf("a new client: %v", err)
		}
	}
	close(stop)
	wg.Wait()
	cut, whole := 0, 0
	for _, v := range verdicts {
		if v.cut {
			cut++
		}
		if v.whole {
			whole++
		}
	}
	if cut != lost || whole != sessions-lost {
		t.Errorf("%d sessions were cut and %d went on, expected %d and %d", cut, whole, lost, sessions-lost)
	}
	oracle(t, e, doomed, good)
	for _, s := range e.logs.ended() {
		if want := map[bool]string{true: "server_reset", false: "client_fin"}[s.Peer == doomed.addr.String()]; s.End != want {
			t.Errorf("%+v", s)
		}
	}
}

// Resets before the first byte count against a peer as refusals do.
func TestPeerResets(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	bad, good := resetter(t, at(2, port)), echo(t, at(3, port))
	e := start(t, setup{hosts: []string{host(2), host(3)}, port: port})
	begin := time.Now()
	for n := range 20 {
		if err := talk(e.addr); err != nil && !errors.Is(err, syscall.ECONNRESET) && !errors.Is(err, syscall.EPIPE) {
			t.Errorf("client: %v, expected an answer or a reset", err)
		}
		eventually(t, "the end", func() bool { return len(e.logs.ended()) > n })
	}
	took := time.Since(begin)
	oracle(t, e, bad, good)
	resets := 0
	for _, s := range e.logs.ended() {
		switch {
		case s.End == "client_fin" && s.Peer == good.addr.String():
		case s.End == "server_reset" && s.Peer == bad.addr.String():
			resets++
		default:
			t.Errorf("%+v", s)
		}
	}
	if took < 4*time.Second && resets != 3 {
		t.Errorf("%d sessions met the peer that resets, expected an ejection after 3", resets)
	}
}

// A check that finds the peer dead closes the sessions that would otherwise hang.
func TestCheckDownClosesSessions(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, pool string
		closed     bool
	}{{"close", "", true}, {"keep", `on = { dead = "keep" }`, false}} {
		t.Run(c.name, func(t *testing.T) {
			port := freePort(t)
			doomed, good := silent(t, at(2, port)), echo(t, at(3, port))
			e := start(t, setup{hosts: []string{host(2)}, port: port, check: "rise = 2", pool: c.pool})
			cl := dial(t, e.addr)
			cl.send(t, []byte("x"))
			eventually(t, "the byte", func() bool { return doomed.received.Load() == 1 })
			doomed.deafen()
			eventually(t, "the check's word", func() bool { return len(e.logs.find("peer down", "reason", "refused")) > 0 })
			if c.closed {
				cl.rest(t)
				if s := e.oneSession(t); s.End != "peer_dead" {
					t.Errorf("%+v", s)
				}
			} else {
				eventually(t, "the state", func() bool {
					p, ok := e.poolStatus(t).peer(doomed.addr.String())
					return ok && p.Health == "down" && p.Active == 1
				})
				cl.abort()
			}
			oracle(t, e, doomed, good)
		})
	}
}

// A dead peer gets nothing while a check says so, without a single failed connect.
func TestCheckKeepsClientsAway(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	good := echo(t, at(3, port)) // nobody is at 127.0.0.2
	e := start(t, setup{hosts: []string{host(2), host(3)}, port: port, check: "rise = 2"})
	eventually(t, "the check's word", func() bool {
		return len(e.logs.find("peer down")) > 0 && len(e.logs.find("peer up")) > 0
	})
	for range 10 {
		if err := talk(e.addr); err != nil {
			t.Error(err)
		}
	}
	oracle(t, e, good)
	for _, s := range e.logs.ended() {
		if strings.Contains(s.Attempts, "refused") {
			t.Errorf("%+v", s)
		}
	}
	if up := e.metrics(t).sum("ebb_peer_up"); up != 1 {
		t.Errorf("%v peers up", up)
	}
}
