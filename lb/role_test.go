package lb

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// roleServer answers checks as Redis does, on one port of several addresses, and says of each what it is told.
type roleServer struct {
	port uint16
	says map[string]*atomic.Pointer[string] // by IP: primary, replica LAG in seconds, or "" for nothing
}

func serveRoles(t *testing.T, ips ...string) *roleServer {
	s := &roleServer{says: make(map[string]*atomic.Pointer[string])}
	ln := listenOn(t, "0.0.0.0", 0)
	s.port = netip.MustParseAddrPort(ln.Addr().String()).Port()
	for _, ip := range ips {
		s.says[ip] = new(atomic.Pointer[string])
		s.say(ip, "")
	}
	var conns sync.WaitGroup
	conns.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			conns.Go(func() { s.answer(c) })
		}
	})
	t.Cleanup(func() { ln.Close(); conns.Wait() })
	return s
}

func (s *roleServer) say(ip, word string) { s.says[ip].Store(&word) }

func (s *roleServer) answer(c net.Conn) {
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	me := s.says[netip.MustParseAddrPort(c.LocalAddr().String()).Addr().Unmap().String()]
	for r := bufio.NewReader(c); ; {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return
		}
		word, lag, _ := strings.Cut(*me.Load(), " ")
		text := ""
		switch line = bytes.ToUpper(bytes.TrimSpace(line)); {
		case bytes.Equal(line, []byte("ROLE")) && word == "primary":
			text = "*3\r\n$6\r\nmaster\r\n:1\r\n*0\r\n"
		case bytes.Equal(line, []byte("ROLE")) && word == "replica":
			text = "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n$9\r\nconnected\r\n:1\r\n"
		case bytes.Equal(line, []byte("ROLE")):
			text = "-LOADING\r\n"
		case bytes.Equal(line, []byte("REPLICATION")):
			info := "role:slave\r\nmaster_link_status:up\r\nmaster_last_io_seconds_ago:" + lag + "\r\n"
			text = fmt.Sprintf("$%d\r\n%s\r\n", len(info), info)
		}
		if _, err := io.WriteString(c, text); err != nil {
			return
		}
	}
}

// withRoles is a rig whose pool has two backends and chooses by role.
func withRoles(t *testing.T, change func(*config.Check)) (*rig, *roleServer, [2]string) {
	r := newRig(t)
	ips := [2]string{"127.0.0.2", "127.0.0.3"}
	list, port := backends(t, ips[:]...)
	roles := serveRoles(t, ips[:]...)
	r.dns.SetA("db.test", 0, ips[:]...)
	r.pool().Backends = []config.Backend{named("db.test", port)}
	c := fastCheck()
	c.Timeout = patience
	c.Kind, c.Port, c.Want, c.Single = "redis", int(roles.port), "primary", true
	if change != nil {
		change(c)
	}
	r.pool().Check = c
	return r, roles, [2]string{list[0].addr.String(), list[1].addr.String()}
}

// awaitStates waits until the two peers are in these states, with the reason if they are unwanted.
func (r *rig) awaitStates(want ...string) {
	r.t.Helper()
	eventually(r.t, fmt.Sprint("states ", want), func() bool {
		var got []string
		for _, p := range r.status().Peers {
			if p.State == "unwanted" {
				p.State += " " + p.Reason
			}
			got = append(got, p.State)
		}
		return slices.Equal(got, want)
	})
}

// New sessions go where the role is, from the first on, and follow it.
func TestSessionsFollowTheRole(t *testing.T) {
	r, roles, addrs := withRoles(t, nil)
	roles.say("127.0.0.2", "replica 0")
	roles.say("127.0.0.3", "primary")
	r.serve()
	for range 10 {
		if who := r.ask().String(); who != addrs[1] {
			t.Fatalf("served by %s, the replica", who)
		}
	}
	r.awaitStates("unwanted role", "up")
	st := r.status()
	if a := st.Peers[0]; a.Health != "up" || a.Role != "replica" || a.Reason != "role" || a.Detail != "it is a replica, expected a primary" || a.Since == nil || a.Lag == nil || *a.Lag != 0 {
		t.Errorf("the replica: %+v", a)
	}
	if b := st.Peers[1]; b.Health != "up" || b.Role != "primary" || b.Reason != "ok" || b.Lag != nil {
		t.Errorf("the primary: %+v", b)
	}
	m := r.series()
	for series, want := range map[string]string{
		`ebb_peer_role{peer="` + addrs[0] + `",pool="db",role="replica"}`:    "1",
		`ebb_peer_role{peer="` + addrs[1] + `",pool="db",role="primary"}`:    "1",
		`ebb_peer_unwanted{peer="` + addrs[0] + `",pool="db",reason="role"}`: "1",
		`ebb_peer_lag_seconds{peer="` + addrs[0] + `",pool="db"}`:            "0",
		`ebb_peer_up{peer="` + addrs[0] + `",pool="db"}`:                     "0",
		`ebb_peer_up{peer="` + addrs[1] + `",pool="db"}`:                     "1",
		`ebb_pool_primaries{pool="db"}`:                                      "1",
	} {
		if m[series] != want {
			t.Errorf("%s = %q, want %s", series, m[series], want)
		}
	}
	if m[`ebb_peer_unwanted{peer="`+addrs[1]+`",pool="db",reason="ok"}`] != "" || m[`ebb_peer_lag_seconds{peer="`+addrs[1]+`",pool="db"}`] != "" {
		t.Error("the primary is unwanted, or has a lag")
	}

	roles.say("127.0.0.3", "replica 0")
	r.awaitStates("unwanted role", "unwanted role")
	ok, why := r.server.Ready()
	if ok || !strings.Contains(fmt.Sprint(why), addrs[0]+": it is a replica, expected a primary (role); "+addrs[1]) {
		t.Errorf("ready %v: %v", ok, why)
	}
	roles.say("127.0.0.2", "primary")
	r.awaitStates("up", "unwanted role")
	for range 10 {
		if who := r.ask().String(); who != addrs[0] {
			t.Fatalf("served by %s, which was the primary", who)
		}
	}
	for msg, want := range map[string]int{"peer role": 2, "peer unwanted": 2, "peer up": 2, "peer down": 0} {
		if n := len(r.logs.find(msg)); n != want {
			t.Errorf("%d lines %q, want %d", n, msg, want)
		}
	}
	if all := r.events(); all["peer_role"].Attrs["before"] != "replica" || all["peer_unwanted"].Attrs["reason"] != "role" {
		t.Errorf("events: %v", all)
	}
	r.closed()
}

