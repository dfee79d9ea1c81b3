package lb

import (
	"context"
	"net"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// switching is a switch-over that a test follows.
type switching struct {
	t      *testing.T
	steps  chan admin.SwitchStep
	err    chan error
	cancel context.CancelFunc
}

// switchTo asks for one over the API.
func (c *court) switchTo(t *testing.T, to string, timeout time.Duration) *switching {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	s := &switching{t, make(chan admin.SwitchStep, 1000), make(chan error, 1), cancel}
	go func() {
		s.err <- admin.NewClient(c.server.running().admin.Addr(), "").SwitchPool(ctx, "db", admin.SwitchRequest{To: to, Timeout: timeout.String()},
			func(step admin.SwitchStep) error { s.steps <- step; return nil })
	}()
	t.Cleanup(cancel)
	return s
}

// begins is switchTo as far as the pool is held.
func (c *court) begins(t *testing.T, to string, timeout time.Duration) *switching {
	t.Helper()
	s := c.switchTo(t, to, timeout)
	select {
	case step := <-s.steps:
		if step.Step != "held" || !step.Held || step.To != to || timeout >= patience && !c.status().Held { // a short one may be over
			t.Fatalf("%+v", step)
		}
	case err := <-s.err:
		t.Fatal(err)
	}
	return s
}

// last waits for the last step. It is what the error says, too.
func (s *switching) last() (last admin.SwitchStep) {
	s.t.Helper()
	select {
	case err := <-s.err:
		close(s.steps)
		for last = range s.steps {
		}
		if (err == nil) != (last.Step == "done") || err != nil && err.Error() != last.Detail {
			s.t.Errorf("%+v, %v", last, err)
		}
	case <-time.After(patience):
		s.t.Fatal("it goes on")
	}
	return last
}

// goesTo expects that a client is served by one peer, and the pool is not held.
func (c *court) goesTo(t *testing.T, client net.Conn, peer string) {
	t.Helper()
	if who := greeting(t, client).String(); who != peer {
		t.Errorf("served by %s, want %s", who, peer)
	}
	client.Close()
	if c.status().Held {
		t.Error("the pool is held")
	}
}

// Whether the old primary's end is seen first or the new one's beginning, those that waited go to the new one.
func TestSwitchMovesClients(t *testing.T) {
	for name, says := range map[string]func(c *court){
		"demoted, then promoted": func(c *court) { c.say(c.a, replica); c.say(c.b, primary(2)) },
		"promoted, then demoted": func(c *court) { c.say(c.b, primary(2)); c.say(c.a, replica) },
		"without timelines":      func(c *court) { c.say(c.b, primary(0)); c.say(c.a, replica) },
		"the old one dies":       func(c *court) { c.say(c.a, silence); c.say(c.b, primary(2)) },
	} {
		t.Run(name, func(t *testing.T) {
			c := newCourt(t, true)
			c.say(c.a, primary(1))
			c.say(c.b, replica)
			before := c.dial()
			greeting(t, before)
			s := c.begins(t, c.b.String(), patience)
			client := c.park(1)
			if !lives(before) {
				t.Error("the hold has ended a session")
			}
			says(c)
			if last := s.last(); last.Held || last.Primary != c.b.String() || last.From != c.a.String() || last.Waiting != 1 || last.Detail != "" {
				t.Errorf("%+v", last)
			}
			c.goesTo(t, client, c.b.String())
			if all := c.events(); all["switch_begun"].Attrs["to"] != c.b.String() || all["switch_done"].Attrs["waiting"] == nil {
				t.Errorf("events %v", all)
			}
			before.Close()
			c.closed()
		})
	}
}

func TestSwitchToWhoIsPrimaryHoldsNobody(t *testing.T) {
	c := newCourt(t, true)
	c.say(c.a, replica)
	c.say(c.b, primary(1))
	if last := c.switchTo(t, c.b.String(), patience).last(); last.Detail != "it is the primary already" || last.Held || last.Primary != c.b.String() {
		t.Errorf("%+v", last)
	}
	if len(c.logs.find("switch begun")) != 0 {
		t.Error("it began")
	}
	c.goesTo(t, c.dial(), c.b.String())
	c.closed()
}

func TestSwitchGivesUp(t *testing.T) {
	for _, tc := range []struct {
		name    string
		before  func(c *court)
		timeout time.Duration
		then    func(t *testing.T, c *court, s *switching)
		says    string // A and B are the peers
		to      string // who gets the client that waits; "" if it goes on waiting
	}{
		{
			"nobody is promoted", nil, 50 * time.Millisecond, func(*testing.T, *court, *switching) {},
			"B did not become the primary within 50ms; the pool is released, to A", "A",
		},
		{
			"another is promoted", func(c *court) { c.say(c.a, replica) }, patience,
			func(_ *testing.T, c *court, _ *switching) { c.say(c.a, primary(2)) },
			"A became the primary, and not B; the pool is released, to A", "A",
		},
		{
			"released by an operator", nil, patience, func(_ *testing.T, c *court, _ *switching) { c.hold(false) },
			"an operator has said release; the pool is released, to A", "A",
		},
		{
			"held by an operator", nil, patience,
			func(t *testing.T, c *court, _ *switching) {
				if r := c.hold(true); !r.Changed {
					t.Errorf("%+v", r)
				}
			},
			"an operator has said hold; the pool is held", "",
		},
		{
			"the peer leaves the pool", nil, patience,
			func(_ *testing.T, c *court, _ *switching) { c.dns.SetA("db.test", 0, "127.0.0.2") },
			"B has left the pool; the pool is released, to A", "A",
		},
		{
			"a reload wants no primary", nil, patience,
			func(_ *testing.T, c *court, _ *switching) {
				c.reloads(func(conf *config.Config) { conf.Pools[0].Check.Want, conf.Pools[0].Check.Single = "any", true }, "pool db: changed check.want")
			},
			"a reload has left the pool without a single primary; the pool is released", "any",
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := newCourt(t, true)
			c.say(c.b, replica)
			c.say(c.a, primary(1))
			if tc.before != nil {
				tc.before(c)
			}
			s := c.begins(t, c.b.String(), tc.timeout)
			client := c.dial()
			tc.then(t, c, s)
			names := strings.NewReplacer(c.a.String(), "A", c.b.String(), "B")
			if last := s.last(); !strings.HasPrefix(names.Replace(last.Detail), tc.says) {
				t.Errorf("%+v, want %s", last, tc.says)
			}
			switch tc.to {
			case "":
				c.awaitWaiting(1)
				c.hold(false)
				greeting(t, client)
			case "A":
				c.goesTo(t, client, c.a.String())
			default:
				greeting(t, client)
			}
			client.Close()
			c.closed()
		})
	}
}

