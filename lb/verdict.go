package lb

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/pool"
)

// The causes of the session policy for which a check takes new sessions from a peer.
const (
	dead     = "dead"
	roleLost = "role_lost" // it is alive, and not what the pool wants
	degraded = "degraded"  // it is, but not well enough, or it asks for none
)

// verdict is what a pool makes of the last word of a peer's check.
type verdict struct {
	health pool.Health
	cause  string // dead, roleLost or degraded; "" if it is none: it gets new sessions, or is no member, or the check has not spoken
	reason string // one word: that of the check, or unasked, unlisted, role, rival, stale, lag, drain
	detail string // for people

	percent int // of its weight, that an agent asks for; 0 is all
}

// differs tells that b is news to who knows a. Details come and go.
func (a verdict) differs(b verdict) bool {
	a.detail, b.detail = "", ""
	return a != b
}

// wanted is the role that a check has to tell; RoleUnknown is any.
func wanted(c *config.Check) check.Role {
	switch {
	case c == nil:
	case c.Want == "primary":
		return check.Primary
	case c.Want == "replica":
		return check.Replica
	}
	return check.RoleUnknown
}

// selects tells that peers have to pass a check before they are used: it chooses among those that are alive.
func selects(c *config.Check) bool {
	return c != nil && (wanted(c) != check.RoleUnknown || c.MaxLag > 0)
}

// fresh is the health of a peer whose check has not spoken yet.
func (p *livePool) fresh() pool.Health {
	if selects(p.conf().Check) {
		return pool.HealthUnfit
	}
	return pool.HealthUnknown
}

// unasked is how many checks have to speak before the pool can know which peer to use. With one to offer, it waits for none.
func (p *livePool) unasked() (n int) {
	if !selects(p.conf().Check) || p.table.Selectable() > 0 {
		return 0
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.checks {
		if !c.state.Known && !c.state.Blind {
			n++
		}
	}
	return n
}

// judge makes a verdict of what one check says. What others say is the matter of holder.
func judge(c *config.Check, s check.State) verdict {
	want := wanted(c)
	v := verdict{health: pool.HealthUnfit, cause: degraded, reason: "role"}
	switch {
	case !s.Known && selects(c):
		v.cause, v.reason, v.detail = "", "unasked", "its check has not answered yet"
	case !s.Known:
		v = verdict{reason: "unasked"}
	case !s.Up:
		v = verdict{health: pool.HealthDown, cause: dead, reason: s.Last.Reason, detail: s.Last.Detail}
	case want != check.RoleUnknown && s.Role == check.RoleUnknown:
		v.detail = "its role is not known, expected a " + want.String()
		if s.Last.Detail != "" {
			v.detail += ": " + s.Last.Detail
		}
	case want != check.RoleUnknown && s.Role != want:
		v.cause, v.detail = roleLost, fmt.Sprintf("it is a %s, expected a %s", s.Role, want)
	case s.Lagging:
		v.reason, v.detail = "lag", "it does not say how far it is behind"
		switch {
		case s.Last.LagKnown:
			v.detail = fmt.Sprintf("it is %s behind, expected at most %s", s.Last.Lag.Round(time.Millisecond), c.MaxLag)
		case s.Last.Detail != "":
			v.detail += ": " + s.Last.Detail
		}
	case s.Draining:
		v.reason, v.detail = "drain", s.Last.Detail
	default:
		v = verdict{health: pool.HealthUp, reason: s.Last.Reason, detail: s.Last.Detail, percent: s.Percent}
	}
	return v
}

// judgeLocked makes its verdict on a peer whose check has just spoken, and on all peers where who is primary is a matter of them
// all. What differs is published in one epoch, and logged, and the fates of sessions follow. It tells whether a peer has lost
// its place.
func (p *livePool) judgeLocked(addr netip.AddrPort) (lost bool) {
	conf := p.conf().Check
	list := []netip.AddrPort{addr}
	if guards(conf) {
		list = slices.SortedFunc(maps.Keys(p.checks), netip.AddrPort.Compare)
		p.guardLocked()
	}
	var news []ruling
	var findings []pool.Finding
	for _, addr := range list {
		c := p.checks[addr]
		if c == nil {
			continue
		}
		v := judge(conf, c.state)
		switch up := v.health == pool.HealthUp && guards(conf); {
		case up && !p.lists(addr): // it has no claim, and none when it comes back before that has been judged
			v = verdict{health: pool.HealthUnfit, reason: "unlisted"}
		case up && addr != p.guard.used:
			v = p.guard.outdone(c.timeline)
		}
		if c.verdict.differs(v) {
			news = append(news, ruling{addr, c.verdict, v})
			if c.verdict.health != v.health || c.verdict.percent == v.percent { // more or less of its weight is no other state
				c.since = time.Now()
			}
			findings = append(findings, pool.Finding{Addr: addr, Health: v.health, Percent: v.percent})
		}
		c.verdict = v
	}
	if len(news) == 0 {
		return false
	}
	p.table.SetHealths(findings...)
	for _, n := range news {
		p.tellVerdict(n, p.checks[n.addr].state)
		p.decideLocked(n.addr)
		lost = lost || n.now.cause == dead || n.now.cause == roleLost && n.before.health == pool.HealthUp
	}
	p.tellLocked()
	return lost
}

// ruling is a verdict that differs from the one before.
type ruling struct {
	addr        netip.AddrPort
	before, now verdict
}

func (p *livePool) tellVerdict(n ruling, s check.State) {
	attrs := []any{"peer", n.addr.String(), "reason", n.now.reason, "detail", n.now.detail}
	if s.Role != check.RoleUnknown {
		attrs = append(attrs, "role", s.Role.String())
	}
	if s.Timeline > 0 {
		attrs = append(attrs, "timeline", s.Timeline)
	}
	attrs = append(attrs, "latency", s.Last.Latency)
	switch {
	case n.now.reason == "unlisted": // the epoch has said so
	case n.now.health == pool.HealthUp && n.before.health == pool.HealthUp && n.now.percent != n.before.percent:
		p.log.Info("peer weight", append(attrs, "percent", percentOf(n.now))...)
	case n.now.health == pool.HealthUp:
		if n.now.percent != 0 {
			attrs = append(attrs, "percent", n.now.percent)
		}
		p.log.Info("peer up", attrs...)
	case n.now.health == pool.HealthDown:
		p.log.Info("peer down", attrs...)
	case n.before.health == pool.HealthUp:
		p.log.Warn("peer unwanted", attrs...)
	default: // it is what a standby has always been
		p.log.Info("peer unwanted", attrs...)
	}
}

// percentOf is what a peer that is up gets of its weight.
func percentOf(v verdict) int {
	if v.percent == 0 {
		return 100
	}
	return v.percent
}
