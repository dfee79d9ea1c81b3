package pool

import (
	"net/netip"
	"slices"
	"time"
)

// Status describes a table at one moment.
type Status struct {
	Name   string
	Epoch  uint64        // the newest
	Tier   int           // of the newest that serves, if a peer may be picked
	Epochs []EpochStatus // in use, oldest first
	Peers  []PeerStatus  // alive, by address
}

// EpochStatus describes an epoch that is not yet freed.
type EpochStatus struct {
	ID       uint64
	Cause    Cause
	Born     time.Time
	Sessions int64 // leases held on it
	Retired  bool
}

// PeerStatus describes a peer.
type PeerStatus struct {
	Addr         netip.AddrPort
	Weight, Tier int      // of the newest epoch; the weight is the operator's, if there is one
	Sources      []string // of the newest epoch
	State        string   // drain, maint, up, down, unwanted, standby: a lower tier serves; unknown, ejected, or draining: no longer listed
	Health       Health
	Admin        Admin
	AdminWeight  int // or NoWeight
	Active       int64
	Total        uint64
	Listed       bool // in the newest epoch
	EjectedUntil time.Time
	Failures     int      // connects that failed in a row, since the last ejection
	Standing     Standing // of the newest epoch, for a session that has tried nobody
	Figures      []Figure // what the policy goes by; none for a peer that no pick looks at
}

// Status returns a description of the table. It is consistent as to what is listed; counts move on while it is made.
func (t *Table) Status() Status {
	t.mu.Lock() // the current epoch cannot be freed under us
	defer t.mu.Unlock()
	return t.status(t.current.Load(), new(Request))
}

// status is what the newest epoch says to a request. The caller holds t.mu.
func (t *Table) status(now *epoch, at *Request) Status {
	s := Status{Name: t.opts.Name, Epoch: now.id, Tier: now.tier, Peers: make([]PeerStatus, 0, len(t.peers))}
	seen := now.seen(at)
	for _, e := range t.retired {
		s.Epochs = append(s.Epochs, EpochStatus{e.id, e.cause, e.born, e.sessions(), true})
	}
	if !now.closed {
		s.Epochs = append(s.Epochs, EpochStatus{now.id, now.cause, now.born, now.sessions(), false})
	}
	for addr, p := range t.peers {
		ps := PeerStatus{
			Addr: addr, State: "draining", Health: p.Health(), Admin: p.Admin(), AdminWeight: NoWeight, Active: p.Active(), Total: p.Total(),
			Standing: StandingUnlisted, Failures: int(p.failures.Load()),
		}
		if o, said := t.overrides[addr]; said {
			ps.AdminWeight = o.Weight
		}
		if i, ok := now.lists(addr); ok {
			m := now.members[i]
			ps.Listed, ps.Weight, ps.Tier, ps.Sources = true, t.weight(m), m.Tier, slices.Clone(m.Sources)
			ps.State, ps.Standing = "up", t.barred(m, p)
			if it, candidate := seen[p]; candidate {
				ps.Standing, ps.Figures = it.standing, it.figures
			} else if ps.Standing == StandingGood {
				ps.Standing = StandingStandby
			}
			switch {
			case ps.Admin != AdminReady:
				ps.State = ps.Admin.String()
			case ps.Health == HealthDown:
				ps.State = "down"
			case ps.Health == HealthUnfit:
				ps.State = "unwanted"
			case len(now.candidates) > 0 && m.Tier > now.tier || ps.Standing == StandingStandby:
				ps.State = "standby"
			case p.ejected(t, at):
				ps.State, ps.EjectedUntil = "ejected", t.born.Add(time.Duration(p.until.Load()))
			case t.opts.Checked && ps.Health == HealthUnknown:
				ps.State = "unknown"
			}
		}
		s.Peers = append(s.Peers, ps)
	}
	slices.SortFunc(s.Peers, func(a, b PeerStatus) int { return a.Addr.Compare(b.Addr) })
	return s
}
