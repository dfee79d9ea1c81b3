package lb

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/pool"
)

var (
	peerA = netip.MustParseAddrPort("192.0.2.1:5432")
	peerB = netip.MustParseAddrPort("192.0.2.2:5432")
	peerC = netip.MustParseAddrPort("192.0.2.3:5432")
)

func TestHolder(t *testing.T) {
	at := func(s int) time.Time { return time.Unix(int64(s), 0) }
	up := func(a netip.AddrPort, timeline uint64, since int) claim {
		return claim{addr: a, timeline: timeline, up: true, since: at(since)}
	}
	down := func(a netip.AddrPort, timeline uint64) claim { return claim{addr: a, timeline: timeline, since: at(0)} }
	none := netip.AddrPort{}
	for _, tc := range []struct {
		name         string
		claims       []claim
		before, used netip.AddrPort
	}{
		{"nobody", nil, peerA, none},
		{"the only one", []claim{up(peerA, 0, 1)}, none, peerA},
		{"the only one, and not the last", []claim{up(peerB, 0, 1)}, peerA, peerB},
		{"the holder stays", []claim{up(peerA, 0, 1), up(peerB, 0, 2)}, peerB, peerB},
		{"a later timeline", []claim{up(peerA, 1, 1), up(peerB, 2, 2)}, peerA, peerB},
		{"an earlier timeline", []claim{up(peerA, 1, 1), up(peerB, 2, 2)}, peerB, peerB},
		{"the latest of three", []claim{up(peerA, 2, 1), up(peerB, 3, 2), up(peerC, 1, 0)}, none, peerB},
		{"one timeline", []claim{up(peerA, 4, 2), up(peerB, 4, 1)}, peerA, peerA},
		{"one timeline, no holder", []claim{up(peerA, 4, 2), up(peerB, 4, 1)}, none, peerB},
		{"one timeline, at the same time", []claim{up(peerC, 4, 1), up(peerB, 4, 1)}, peerA, peerB},
		{"a timeline that is not told", []claim{up(peerA, 0, 1), up(peerB, 7, 2)}, peerA, peerA},
		{"told by the other", []claim{up(peerA, 7, 2), up(peerB, 0, 1)}, none, peerB},
		{"the later one is down", []claim{up(peerA, 1, 1), down(peerB, 2)}, none, none},
		{"the later one is down, and the other was used", []claim{up(peerA, 1, 1), down(peerB, 2)}, peerA, none},
		{"the earlier one is down", []claim{up(peerA, 2, 1), down(peerB, 1)}, peerB, peerA},
		{"one that is down without timelines", []claim{up(peerA, 0, 1), down(peerB, 0)}, peerB, peerA},
		{"down with a timeline, up without", []claim{up(peerA, 0, 1), down(peerB, 2)}, peerB, peerA},
		{"all down", []claim{down(peerA, 1), down(peerB, 2)}, peerB, none},
	} {
		for range 2 {
			if used, _ := holder(tc.claims, tc.before); used != tc.used {
				t.Errorf("%s: %v, want %v", tc.name, used, tc.used)
			}
			slices.Reverse(tc.claims) // the order is that of a map
		}
	}
}

