//go:build linux

package integration

import (
	"errors"
	"net/http"
	"net/netip"
	"os"
	"syscall"
	"testing"
	"time"
)

func TestDR2(t *testing.T) {
	t.Parallel()
	const sessions = 50
	dns := startDNS(t)
	dns.SetA("db.test", 1, host(2))
	port := freePort(t)
	old, young := echo(t, at(2, port)), echo(t, at(3, port))
	e := start(t, setup{hosts: []string{"db.test"}, port: port, resolver: dns.Addr()})
	var live []client
	for range sessions {
		c := dial(t, e.addr)
		c.echoes(t, []byte("before"))
		live = append(live, c)
	}
	dns.SetA("db.test", 1, host(3))
	e.awaitPeers(t, young.addr.String())

	c := dial(t, e.addr)
	c.echoes(t, []byte("new"))
	if n := young.accepted.Load(); n != 1 {
		t.Errorf("the new peer has %d sessions, expected the new one", n)
	}
	c.Close()
	for _, c := range live {
		c.echoes(t, []byte("after"))
	}
	p, ok := e.poolStatus(t).peer(old.addr.String())
	if !ok || p.Active != sessions || p.State != "draining" {
		t.Errorf("the old peer: %+v", p)
	}
	series := label("peer", old.addr.String())
	if n := e.metrics(t).sum("ebb_peer_sessions_active", series); n != sessions {
		t.Errorf("the old peer has %v sessions by its metric", n)
	}
	for _, c := range live {
		c.Close()
	}
	eventually(t, "the end of the old peer", func() bool {
		_, listed := e.poolStatus(t).peer(old.addr.String())
		m := e.metrics(t)
		for _, name := range []string{"ebb_peer_sessions_active", "ebb_peer_sessions_total", "ebb_peer_up"} {
			if len(m.pick(name, series)) > 0 {
				return false
			}
		}
		return !listed
	})
	oracle(t, e, old, young)
}

// A peer that leaves with on.removed = "close" takes its sessions with it; with drain_timeout they have that long.
func TestRemovedPeerPolicies(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, pool, end string }{
		{"close", `on = { removed = "close" }`, "peer_removed"},
		{"drain_timeout", `drain_timeout = "300ms"`, "drained"},
	} {
		t.Run(c.name, func(t *testing.T) {
			dns := startDNS(t)
			dns.SetA("db.test", 1, host(2))
			port := freePort(t)
			old, young := echo(t, at(2, port)), echo(t, at(3, port))
			e := start(t, setup{hosts: []string{"db.test"}, port: port, resolver: dns.Addr(), pool: c.pool})
			cl := dial(t, e.addr)
			cl.echoes(t, []byte("before"))
			dns.SetA("db.test", 1, host(3))
			if got, err := cl.Read(make([]byte, 1)); err == nil {
				t.Fatalf("read %d bytes", got)
			}
			if s := e.oneSession(t); s.End != c.end {
				t.Errorf("%+v", s)
			}
			cl.Close()
			oracle(t, e, old, young)
		})
	}
}

// A peer leaves and takes thousands of idle sessions with it at once, while another session goes on: every client sees its end, each
// line says why, and ebb is as large as before. How long it took, and what the session beside them waited at most, is said.
func TestDR6IdleSessionsOfARemovedPeer(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			const sessions = 3000
			dns := startDNS(t)
			dns.SetA("db.test", 1, host(2))
			port := freePort(t)
			old, young := echo(t, at(2, port)), echo(t, at(3, port))
			e := start(t, setup{
				plain: true, top: onEngine(engine), hosts: []string{"db.test"}, port: port, resolver: dns.Addr(),
				pool: "close_rate = \"off\"\non = { removed = \"close\" }",
			})
			idle := make([]client, sessions)
			for i := range idle {
				idle[i] = dial(t, e.addr)
				idle[i].echoes(t, []byte{1})
			}
			full := e.usage(t)
			dns.SetA("db.test", 1, host(2), host(3))
			e.awaitPeers(t, old.addr.String(), young.addr.String())
			var beside client
			for young.live() == 0 {
				beside = dial(t, e.addr)
				beside.echoes(t, []byte{1})
			}
			stop, slowest := make(chan struct{}), make(chan time.Duration)
			go func() {
				var most time.Duration
				defer func() { slowest <- most }()
				for {
					select {
					case <-stop:
						return
					default:
					}
					begin := time.Now()
					if err := beside.said("x"); err != nil {
						t.Errorf("the session beside them: %v", err)
						return
					}
					most = max(most, time.Since(begin))
				}
			}()
			dns.SetA("db.test", 1, host(3))
			var begin time.Time
			for i, c := range idle {
				if n, err := c.Read(make([]byte, 1)); n > 0 || err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
					t.Errorf("client %d: %d bytes, %v", i, n, err)
				}
				if i == 0 {
					begin = time.Now()
				}
				c.Close()
			}
			took := time.Since(begin)
			close(stop)
			t.Logf("%d sessions ended within %v of the first; an exchange beside them took at most %v", sessions, took, <-slowest)
			eventually(t, "the lines of all", func() bool { return len(e.logs.ended()) >= sessions })
			for _, s := range e.logs.ended() {
				if s.Peer == old.addr.String() && s.End != "peer_removed" {
					t.Fatalf("%+v", s)
				}
			}
			if now := e.usage(t); now.peak > full.peak+slackRSS {
				t.Errorf("at most %d MiB while they ended, %d MiB with all of them idle", now.peak>>20, full.peak>>20)
			}
			beside.Close()
			oracle(t, e, old, young)
		})
	}
}

