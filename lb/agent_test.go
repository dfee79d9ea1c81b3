package lb

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
)

// serveAgents answers on one port of every address with the line for it.
func serveAgents(t *testing.T, lines map[string]*atomic.Pointer[string]) int {
	t.Helper()
	ln := listenOn(t, "0.0.0.0", 0)
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() {
				ip := netip.MustParseAddrPort(c.LocalAddr().String()).Addr().Unmap().String()
				_, _ = io.WriteString(c, *lines[ip].Load()+"\n")
				_, _ = io.Copy(io.Discard, c)
				c.Close()
			})
		}
	})
	t.Cleanup(func() { ln.Close(); conns.Wait() })
	return ln.Addr().(*net.TCPAddr).Port
}

// An agent has its server get a part of its weight, no new sessions, or none at all, and a lie of one is nothing to others.
func TestAgentsHaveTheirSay(t *testing.T) {
	r := newRig(t)
	ips := []string{"127.0.0.2", "127.0.0.3"}
	list, port := backends(t, ips...)
	lines := map[string]*atomic.Pointer[string]{ips[0]: {}, ips[1]: {}}
	say := func(i int, line string) { lines[ips[i]].Store(&line) }
	say(0, "up")
	say(1, "up")
	r.dns.SetA("db.test", 0, ips...)
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.pool().Balance = "roundrobin"
	c := fastCheck()
	c.Timeout, c.Kind, c.Port = patience, "agent", serveAgents(t, lines)
	r.pool().Check = c
	r.serve()
	r.awaitStates("up", "up")
	share := func(want string) {
		t.Helper()
		eventually(t, "shares "+want, func() bool {
			peers := r.explain("").Peers
			return fmt.Sprintf("%.2f %.2f", peers[0].Figures["share"], peers[1].Figures["share"]) == want
		})
	}
	share("0.50 0.50")
	since := r.status().Peers[0].Since
	say(0, "up 25%")
	share("0.20 0.80")
	if p := r.status().Peers[0]; p.Percent != 25 || p.Weight != 1 || p.State != "up" || !p.Since.Equal(*since) {
		t.Errorf("%+v, expected 25 %% of its weight, and up since %v", p, since)
	}
	if e := r.events()["peer_weight"]; fmt.Sprint(e.Attrs["percent"]) != "25" || e.Attrs["peer"] != list[0].addr.String() {
		t.Errorf("event %+v", e)
	}
	say(0, "ready") // each line says all
	share("0.50 0.50")
	say(0, "drain 70%")
	r.awaitStates("unwanted drain", "up")
	say(0, "maint # until noon")
	r.awaitStates("down", "up")
	if p := r.status().Peers[0]; p.Reason != check.SaysDown || p.Detail != "the agent says maint until noon" {
		t.Errorf("%+v", p)
	}
	say(0, "up")
	r.awaitStates("up", "up")
	say(0, "trust me")
	r.awaitStates("down", "up")
	if p := r.status().Peers[0]; p.Reason != check.Garbled {
		t.Errorf("%+v", p)
	}
	for range 5 {
		if who := r.ask(); who.String() != list[1].addr.String() {
			t.Errorf("served by %s", who)
		}
	}
	r.closed()
}