func TestJudge(t *testing.T) {
	up := func(r check.Role) check.State {
		return check.State{Known: true, Up: true, Role: r, Last: check.Result{Alive: true, Reason: "ok"}}
	}
	lags := up(check.Replica)
	lags.Lagging, lags.Last.Lag, lags.Last.LagKnown = true, 12*time.Second, true
	unsure := up(check.Replica)
	unsure.Lagging, unsure.Last.Detail = true, "no grant"
	half := up(check.RoleUnknown)
	half.Percent = 50
	leaves := up(check.RoleUnknown)
	leaves.Draining, leaves.Last.Detail = true, "backup"
	down := check.State{Known: true, Last: check.Result{Reason: "refused", Detail: "by the peer"}}
	secretive := up(check.RoleUnknown)
	secretive.Last.Detail = "the sentinels do not agree"
	for _, tc := range []struct {
		name, want string
		lag        time.Duration
		state      check.State
		verdict    verdict
	}{
		{"not asked", "any", 0, check.State{}, verdict{pool.HealthUnknown, "", "unasked", "", 0}},
		{"not asked for its role", "primary", 0, check.State{}, verdict{pool.HealthUnfit, "", "unasked", "its check has not answered yet", 0}},
		{"not asked for its lag", "any", time.Second, check.State{}, verdict{pool.HealthUnfit, "", "unasked", "its check has not answered yet", 0}},
		{"down", "primary", 0, down, verdict{pool.HealthDown, "dead", "refused", "by the peer", 0}},
		{"up", "any", 0, up(check.Replica), verdict{pool.HealthUp, "", "ok", "", 0}},
		{"right", "replica", 0, up(check.Replica), verdict{pool.HealthUp, "", "ok", "", 0}},
		{"half", "any", 0, half, verdict{pool.HealthUp, "", "ok", "", 50}},
		{"wrong", "primary", 0, up(check.Replica), verdict{pool.HealthUnfit, "role_lost", "role", "it is a replica, expected a primary", 0}},
		{"wrong the other way", "replica", 0, up(check.Primary), verdict{pool.HealthUnfit, "role_lost", "role", "it is a primary, expected a replica", 0}},
		{"secretive", "primary", 0, secretive, verdict{pool.HealthUnfit, "degraded", "role", "its role is not known, expected a primary: the sentinels do not agree", 0}},
		{"late", "replica", 10 * time.Second, lags, verdict{pool.HealthUnfit, "degraded", "lag", "it is 12s behind, expected at most 10s", 0}},
		{"unsure", "any", 10 * time.Second, unsure, verdict{pool.HealthUnfit, "degraded", "lag", "it does not say how far it is behind: no grant", 0}},
		{"leaving", "any", 0, leaves, verdict{pool.HealthUnfit, "degraded", "drain", "backup", 0}},
	} {
		c := &config.Check{Want: tc.want, MaxLag: tc.lag}
		if got := judge(c, tc.state); got != tc.verdict {
			t.Errorf("%s: %+v, want %+v", tc.name, got, tc.verdict)
		}
	}
}

// court is a running pool whose checks say what the test says: their own do not get an answer soon.
type court struct {
	*rig
	p    *livePool
	a, b netip.AddrPort
}

func newCourt(t *testing.T, single bool) *court {
	return newCourtOf(t, func(p *config.Pool) { p.Check.Single = single })
}

// newCourtOf changes the pool, which guards a single primary.
func newCourtOf(t *testing.T, change func(*config.Pool)) *court {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 0, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	silent := serveSilence(t)
	r.pool().Check = &config.Check{
		Kind: "redis", Port: int(silent), Interval: time.Hour, FastInterval: time.Hour, Timeout: time.Hour, Fall: 1, Rise: 1, Want: "primary", Single: true,
	}
	change(r.pool())
	r.start()
	c := &court{rig: r, p: r.server.running().pools[0], a: list[0].addr, b: list[1].addr}
	r.awaitListed("127.0.0.2", "127.0.0.3")
	return c
}

// serveSilence accepts on a port of every address, and says nothing.
func serveSilence(t *testing.T) (port uint16) {
	ln := listenOn(t, "0.0.0.0", 0)
	t.Cleanup(func() { ln.Close() })
	return netip.MustParseAddrPort(ln.Addr().String()).Port()
}

// say has the check of a peer tell its state.
func (c *court) say(addr netip.AddrPort, s check.State) {
	c.p.mu.Lock()
	of := c.p.checks[addr]
	c.p.mu.Unlock()
	if s.Up {
		s.Last = check.Result{Alive: true, Reason: "ok", Role: s.Role}
	} else {
		s.Last = check.Result{Reason: "timeout"}
	}
	s.Known, s.Since = true, time.Now()
	c.p.checked(addr, of, s)
}

func primary(timeline uint64) check.State {
	return check.State{Up: true, Role: check.Primary, Timeline: timeline}
}

var (
	replica = check.State{Up: true, Role: check.Replica}
	silence = check.State{}
)

