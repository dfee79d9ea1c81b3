package pool

// service is which tier serves, and since when a lower one could. It outlives epochs; guarded by Table.mu.
type service struct {
	tier   int
	better int64 // when a lower tier became fit, while this one keeps service (Table.clock); 0: none is
}

// fit is how many members of each tier may be picked.
type fit map[int]int

// lowest gives the lowest tier with at least n, and whether there is one.
func (f fit) lowest(n int) (lowest int, ok bool) {
	for tier, has := range f {
		if has >= n && (!ok || tier < lowest) {
			lowest, ok = tier, true
		}
	}
	return lowest, ok
}

// choose says which tier serves in an epoch that is made now: the lowest with MinUp members that may be picked, or if none
// has, the lowest that has any. A lower tier than the one that serves waits for its service as Failback says, unless the one
// that serves is no longer fit. The caller holds t.mu.
func (t *Table) choose(f fit) int {
	need := max(t.tuning.MinUp, 1)
	best, ok := f.lowest(need)
	if !ok {
		need = 1
		if best, ok = f.lowest(need); !ok {
			t.serving.better = 0
			return t.serving.tier
		}
	}
	s := &t.serving
	if best < s.tier && f[s.tier] >= need && !t.failsBack() {
		return s.tier
	}
	s.better = 0
	if t.busy { // before, peers come in any order, and there is no service to lose
		s.tier = best
	}
	return best
}

// failsBack says whether a lower tier that is fit takes service now. If it has to wait, the epoch that lets it is due.
func (t *Table) failsBack() bool {
	switch after := t.tuning.Failback; {
	case after == 0:
		return true
	case after < 0:
		return false
	default:
		s := &t.serving
		now := t.clock(new(Request))
		if s.better == 0 {
			s.better = now
		}
		if now-s.better >= int64(after) {
			return true
		}
		t.dueBy(s.better + int64(after))
		return false
	}
}
