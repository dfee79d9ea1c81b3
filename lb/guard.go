package lb

import (
	"fmt"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/pool"
)

// guard lets one of several peers that say they are primary take writes.
type guard struct {
	used      netip.AddrPort // the primary; not valid if there is none, or all who claim to be it are stale
	newest    claim          // of the latest timeline; none if timelines do not decide
	reports   uint64         // that checks have made
	several   bool           // as last logged
	primaries atomic.Int64   // peers that are up and say so; if it is not certain that there are several, one
}

// guards tells that of several primaries one is used.
func guards(c *config.Check) bool { return wanted(c) == check.Primary && c.Single }

// claim is that of one peer to be the primary.
type claim struct {
	addr     netip.AddrPort
	timeline uint64    // 0 is not known
	up       bool      // it says so now; otherwise it was the last that it said, and it is down
	since    time.Time // it is up as a primary

	began, heard uint64
}

// holder says which of the claimants is used. Timelines decide, if all who are up tell theirs: a primary of an older one than
// any claimant's is not used, also while the newer one is down, for what it writes would be lost. Among equals the one that was
// used before stays; otherwise it is the one that has been primary for longest. If none is left, it is none.
func holder(claims []claim, before netip.AddrPort) (used netip.AddrPort, newest claim) {
	for _, c := range claims {
		if c.up && c.timeline == 0 {
			newest = claim{}
			break
		}
		if c.timeline > newest.timeline {
			newest = c
		}
	}
	var first claim
	for _, c := range claims {
		switch {
		case !c.up || c.timeline < newest.timeline:
		case c.addr == before:
			return before, newest
		case !first.up || c.since.Before(first.since) || c.since.Equal(first.since) && c.addr.Compare(first.addr) < 0:
			first = c
		}
	}
	return first.addr, newest
}

// claimsLocked lists the peers that new sessions could go to and that are primary, or were when they were last up.
func (p *livePool) claimsLocked() (claims []claim) {
	for addr, c := range p.checks {
		if c.primary && p.lists(addr) {
			claims = append(claims, claim{addr, c.timeline, c.state.Up, c.state.Since, c.began, c.heard})
		}
	}
	return claims
}

func (p *livePool) lists(addr netip.AddrPort) bool {
	peer := p.table.Peer(addr)
	return peer != nil && p.table.Lists(peer)
}

// guardLocked finds the primary, and says so when several claim to be it.
func (p *livePool) guardLocked() {
	g, claims := &p.guard, p.claimsLocked()
	var up []netip.AddrPort
	for _, c := range claims {
		if c.up {
			up = append(up, c.addr)
		}
	}
	g.used, g.newest = holder(claims, g.used)
	several := len(up) > 1 && (g.several || p.confirmedLocked(claims))
	if several {
		g.primaries.Store(int64(len(up)))
	} else {
		g.primaries.Store(int64(min(len(up), 1)))
	}
	slices.SortFunc(up, netip.AddrPort.Compare)
	switch {
	case several == g.several:
	case several:
		p.log.Error("several primaries", "peers", addrs(up), "used", g.word(), "timeline", g.newest.timeline)
	default:
		p.log.Info("no rival primary", "used", g.word())
	}
	g.several = several
}

// confirmedLocked tells whether all who are up have said that they are primary since the last of them began to be. Who has not
// may have heard of its demotion meanwhile, as happens in every failover: it is asked, and only its answer makes an alarm.
func (p *livePool) confirmedLocked(claims []claim) bool {
	last, all := uint64(0), true
	for _, c := range claims {
		if c.up {
			last = max(last, c.began)
		}
	}
	for _, c := range claims {
		if c.up && c.heard < last {
			all = false
			p.checks[c.addr].watch.Ask()
		}
	}
	return all
}

// word is the primary that is used, for people.
func (g *guard) word() string {
	if !g.used.IsValid() {
		return "none"
	}
	return g.used.String()
}

// outdone is the verdict on a primary that is not used.
func (g *guard) outdone(timeline uint64) verdict {
	v := verdict{health: pool.HealthUnfit, cause: roleLost, reason: "rival", detail: fmt.Sprintf("it is a primary beside %s, which is used", g.word())}
	if timeline < g.newest.timeline {
		v.reason, v.detail = "stale", fmt.Sprintf("it is a primary of timeline %d, %s of timeline %d", timeline, g.newest.addr, g.newest.timeline)
	}
	return v
}