// The pool is held no longer than who asked for it is there.
func TestSwitchEndsWithItsClient(t *testing.T) {
	c := newCourt(t, true)
	c.say(c.a, primary(1))
	s := c.begins(t, c.b.String(), patience)
	client := c.park(1)
	s.cancel()
	c.goesTo(t, client, c.a.String())
	eventually(t, "the line", func() bool { return len(c.logs.find("switch given up")) == 1 })
	if line := c.logs.find("switch given up")[0]; line["reason"] != "who asked for it has left" || line["used"] != c.a.String() {
		t.Errorf("%v", line)
	}
	c.closed()
}

// A reload that chooses peers otherwise changes nothing of it.
func TestSwitchOutlivesAReload(t *testing.T) {
	r, roles, addrs := failover(t, func(p *config.Pool) { p.WhenNone = "hold" })
	c := &court{rig: r}
	s := c.begins(t, addrs[1], patience)
	clients := []net.Conn{r.park(1)}
	r.reloads(func(conf *config.Config) { conf.Pools[0].Balance = "leastconn" }, "pool db: changed balance")
	clients = append(clients, r.dial())
	eventually(t, "both wait", func() bool { return r.status().Held && r.server.waiting("db") == 2 })
	roles.say("127.0.0.2", "replica 0")
	roles.say("127.0.0.3", "primary")
	if last := s.last(); last.Waiting != 2 || last.Step != "done" {
		t.Errorf("%+v", last)
	}
	for _, client := range clients {
		c.goesTo(t, client, addrs[1])
	}
	eventually(t, "one pool", func() bool { return len(r.server.Status().Pools) == 1 })
}

