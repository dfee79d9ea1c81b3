package pool

import (
	"slices"
	"time"
)

// Tuning is how a table chooses and what it keeps to. It may change while the table lives.
type Tuning struct {
	Policy   Policy
	MaxConns int     // leases per peer across all epochs; 0 is no limit
	MaxTotal int     // leases of all peers across all epochs; 0 is no limit
	Bounded  float64 // hash: nobody gets more than this times its share of all leases; at least 1, or 0: no bound

	MinUp     int           // how many peers that may be picked a tier needs to serve; 0 is 1
	Failback  time.Duration // how long a lower tier must be fit before it serves again; 0: at once; NeverFailback
	SlowStart time.Duration // how long a peer that has come back takes to get its whole weight and MaxConns; 0: none

	MaxConnecting int // leases of a peer that may connect at a time; 0 is no limit
	ConnectRate   int // leases of a peer that may begin per second; 0 is no limit
}

// NeverFailback leaves service with the tier that has it, as long as that is fit.
const NeverFailback time.Duration = -1

// tune takes over from the tuning what picks have to know. The caller holds t.mu.
func (e *epoch) tune(t *Table) {
	e.policy, e.bounded = t.tuning.Policy, t.tuning.Bounded
	e.maxConnecting = int64(t.tuning.MaxConnecting)
	if t.tuning.ConnectRate != 0 {
		e.interval = max(int64(time.Second)/int64(t.tuning.ConnectRate), 1)
	}
	e.limit(t)
}

// Tune changes what the table does, in an epoch of its own if anything differs. It reports whether anything did.
func (t *Table) Tune(to Tuning) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.current.Load()
	if t.tuning == to || now.closed {
		return false
	}
	t.tuning = to
	t.publish(t.newEpoch(now.members, CauseConfig))
	return true
}

// Due says in how long Advance will have something to do; false: nothing happens by time alone.
func (t *Table) Due() (time.Duration, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.due == 0 {
		return 0, false
	}
	return max(time.Duration(t.due-t.clock(new(Request))), 0), true
}

// Advance publishes the epoch that time alone has made due, if there is one: a tier has waited long enough for its service,
// or a peer gets more of its weight. It reports whether it did. Whoever changes the table asks Due, and advances it then.
func (t *Table) Advance() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.current.Load()
	if now.closed || t.due == 0 || t.clock(new(Request)) < t.due {
		return false
	}
	t.publish(t.newEpoch(now.members, CauseState))
	return true
}

// rouse notes that there have been sessions. Before, peers are new together: none starts slowly, and the tier that serves is
// not settled. The caller holds t.mu.
func (t *Table) rouse() {
	now := t.current.Load()
	if now != nil && !t.busy && slices.ContainsFunc(now.peers, func(p *Peer) bool { return p.Total() > 0 }) {
		t.busy, t.serving.tier = true, now.tier
	}
}

// dueBy brings the next epoch by time forward to a moment. The caller holds t.mu.
func (t *Table) dueBy(at int64) {
	if t.due == 0 || at < t.due {
		t.due = at
	}
}
