package lb

import (
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
)

// failover is a rig of two peers of which the first is the primary, and whose sessions do not outlive that.
func failover(t *testing.T, change func(*config.Pool)) (*rig, *roleServer, [2]string) {
	r, roles, addrs := withRoles(t, nil)
	r.pool().On.RoleLost = "close"
	if change != nil {
		change(r.pool())
	}
	roles.say("127.0.0.2", "primary")
	roles.say("127.0.0.3", "replica 0")
	r.serve()
	r.awaitStates("up", "unwanted role")
	return r, roles, addrs
}

// Whichever peer is the first to say that the primary is another one, sessions of the old one end and new ones go to the new.
func TestRoleLostCloses(t *testing.T) {
	for name, order := range map[string][2][2]string{
		"the old one first": {{"127.0.0.2", "replica 0"}, {"127.0.0.3", "primary"}},
		"the new one first": {{"127.0.0.3", "primary"}, {"127.0.0.2", "replica 0"}},
	} {
		t.Run(name, func(t *testing.T) {
			r, roles, addrs := failover(t, nil)
			c := r.dial()
			greeting(t, c)
			roles.say(order[0][0], order[0][1])
			eventually(t, "the first word", func() bool { return r.status().Peers[0].Role == r.status().Peers[1].Role })
			roles.say(order[1][0], order[1][1])
			r.endsAs(c, "role_lost")
			r.awaitStates("unwanted role", "up")
			if who := r.ask().String(); who != addrs[1] {
				t.Errorf("served by %s, which was the primary", who)
			}
			r.closed()
		})
	}
}

// A server whose role is lost sees a reset, for what is on its way to it must not be obeyed.
func TestRoleLostResetsTheServer(t *testing.T) {
	r := newRig(t)
	ln := listenOn(t, "127.0.0.2", 0)
	defer ln.Close()
	roles := serveRoles(t, "127.0.0.2")
	roles.say("127.0.0.2", "primary")
	c := fastCheck()
	c.Timeout, c.Kind, c.Port, c.Want, c.Single = patience, "redis", int(roles.port), "primary", true
	r.pool().Check, r.pool().On.RoleLost = c, "close"
	r.pool().Backends = []config.Backend{literal(netip.MustParseAddrPort(ln.Addr().String()))}
	r.serve()
	client := r.dial()
	server, err := ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer server.Close()
	server.SetDeadline(time.Now().Add(patience))
	roles.say("127.0.0.2", "replica 0")
	r.endsAs(client, "role_lost")
	if _, err := io.ReadAll(server); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the server sees %v, want a reset", err)
	}
	r.closed()
}

// The name has moved on, and the sessions that drain on the old peer end when it loses its role; the other way round they have
// ended before.
func TestRoleLostOnAnOldEpoch(t *testing.T) {
	r, roles, _ := failover(t, nil)
	c := r.dial()
	greeting(t, c)
	r.dns.SetA("db.test", 0, "127.0.0.3")
	r.awaitListed("127.0.0.3")
	if !lives(c) {
		t.Fatal("the session has ended with the epoch")
	}
	roles.say("127.0.0.2", "replica 0")
	r.endsAs(c, "role_lost")
	r.closed()
}

func TestRoleLostWhileDraining(t *testing.T) {
	r, roles, addrs := failover(t, func(p *config.Pool) { p.On.AdminDrain = "quiet" })
	c := r.dial()
	greeting(t, c)
	echoed(t, c, inTransaction)
	r.order(netip.MustParseAddrPort(addrs[0]), admin.Order{Word: "drain"})
	echoed(t, c, inTransaction)
	roles.say("127.0.0.2", "replica 0")
	r.endsAs(c, "role_lost")
	r.order(netip.MustParseAddrPort(addrs[0]), admin.Order{Word: "ready"})
	if f := r.fate("127.0.0.2"); f == nil || f.act != shut {
		t.Errorf("an operator has made sessions welcome on a peer of the wrong role: %+v", f)
	}
	r.closed()
}