// What cannot come to a good end does not begin.
func TestSwitchIsRefused(t *testing.T) {
	c := newCourt(t, true)
	c.say(c.b, replica)
	c.say(c.a, primary(1))
	refused := func(to string, timeout time.Duration, says string) {
		t.Helper()
		s := c.switchTo(t, to, timeout)
		if err := <-s.err; err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want %s", err, says)
		}
	}
	b := c.b.String()
	refused("127.0.0.9:1", time.Second, `pool db has no peer "127.0.0.9:1", expected one of `+c.a.String())
	refused("db.test", time.Second, `pool db has no peer "db.test"`)
	refused("", time.Second, `pool db has no peer ""`)
	refused(b, time.Hour, "pool db: found a timeout of 1h0m0s, expected at most its hold_timeout, 20s")
	c.order(c.b, admin.Order{Word: "drain"})
	refused(b, time.Second, "is in drain, and would get no sessions: ebb ready db "+b)
	c.order(c.b, admin.Order{Word: "ready"})
	c.order(c.b, admin.Order{Word: "weight", Weight: 0})
	refused(b, time.Second, "has weight 0")
	c.order(c.b, admin.Order{Word: "weight", Weight: admin.NoWeight})
	c.say(c.b, silence)
	refused(b, time.Second, b+" is down: timeout")
	c.say(c.b, replica)
	c.hold(true)
	refused(b, time.Second, "pool db is held already: ebb release db")
	c.hold(false)
	s := c.begins(t, b, patience)
	refused(b, time.Second, "a switch to "+b+" is under way")
	c.say(c.b, primary(2))
	s.last()
	for _, change := range []func(*config.Check){
		func(k *config.Check) { k.Single = false },
		func(k *config.Check) { k.Want, k.Single = "any", true },
	} {
		if _, err := c.reload(func(conf *config.Config) { change(conf.Pools[0].Check) }); err != nil {
			t.Fatal(err)
		}
		refused(c.a.String(), time.Second, "pool db has no single primary")
	}
	if err := admin.NewClient(c.server.running().admin.Addr(), "").SwitchPool(t.Context(), "web", admin.SwitchRequest{To: b}, nil); err == nil || !strings.Contains(err.Error(), `no pool is named "web", expected one of db`) {
		t.Errorf("%v", err)
	}
	if c.status().Held {
		t.Error("a refused one holds")
	}
	c.closed()
}

// A process that dies during a switch-over is not followed by one that holds the pool for ever. What an operator says is kept.
func TestSwitchIsNotKept(t *testing.T) {
	c := newCourt(t, true)
	c.say(c.a, primary(1))
	path := filepath.Join(t.TempDir(), "state.json")
	if _, err := c.reload(func(conf *config.Config) { conf.StateFile = path }); err != nil {
		t.Fatal(err)
	}
	kept := func() bool {
		state, err := readState(path)
		if err != nil {
			t.Fatal(err)
		}
		return state["db"].Held
	}
	s := c.begins(t, c.b.String(), patience)
	c.order(c.a, admin.Order{Word: "weight", Weight: 3}) // writes the file
	if kept() {
		t.Error("the file holds the pool")
	}
	c.hold(true)
	s.last()
	if !kept() {
		t.Error("the file does not hold the pool")
	}
	c.hold(false)
	c.closed()
}

func TestShutdownEndsASwitch(t *testing.T) {
	c := newCourt(t, true)
	c.say(c.a, primary(1))
	s := c.begins(t, c.b.String(), patience)
	client := c.park(1)
	c.server.stopping.Store(true)
	if last := s.last(); !strings.HasPrefix(last.Detail, "ebb is stopping; the pool is released, to ") {
		t.Errorf("%+v", last)
	}
	greeting(t, client)
	client.Close()
}
