package pool

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
)

// MaxWeight is the largest weight of a member.
const MaxWeight = 65535

// Cause says what made an epoch.
type Cause uint8

// The causes of an epoch.
const (
	CauseConfig Cause = iota
	CauseDNS
	CauseHealth
	CauseAdmin
	CauseState
)

func (c Cause) String() string {
	switch c {
	case CauseConfig:
		return "config"
	case CauseDNS:
		return "dns"
	case CauseHealth:
		return "health"
	case CauseAdmin:
		return "admin"
	case CauseState:
		return "state"
	}
	return "unknown"
}

// Member is one peer as a writer of the table wishes it.
type Member struct {
	Addr    netip.AddrPort
	Weight  int      // 0 to MaxWeight; 0 takes no new sessions
	Tier    int      // 0 or more; the lowest tier with a peer that may be picked serves, all of it, and no other
	Sources []string // the backends that gave it
}

func (m Member) equal(o Member) bool {
	return m.Addr == o.Addr && m.Weight == o.Weight && m.Tier == o.Tier && slices.Equal(m.Sources, o.Sources)
}

// canonical validates members and brings them into canonical order: sorted by address, one member per address. An address
// that is listed twice gets the lowest tier in which it has weight, the sum of its weights there, and all sources.
func canonical(members []Member) ([]Member, error) {
	out := make([]Member, 0, len(members))
	for _, m := range members {
		if !m.Addr.IsValid() || m.Addr.Port() == 0 {
			return nil, fmt.Errorf("member %v: expected an IP address with a port", m.Addr)
		}
		if m.Weight < 0 || m.Weight > MaxWeight {
			return nil, fmt.Errorf("member %v: weight %d, expected 0 to %d", m.Addr, m.Weight, MaxWeight)
		}
		if m.Tier < 0 {
			return nil, fmt.Errorf("member %v: tier %d, expected 0 or more", m.Addr, m.Tier)
		}
		m.Addr = netip.AddrPortFrom(m.Addr.Addr().Unmap(), m.Addr.Port())
		m.Sources = slices.Clone(m.Sources)
		out = append(out, m)
	}
	slices.SortFunc(out, func(a, b Member) int {
		return cmp.Or(a.Addr.Compare(b.Addr), cmp.Compare(min(b.Weight, 1), min(a.Weight, 1)), cmp.Compare(a.Tier, b.Tier))
	})
	kept := out[:0]
	for _, m := range out {
		if n := len(kept); n > 0 && kept[n-1].Addr == m.Addr {
			same := &kept[n-1]
			if m.Tier == same.Tier {
				same.Weight = min(same.Weight+m.Weight, MaxWeight)
			}
			same.Sources = append(same.Sources, m.Sources...)
			continue
		}
		kept = append(kept, m)
	}
	for i := range kept {
		slices.Sort(kept[i].Sources)
		kept[i].Sources = slices.Compact(kept[i].Sources)
	}
	return kept, nil
}

// Diff is what an Apply changed. The lists are sorted.
type Diff struct {
	Epoch                      uint64 // the current epoch afterwards
	Changed                    bool   // whether an epoch was published
	Added, Removed, Reweighted []netip.AddrPort
}

// compare fills a Diff from two canonical lists.
func compare(old, now []Member) (d Diff) {
	for len(old) > 0 || len(now) > 0 {
		switch c := order(old, now); {
		case c < 0:
			d.Removed = append(d.Removed, old[0].Addr)
			old = old[1:]
		case c > 0:
			d.Added = append(d.Added, now[0].Addr)
			now = now[1:]
		default:
			if old[0].Weight != now[0].Weight {
				d.Reweighted = append(d.Reweighted, now[0].Addr)
			}
			d.Changed = d.Changed || !old[0].equal(now[0])
			old, now = old[1:], now[1:]
		}
	}
	d.Changed = d.Changed || len(d.Added)+len(d.Removed) > 0
	return d
}

// order compares the first addresses of two lists, of which one may be empty; the end of a list sorts last.
func order(a, b []Member) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return a[0].Addr.Compare(b[0].Addr)
}