// A replica that is too far behind gets no new sessions, and gets them again when it has caught up.
func TestLagTakesNewSessions(t *testing.T) {
	r, roles, addrs := withRoles(t, func(c *config.Check) { c.Want, c.MaxLag = "any", 20*time.Second })
	roles.say("127.0.0.2", "replica 30")
	roles.say("127.0.0.3", "primary")
	r.serve()
	r.awaitStates("unwanted lag", "up")
	if a := r.status().Peers[0]; a.Reason != "lag" || a.Detail != "it is 30s behind, expected at most 20s" || a.Lag == nil || *a.Lag != 30 {
		t.Errorf("the replica: %+v", a)
	}
	if who := r.ask().String(); who != addrs[1] {
		t.Errorf("served by %s, which is behind", who)
	}
	roles.say("127.0.0.2", "replica 1")
	r.awaitStates("up", "up")
	r.closed()
}

// A reload that wants another role keeps the table, its sessions and what is known of peers.
func TestReloadWantsAnotherRole(t *testing.T) {
	r, roles, addrs := withRoles(t, func(c *config.Check) { c.Want = "replica" })
	roles.say("127.0.0.2", "replica 0")
	roles.say("127.0.0.3", "primary")
	r.serve()
	c := r.dial()
	if who := greeting(t, c).String(); who != addrs[0] {
		t.Fatalf("served by %s, the primary", who)
	}
	r.reloads(func(conf *config.Config) { conf.Pools[0].Check.Want = "primary" }, "pool db: changed check.want")
	r.awaitStates("unwanted role", "up")
	if who := r.ask().String(); who != addrs[1] {
		t.Errorf("served by %s, the replica", who)
	}
	fmt.Fprintln(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		t.Errorf("the reload cut a session: %v", err)
	}
	c.Close()
	r.closed()
}

// Clients that wait for a primary get it as soon as there is one.
func TestHeldClientsGetTheNewPrimary(t *testing.T) {
	r, roles, addrs := withRoles(t, nil)
	r.pool().WhenNone = "hold"
	roles.say("127.0.0.2", "replica 0")
	roles.say("127.0.0.3", "replica 0")
	r.start()
	c := r.park(1)
	roles.say("127.0.0.3", "primary")
	if who := greeting(t, c).String(); who != addrs[1] {
		t.Errorf("served by %s, the replica", who)
	}
	c.Close()
	r.closed()
}

// While a pool that wants a primary has none, or a switch-over waits for another, its peers are asked every fast_interval.
func TestNoPrimaryIsUrgent(t *testing.T) {
	r, roles, addrs := withRoles(t, func(c *config.Check) { c.Interval = time.Hour })
	roles.say("127.0.0.2", "primary")
	roles.say("127.0.0.3", "replica 0")
	r.serve()
	r.awaitStates("up", "unwanted role")
	hurry := func() bool {
		p := r.server.running().pools[0]
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.hurry
	}
	if hurry() {
		t.Error("there is a primary, and its peers are asked often")
	}
	r.order(netip.MustParseAddrPort(addrs[0]), admin.Order{Word: "maint"})
	roles.say("127.0.0.3", "primary")
	r.awaitStates("maint", "up")
	roles.say("127.0.0.2", "replica 0")
	r.order(netip.MustParseAddrPort(addrs[0]), admin.Order{Word: "ready"})
	r.awaitStates("unwanted role", "up")
	c := &court{rig: r}
	s := c.begins(t, addrs[0], patience)
	roles.say("127.0.0.2", "primary")
	roles.say("127.0.0.3", "replica 0")
	if last := s.last(); last.Step != "done" {
		t.Errorf("%+v", last)
	}
	if hurry() {
		t.Error("the primary is found, and its peers are asked often")
	}
	r.closed()
}
