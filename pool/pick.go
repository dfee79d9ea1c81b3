package pool

import (
	"fmt"
	"net/netip"
	"slices"
)

// Policy is how a table chooses among the peers that it may pick.
type Policy uint8

// The policies.
const (
	LeastConn  Policy = iota // the fewest sessions for its weight
	RoundRobin               // in turn, smoothly by weight
)

func (p Policy) String() string {
	switch p {
	case LeastConn:
		return "leastconn"
	case RoundRobin:
		return "roundrobin"
	}
	return "unknown"
}

// ParsePolicy reads a policy's word.
func ParsePolicy(s string) (Policy, error) {
	for _, p := range []Policy{LeastConn, RoundRobin} {
		if s == p.String() {
			return p, nil
		}
	}
	return 0, fmt.Errorf("balance %q, expected leastconn or roundrobin", s)
}

// The ranks of a candidate at a pick: a lower rank wins outright, whatever the load.
const (
	rankGood     = iota
	rankUnproven // its check has not spoken yet
	rankEjected
	rankNever // excluded, or at its limit
)

func (e *epoch) rank(c *candidate, exclude []netip.AddrPort) int {
	opts := &e.table.opts
	switch {
	case len(exclude) > 0 && slices.Contains(exclude, c.peer.addr), c.tally.full(opts.MaxConns):
		return rankNever
	case c.peer.ejected(opts.Now):
		return rankEjected
	case !c.proven:
		return rankUnproven
	}
	return rankGood
}

// pick chooses a peer and takes it, or returns nil.
func (e *epoch) pick(r Request) *Peer {
	if len(e.candidates) == 0 {
		return nil
	}
	if e.table.opts.Policy == RoundRobin {
		return e.inTurn(r)
	}
	return e.leastLoaded(r)
}

// scan takes the first candidate of the best rank, looking from an offset. Losing the race for the last place of a peer
// with a limit makes that peer's rank "never", so the loop ends.
func (e *epoch) scan(r Request, from int) *Peer {
	n := len(e.candidates)
	for {
		best, bestRank := -1, rankNever
		for i := range n {
			at := (from + i) % n
			if rank := e.rank(&e.candidates[at], r.Exclude); rank < bestRank {
				best, bestRank = at, rank
				if rank == rankGood {
					break
				}
			}
		}
		if best < 0 {
			return nil
		}
		if p := e.candidates[best].peer; p.tally(r.Slot).take(e.table.opts.MaxConns) {
			return p
		}
	}
}
