package pool

import (
	"fmt"
	"slices"
	"strings"
)

// Policy is how a table chooses among the peers that it may pick.
type Policy uint8

// The policies.
const (
	LeastConn  Policy = iota // the fewest sessions for its weight
	RoundRobin               // in turn, smoothly by weight
	Random                   // the less loaded of two that are drawn by weight
	First                    // the first by address that has room
	Sticky                   // the one that has everything, until it is out
	Hash                     // by the request's key
	LeastTime                // the fewest sessions times the mean time of a connect, for its weight
)

var policyWords = [...]string{"leastconn", "roundrobin", "random", "first", "sticky", "hash", "least_time"}

func (p Policy) String() string {
	if int(p) < len(policyWords) {
		return policyWords[p]
	}
	return "unknown"
}

// ParsePolicy reads a policy's word.
func ParsePolicy(s string) (Policy, error) {
	if i := slices.Index(policyWords[:], s); i >= 0 {
		return Policy(i), nil
	}
	return 0, fmt.Errorf("balance %q, expected one of %s", s, strings.Join(policyWords[:], ", "))
}

// The ranks of a candidate at a pick: a lower rank wins outright, whatever the load. In between are the other standings.
const (
	rankGood  = StandingGood
	rankNever = StandingFull // that, and all that follow
)

func (e *epoch) rank(c *candidate, r *asking) Standing { return min(e.standing(c, r), rankNever) }

func (e *epoch) excluded(c *candidate, r *asking) bool {
	return len(r.Exclude) > 0 && slices.Contains(r.Exclude, c.peer.addr) != r.Only
}

// plain says that every candidate is good, so that none needs to be asked.
func (e *epoch) plain(r *asking) bool {
	if len(r.Exclude) > 0 || e.unproven || e.limited {
		return false
	}
	until := e.table.ejections.Load()
	return until == 0 || e.table.clock(r.Request) >= until
}

// take begins a lease on a candidate, unless it is at its limit. Who only asks gets none.
func (e *epoch) take(c *candidate, r *asking) bool {
	t := &c.tallies[r.tally]
	switch {
	case r.dry:
		return !t.full(e.limitOf(c)) && e.shut(c, r) == StandingGood
	case e.gated():
		return e.takeGated(c, r)
	}
	return t.take(e.limitOf(c))
}

// takeFreely is take where plain says that there is no limit.
func (c *candidate) takeFreely(r *asking) {
	if !r.dry {
		c.tallies[r.tally].started.Add(1)
	}
}

// pick chooses a candidate and takes it, or returns nil.
func (e *epoch) pick(r *asking) *candidate {
	if len(e.candidates) == 0 {
		return nil
	}
	if r.Only { // no turn, holder or draw of the others moves on
		return e.scan(r, 0)
	}
	switch e.policy {
	case RoundRobin:
		return e.inTurn(r)
	case Random:
		return e.atRandom(r)
	case First:
		return e.scan(r, 0)
	case Sticky:
		return e.held(r)
	case Hash:
		return e.hashed(r)
	case LeastConn, LeastTime:
	}
	return e.leastLoaded(r)
}

// scan takes the first candidate of the best rank, looking from an offset. Losing the race for the last place of a peer
// with a limit makes that peer's rank "never", so the loop ends.
func (e *epoch) scan(r *asking, from int) *candidate {
	n := len(e.candidates)
	for {
		best, bestRank := -1, rankNever
		for i := range n {
			at := (from + i) % n
			if rank := e.rank(&e.candidates[at], r); rank < bestRank {
				best, bestRank = at, rank
				if rank == rankGood {
					break
				}
			}
		}
		if best < 0 {
			return nil
		}
		if c := &e.candidates[best]; e.take(c, r) {
			return c
		}
	}
}