func TestDR3(t *testing.T) {
	t.Parallel()
	const sessions, grace, late = 100, 5 * time.Second, 2 * time.Second
	b := echo(t, at(2, freePort(t)))
	e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port(), top: `shutdown_timeout = "5s"`})
	if code, body, err := e.get("/readyz"); code != http.StatusOK {
		t.Fatalf("readyz: %d %q %v", code, body, err)
	}
	var live []client
	for range sessions {
		c := dial(t, e.addr)
		c.echoes(t, []byte("before"))
		live = append(live, c)
	}
	begin := time.Now()
	e.signal(t, syscall.SIGTERM)
	eventually(t, "refused connects", func() bool {
		c, err := dialFrom(netip.AddrPort{}, e.addr)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	t.Logf("connects are refused after %v", time.Since(begin))
	if code, body, err := e.get("/readyz"); code != http.StatusServiceUnavailable {
		t.Errorf("readyz while stopping: %d %q %v", code, body, err)
	}
	if code, _, err := e.get("/livez"); code != http.StatusOK {
		t.Errorf("livez while stopping: %d %v", code, err)
	}
	echoes := 0
	for ; echoes < sessions || time.Since(begin) < grace-late; echoes++ { // each of them, and as long as may be
		live[echoes%sessions].echoes(t, []byte("still"))
	}
	if code := e.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	atLeast(t, "the exit", time.Since(begin), grace)
	e.soundLog(t)
	ids := make(map[uint64]bool)
	cut := 0
	for _, s := range e.logs.ended() {
		if ids[s.ID] {
			t.Errorf("session %d has two lines", s.ID)
		}
		ids[s.ID] = true
		if s.End == "shutdown" {
			cut++
		}
	}
	if cut != sessions {
		t.Errorf("%d lines with end=shutdown, expected %d", cut, sessions)
	}
}

// While ebb stops, a flow goes on both ways and a new one is not opened. It ends when its flows are idle.
func TestDR4(t *testing.T) {
	t.Parallel()
	b := echoUDP(t, at(2, freePort(t)))
	e := start(t, setup{network: "udp", hosts: []string{host(2)}, port: b.addr.Port(), listener: `idle_timeout = "3s"`, top: `shutdown_timeout = "1m"`})
	old := listenUDP(t, at(1, 0))
	echoes := func() {
		old.send(t, []byte("still"), e.addr)
		if got, _ := old.recv(t); string(got) != "still" {
			t.Fatalf("%q came back", got)
		}
	}
	echoes()
	e.signal(t, syscall.SIGTERM)
	eventually(t, "a new client to be turned away", func() bool {
		echoes()
		listenUDP(t, at(1, 0)).send(t, []byte("new"), e.addr)
		return e.metrics(t).sum("ebb_udp_dropped_total", label("reason", "closing")) > 0
	})
	echoes()
	if code := e.wait(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	for _, s := range e.logs.ended() {
		if s.End != "idle" {
			t.Errorf("%+v", s)
		}
	}
	e.soundLog(t)
}

// Once the last session has ended there is nothing to wait for, and a second signal waits for nothing.
func TestShutdownWaitsNoLongerThanNeeded(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name string
		end  func(*testing.T, *ebb, client)
	}{
		{"the last session ends", func(_ *testing.T, _ *ebb, c client) { c.Close() }},
		{"a second signal", func(t *testing.T, e *ebb, _ client) { e.signal(t, syscall.SIGTERM) }},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := echo(t, at(2, freePort(t)))
			e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port(), top: `shutdown_timeout = "10m"`})
			cl := dial(t, e.addr)
			cl.echoes(t, []byte("x"))
			e.signal(t, syscall.SIGTERM)
			eventually(t, "the stop", func() bool { return len(e.logs.find("stopping")) > 0 })
			if !e.alive() {
				t.Fatal("gone with a session open")
			}
			c.end(t, e, cl)
			if code := e.wait(t); code != 0 {
				t.Errorf("exit code %d", code)
			}
			e.soundLog(t)
			if n := len(e.logs.ended()); n != 1 {
				t.Errorf("%d session lines", n)
			}
		})
	}
}
