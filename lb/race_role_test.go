package lb

import (
	"io"
	"net"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// roleMoves are the orders in which ebb may learn that the primary is b and no longer a, and how sessions on a end.
var roleMoves = map[string]struct {
	moves func(c *court)
	end   string
}{
	"the old one first": {func(c *court) { c.say(c.a, replica); c.say(c.b, primary(2)) }, "role_lost"},
	"the new one first": {func(c *court) { c.say(c.b, primary(2)); c.say(c.a, replica) }, "role_lost"},
	"without timelines": {func(c *court) { c.say(c.b, primary(0)); c.say(c.a, replica) }, "role_lost"},
	"the old one dies":  {func(c *court) { c.say(c.a, silence); c.say(c.b, primary(2)) }, "peer_dead"},
}

// roleRace is a state in which a client may be when the role moves.
type roleRace struct {
	name  string
	pool  func(*config.Pool)
	state func(t *testing.T, c *court) (old, waits *net.TCPConn) // a session on a, or a client that waits, or both
	after func(c *court)                                         // what follows the move; may be nil
}

// session is one on the old primary.
func (c *court) session(t *testing.T) *net.TCPConn {
	t.Helper()
	s := c.dial()
	if who := greeting(t, s); who != c.a {
		t.Fatalf("served by %v", who)
	}
	return s
}

var roleRaces = []roleRace{
	{
		name:  "at work",
		state: func(t *testing.T, c *court) (old, waits *net.TCPConn) { return c.session(t), nil },
	},
	{
		name: "queued", pool: func(p *config.Pool) { p.MaxConns, p.Queue = 1, 10 },
		state: func(t *testing.T, c *court) (old, waits *net.TCPConn) { return c.session(t), c.park(1) },
	},
	{
		name: "held by an operator",
		state: func(t *testing.T, c *court) (old, waits *net.TCPConn) {
			old = c.session(t)
			c.hold(true)
			return old, c.park(1)
		},
		after: func(c *court) { c.hold(false) },
	},
	{
		name: "released as the role moves",
		state: func(t *testing.T, c *court) (old, waits *net.TCPConn) {
			c.hold(true)
			waits = c.park(1)
			c.hold(false)
			if who := greeting(t, waits); who != c.a {
				t.Errorf("served by %v", who)
			}
			return waits, nil
		},
	},
	{
		name: "held for want of a primary", pool: func(p *config.Pool) { p.WhenNone = "hold" },
		state: func(t *testing.T, c *court) (old, waits *net.TCPConn) {
			c.say(c.a, replica)
			return nil, c.park(1)
		},
	},
	{
		name: "draining", pool: func(p *config.Pool) { p.On.AdminDrain = "quiet" },
		state: func(t *testing.T, c *court) (old, waits *net.TCPConn) {
			old = c.session(t)
			echoed(t, old, inTransaction)
			c.order(c.a, admin.Order{Word: "drain"})
			echoed(t, old, inTransaction)
			return old, nil
		},
	},
	{
		name:  "drained after it",
		state: func(t *testing.T, c *court) (old, waits *net.TCPConn) { return c.session(t), nil },
		after: func(c *court) { c.order(c.a, admin.Order{Word: "drain"}) },
	},
	{
		name: "on an old epoch",
		state: func(t *testing.T, c *court) (old, waits *net.TCPConn) {
			old = c.session(t)
			c.dns.SetA("db.test", 0, "127.0.0.3")
			c.awaitListed("127.0.0.3")
			return old, nil
		},
	},
	{
		name:  "removed after it",
		state: func(t *testing.T, c *court) (old, waits *net.TCPConn) { return c.session(t), nil },
		after: func(c *court) {
			c.dns.SetA("db.test", 0, "127.0.0.3")
			c.awaitListed("127.0.0.3")
		},
	},
}

// Whatever a client does when the role moves, and in whatever order that is learned: its session on the old primary ends, and who
// waits, or comes then, is served by the new one.
func TestRoleMovesInEveryState(t *testing.T) {
	for _, race := range roleRaces {
		for order, move := range roleMoves {
			t.Run(race.name+", "+order, func(t *testing.T) {
				c := newCourtOf(t, func(p *config.Pool) {
					p.On.RoleLost = "close"
					if race.pool != nil {
						race.pool(p)
					}
				})
				c.say(c.b, replica)
				c.say(c.a, primary(1))
				old, waits := race.state(t, c)
				move.moves(c)
				if race.after != nil {
					race.after(c)
				}
				if old != nil {
					c.endsAs(old, move.end)
				}
				if waits == nil {
					waits = c.dial()
				}
				c.goesTo(t, waits, c.b.String())
				c.closed()
			})
		}
	}
}

// Sessions on a primary that is outdone end all at once, whatever close_rate says.
func TestOutdoneEndsSessionsAtOnce(t *testing.T) {
	c := newCourtOf(t, func(p *config.Pool) { p.On.RoleLost, p.CloseRate = "close", 1 })
	c.say(c.b, replica)
	c.say(c.a, primary(1))
	var list []*net.TCPConn
	for range 2 * int(patience/time.Second) { // at that rate, longer than anybody waits
		list = append(list, c.session(t))
	}
	c.say(c.b, primary(2))
	if f := c.p.fates.find(c.a); f == nil || f.act != shut || !f.fences {
		t.Fatalf("its fate is %+v", f)
	}
	for _, s := range list {
		if _, err := io.ReadAll(s); err != nil {
			t.Errorf("the client sees %v, want an end", err)
		}
	}
	for _, word := range c.awaitEnds(len(list)) {
		if word != "role_lost" {
			t.Errorf("end %s", word)
		}
	}
	c.closed()
}