// expect compares who is offered, as "a", "b", "ab" or "", and why each of the others is not.
func (c *court) expect(t *testing.T, who, reasonA, reasonB string) {
	t.Helper()
	got := ""
	for _, p := range c.status().Peers {
		name, reason := "a", reasonA
		if p.Addr == c.b.String() {
			name, reason = "b", reasonB
		}
		if p.State == "up" {
			got += name
		}
		if p.Reason != reason {
			t.Errorf("%s is %s for %q (%s), want %q", name, p.State, p.Reason, p.Detail, reason)
		}
	}
	if got != who || c.p.table.Selectable() != len(who) {
		t.Errorf("offered %q, want %q", got, who)
	}
}

// Whatever comes first, the old primary's end or the new one's beginning: two are never offered.
func TestGuardInBothOrders(t *testing.T) {
	t.Run("promoted, then demoted", func(t *testing.T) {
		c := newCourt(t, true)
		c.expect(t, "", "unasked", "unasked")
		c.say(c.a, primary(0))
		c.say(c.b, replica)
		c.expect(t, "a", "ok", "role")
		c.say(c.b, primary(0))
		c.expect(t, "a", "ok", "rival")
		c.alarms(t, 0, 0) // the first may have been demoted, and not be asked since
		c.say(c.a, primary(0))
		c.expect(t, "a", "ok", "rival")
		if c.p.guard.primaries.Load() != 2 || len(c.logs.find("several primaries")) != 1 {
			t.Errorf("no alarm: %v", c.logs.messages())
		}
		c.say(c.a, replica)
		c.expect(t, "b", "role", "ok")
		c.say(c.a, primary(0))
		c.say(c.b, primary(0))
		c.expect(t, "b", "rival", "ok")
		c.say(c.b, replica)
		c.expect(t, "a", "ok", "role")
		if n := len(c.logs.find("no rival primary")); n != 2 {
			t.Errorf("the alarm ended %d times, want 2", n)
		}
	})
	t.Run("demoted, then promoted", func(t *testing.T) {
		c := newCourt(t, true)
		c.say(c.b, replica)
		c.say(c.a, primary(0))
		c.say(c.a, replica)
		c.expect(t, "", "role", "role")
		c.say(c.b, primary(0))
		c.expect(t, "b", "role", "ok")
		if len(c.logs.find("several primaries")) != 0 {
			t.Error("an alarm for nothing")
		}
	})
	t.Run("a later timeline, then demoted", func(t *testing.T) {
		c := newCourt(t, true)
		c.say(c.a, primary(3))
		c.say(c.b, replica)
		epoch := c.status().Epoch
		c.say(c.b, primary(4))
		c.expect(t, "b", "stale", "ok")
		if now := c.status().Epoch; now != epoch+1 {
			t.Errorf("%d epochs for one change of the primary", now-epoch)
		}
		c.say(c.a, replica)
		c.expect(t, "b", "role", "ok")
	})
	t.Run("dead, then promoted, then back", func(t *testing.T) {
		c := newCourt(t, true)
		c.say(c.a, primary(3))
		c.say(c.b, replica)
		c.say(c.a, silence)
		c.expect(t, "", "timeout", "role")
		c.say(c.b, primary(4))
		c.expect(t, "b", "timeout", "ok")
		c.say(c.a, primary(3))
		c.expect(t, "b", "stale", "ok")
	})
	t.Run("promoted, then dead, then back, without timelines", func(t *testing.T) {
		c := newCourt(t, true)
		c.say(c.a, primary(0))
		c.say(c.b, primary(0))
		c.expect(t, "a", "ok", "rival")
		c.say(c.a, silence)
		c.expect(t, "b", "timeout", "ok")
		c.say(c.a, primary(0))
		c.expect(t, "b", "rival", "ok")
	})
	t.Run("the new one dies, and the stale one waits", func(t *testing.T) {
		c := newCourt(t, true)
		c.say(c.b, primary(4))
		c.say(c.a, primary(3))
		c.expect(t, "b", "stale", "ok")
		c.say(c.b, silence)
		c.expect(t, "", "stale", "timeout")
		if ok, why := c.server.Ready(); ok || !strings.Contains(fmt.Sprint(why), "it is a primary of timeline 3, "+c.b.String()+" of timeline 4 (stale)") {
			t.Errorf("ready %v: %v", ok, why)
		}
		if _, err := c.p.order(c.b, admin.Order{Word: "maint"}); err != nil { // nobody is to wait for it
			t.Fatal(err)
		}
		c.expect(t, "a", "ok", "")
	})
	t.Run("the holder leaves", func(t *testing.T) {
		c := newCourt(t, true)
		c.say(c.a, primary(0))
		c.say(c.b, primary(0))
		held := c.dial() // keeps its peer, and so its check, alive
		greeting(t, held)
		c.dns.SetA("db.test", 0, "127.0.0.3")
		c.awaitListed("127.0.0.3")
		eventually(t, "its rival's turn", func() bool { return c.p.table.Selectable() == 1 })
		c.dns.SetA("db.test", 0, "127.0.0.2", "127.0.0.3")
		c.awaitListed("127.0.0.2", "127.0.0.3")
		if n := c.p.table.Selectable(); n != 1 { // not even until the newcomer is judged
			t.Errorf("%d offered", n)
		}
		eventually(t, "its word", func() bool { return c.status().Peers[0].Reason == "rival" })
		c.expect(t, "b", "rival", "ok") // who came back finds its place taken
		held.Close()
	})
	t.Run("the only one leaves", func(t *testing.T) {
		c := newCourt(t, true)
		c.say(c.b, replica)
		c.say(c.a, primary(0))
		held := c.dial()
		greeting(t, held)
		c.dns.SetA("db.test", 0, "127.0.0.3")
		c.awaitListed("127.0.0.3")
		eventually(t, "its end", func() bool { return c.status().Peers[0].Reason == "unlisted" })
		c.p.mu.Lock()
		if v := c.p.checks[c.a].verdict; v.cause != "" { // that is for on.removed to decide
			t.Errorf("%+v", v)
		}
		c.p.mu.Unlock()
		c.dns.SetA("db.test", 0, "127.0.0.2", "127.0.0.3")
		eventually(t, "its return", func() bool { return c.p.table.Selectable() == 1 })
		c.expect(t, "a", "ok", "role")
		held.Close()
	})
	t.Run("a reload forgets nobody", func(t *testing.T) {
		c := newCourt(t, true)
		c.say(c.a, replica)
		c.say(c.b, primary(4))
		c.say(c.b, silence)
		c.reloads(func(conf *config.Config) { conf.Pools[0].Check.Fall++ }, "pool db: changed check.fall")
		c.say(c.a, primary(3))
		c.expect(t, "", "stale", "timeout")
	})
	t.Run("unguarded", func(t *testing.T) {
		c := newCourt(t, false)
		c.say(c.a, primary(3))
		c.say(c.b, primary(4))
		c.expect(t, "ab", "ok", "ok")
	})
}

