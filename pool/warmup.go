package pool

// warmSteps is in how many steps a peer gets its weight: each is an epoch, so that picks know nothing of it.
const warmSteps = 20

// warmup is the slow start of a peer. It is guarded by Table.mu.
type warmup struct {
	admitted bool  // in the newest epoch that lists the peer: nothing barred it
	cold     bool  // it was admitted after others had had sessions, and has not got its whole weight yet
	since    int64 // when its first sessions could come (Table.clock); 0: its check has not passed yet
}

// warm notes that an epoch lists the peer, and says which of warmSteps it has reached; 0: it is not admitted. The caller
// holds t.mu.
func (t *Table) warm(p *Peer, before uint64, admitted bool) int64 {
	w := &p.warmup
	if p.newest.Load() != before { // it was away
		*w = warmup{}
	}
	if !admitted {
		*w = warmup{}
		return 0
	}
	if !w.admitted {
		*w = warmup{admitted: true, cold: t.busy}
	}
	slow := int64(t.tuning.SlowStart)
	if !w.cold || slow == 0 {
		w.cold = false
		return warmSteps
	}
	now := t.clock(new(Request))
	if w.since == 0 {
		if !t.proven(p) {
			return 1
		}
		w.since = now
	}
	step := (now - w.since) * warmSteps / slow
	if step >= warmSteps {
		w.cold = false
		return warmSteps
	}
	t.dueBy(w.since + ((step+1)*slow+warmSteps-1)/warmSteps)
	return max(step, 1)
}

// warmLimit is the part of a limit that a peer has at a step.
func warmLimit(limit int, step int64) int32 {
	if limit == 0 {
		return 0
	}
	return int32(max(int64(limit)*step/warmSteps, 1))
}