// A session that reaches a peer just as that loses its role goes to the new primary: nothing was lost yet.
func TestRoleLostWhileASessionConnects(t *testing.T) {
	r, roles, addrs := failover(t, nil)
	ln := listenOn(t, "127.0.0.1", 0)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	s := r.server.running().listeners[0].port.join().welcome(netip.AddrPort{}, netip.AddrPort{}, 0)
	moved := false
	go s.Run(client, reaching{s, func() {
		if !moved {
			moved = true
			roles.say("127.0.0.2", "replica 0")
			roles.say("127.0.0.3", "primary")
			r.awaitStates("unwanted role", "up")
		}
	}})
	c.SetDeadline(time.Now().Add(patience))
	if who := greeting(t, c).String(); who != addrs[1] {
		t.Errorf("served by %s, which was the primary", who)
	}
	c.Close()
	r.awaitEnds(1)
	if line := r.logs.find("session")[0]; !strings.Contains(line["attempts"].(string), addrs[0]+" role_lost") {
		t.Errorf("line: %v", line)
	}
	r.closed()
}

// A peer is offered a moment before the fate of its sessions is that of a primary. Who reaches it in that moment stays.
func TestASessionReachesAPrimaryThatIsJustWelcome(t *testing.T) {
	r, _, addrs := failover(t, nil)
	ln := listenOn(t, "127.0.0.1", 0)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	p := r.server.running().pools[0]
	s := r.server.running().listeners[0].port.join().welcome(netip.AddrPort{}, netip.AddrPort{}, 0)
	go s.Run(client, reaching{s, func() {
		addr := netip.MustParseAddrPort(addrs[0])
		p.mu.Lock()
		p.fates.of.Store(addr, &fate{terms: terms{act: shut, word: end.RoleLost}, off: make(chan struct{})})
		go func() {
			defer p.mu.Unlock()
			time.Sleep(10 * time.Millisecond) // so that the session meets the old fate; nothing depends on it
			p.decideLocked(addr)
		}()
	}})
	c.SetDeadline(time.Now().Add(patience))
	if who := greeting(t, c).String(); who != addrs[0] {
		t.Errorf("served by %s", who)
	}
	c.Close()
	r.awaitEnds(1)
	if line := r.logs.find("session")[0]; strings.Contains(line["attempts"].(string), "role_lost") {
		t.Errorf("line: %v", line)
	}
	r.closed()
}

// Clients that wait are served by the new primary, be they held by an operator or for want of one.
func TestRoleMovesWhileClientsWait(t *testing.T) {
	r, roles, addrs := failover(t, func(p *config.Pool) { p.WhenNone = "hold" })
	if _, err := r.server.HoldPool("db", true); err != nil {
		t.Fatal(err)
	}
	held := r.dial()
	eventually(t, "a client that waits", func() bool { return r.status().Waiting == 1 })
	roles.say("127.0.0.2", "replica 0")
	r.awaitStates("unwanted role", "unwanted role")
	if _, err := r.server.HoldPool("db", false); err != nil {
		t.Fatal(err)
	}
	waits := r.dial()
	eventually(t, "two clients that wait", func() bool { return r.status().Waiting == 2 })
	roles.say("127.0.0.3", "primary")
	for _, c := range []*net.TCPConn{held, waits} {
		if who := greeting(t, c).String(); who != addrs[1] {
			t.Errorf("served by %s, which was the primary", who)
		}
		c.Close()
	}
	r.closed()
}

// Who is too far behind keeps its sessions, unless the policy says otherwise.
func TestDegradedObeysItsPolicy(t *testing.T) {
	r, roles, _ := withRoles(t, func(c *config.Check) { c.Want, c.MaxLag = "any", 20*time.Second })
	r.pool().On.Degraded = "keep"
	roles.say("127.0.0.2", "replica 1")
	roles.say("127.0.0.3", "replica 30")
	r.serve()
	r.awaitStates("up", "unwanted lag")
	c := r.dial()
	greeting(t, c)
	roles.say("127.0.0.2", "replica 30")
	r.awaitStates("unwanted lag", "unwanted lag")
	if !lives(c) {
		t.Fatal("the session has ended")
	}
	r.next.Store(withPool(r.conf, func(p *config.Pool) { p.On.Degraded = "quiet" }))
	if _, err := r.server.Reload(); err != nil {
		t.Fatal(err)
	}
	r.endsAs(c, "drained")
	r.closed()
}
