package lb

import (
	"net/netip"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
)

// alarms expects how often the alarm of several primaries has begun and ended.
func (c *court) alarms(t *testing.T, begun, ended int) {
	t.Helper()
	b, e := len(c.logs.find("several primaries")), len(c.logs.find("no rival primary"))
	count := int64(1)
	if begun > ended {
		count = 2
	}
	if n := c.p.guard.primaries.Load(); b != begun || e != ended || n != count {
		t.Errorf("%d alarms of which %d have ended, %d primaries in the metrics; want %d, %d, %d", b, e, n, begun, ended, count)
	}
}

// In every failover two peers are primary by what each of them said last. That is an alarm only when the other has said so again.
func TestAlarmIsConfirmed(t *testing.T) {
	t.Run("it was demoted before", func(t *testing.T) {
		for _, timelines := range []uint64{0, 1} {
			c := newCourt(t, true)
			c.say(c.a, primary(timelines))
			c.say(c.b, primary(2*timelines))
			c.alarms(t, 0, 0)
			c.say(c.a, replica)
			c.expect(t, "b", "role", "ok")
			c.say(c.b, primary(2*timelines))
			c.alarms(t, 0, 0)
		}
	})
	t.Run("it is still one", func(t *testing.T) {
		c := newCourt(t, true)
		c.say(c.a, primary(1))
		c.say(c.b, primary(2))
		c.say(c.b, primary(2)) // who came last says nothing new
		c.alarms(t, 0, 0)
		c.say(c.a, primary(1))
		c.alarms(t, 1, 0)
		c.say(c.b, primary(3)) // a promotion of its own ends nothing
		c.alarms(t, 1, 0)
		c.say(c.a, silence)
		c.alarms(t, 1, 1)
		c.say(c.a, primary(1)) // and the other may have been demoted meanwhile
		c.alarms(t, 1, 1)
		c.expect(t, "b", "stale", "ok")
		c.say(c.b, primary(3))
		c.alarms(t, 2, 1)
	})
	t.Run("it does not answer", func(t *testing.T) {
		c := newCourt(t, true)
		c.say(c.a, primary(1))
		c.say(c.b, primary(2))
		late := primary(1)
		late.Known, late.Streak, late.Last = true, 1, check.Result{Reason: check.Timeout}
		c.p.mu.Lock()
		of := c.p.checks[c.a]
		c.p.mu.Unlock()
		c.p.checked(c.a, of, late)
		c.alarms(t, 0, 0)
		c.expect(t, "b", "stale", "ok")
		c.say(c.a, primary(1))
		c.alarms(t, 1, 0)
	})
}

// Who is primary by an old word is asked again when another says that it is, long before its next check is due.
func TestRivalIsAsked(t *testing.T) {
	for _, now := range []string{"replica 0", "primary"} {
		t.Run(now, func(t *testing.T) {
			r, roles, _ := withRoles(t, func(c *config.Check) { c.Interval, c.FastInterval = time.Hour, time.Millisecond })
			roles.say("127.0.0.2", "primary")
			roles.say("127.0.0.3", "replica 0")
			r.serve()
			r.awaitStates("up", "unwanted role")
			roles.say("127.0.0.2", now)
			roles.say("127.0.0.3", "primary")
			p := r.server.running().pools[0]
			p.failed(netip.MustParseAddrPort(r.status().Peers[1].Addr)) // which has that one asked, and no other
			if now == "primary" {
				r.awaitStates("up", "unwanted rival")
				eventually(t, "the alarm", func() bool { return len(r.logs.find("several primaries")) == 1 && p.guard.primaries.Load() == 2 })
				return
			}
			r.awaitStates("unwanted role", "up")
			if len(r.logs.find("several primaries")) != 0 {
				t.Error("an alarm for nothing")
			}
		})
	}
}