// At the start clients wait for the checks that find the primary, and for no more of them than it takes.
func TestUnasked(t *testing.T) {
	c := newCourt(t, true)
	for _, step := range []struct {
		say  func()
		want int
	}{
		{func() {}, 2},
		{func() { c.say(c.a, replica) }, 1},
		{func() { c.say(c.b, silence) }, 0},
		{func() { c.say(c.b, primary(1)) }, 0},
	} {
		step.say()
		if n := c.p.unasked(); n != step.want {
			t.Errorf("%d peers are unasked, want %d", n, step.want)
		}
	}
	c = newCourt(t, true)
	if c.say(c.b, primary(1)); c.p.unasked() != 0 {
		t.Error("there is a primary, and clients wait")
	}
}

// Each change is said once, and the fate of sessions follows.
func TestCausesOfVerdicts(t *testing.T) {
	c := newCourt(t, true)
	c.say(c.a, primary(1))
	c.say(c.a, replica)
	c.say(c.a, silence)
	c.say(c.a, silence)
	f := c.p.fates.find(c.a)
	if f == nil || f.word != end.PeerDead {
		t.Errorf("fate %+v", f)
	}
	var lines []string
	for _, msg := range c.logs.messages() {
		if strings.HasPrefix(msg, "peer ") {
			lines = append(lines, msg)
		}
	}
	if got := strings.Join(lines, ", "); got != "peer up, peer role, peer unwanted, peer down" {
		t.Errorf("said %s", got)
	}
	down := c.logs.find("peer unwanted")[0]
	if down["reason"] != "role" || down["role"] != "replica" || down["level"] != "WARN" || down["detail"] != "it is a replica, expected a primary" {
		t.Errorf("%v", down)
	}
}
