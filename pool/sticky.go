package pool

import "sync/atomic"

// holder is the peer to which sticky sends everything. It survives epochs.
type holder struct{ holds atomic.Pointer[Peer] }

// held takes the holder. If it is no candidate any more, is ejected, or this session has tried it in vain, the next candidate
// of the best rank holds from now on, for all sessions, and the old holder does not come back. A holder at its limit stays
// the holder: nobody else is taken meanwhile, for two at once are what sticky is there to prevent.
func (e *epoch) held(r *asking) *candidate {
	for {
		old := e.table.holds.Load()
		at := e.candidateOf(old)
		if at >= 0 {
			c := &e.candidates[at]
			if !e.excluded(c, r) && !c.peer.ejected(e.table, r.Request) {
				if e.take(c, r) {
					return c
				}
				return nil
			}
		}
		next := e.scan(r, at+1) // from the first, if there was none
		if next == nil {
			return nil
		}
		if r.dry || next.peer == old || e.table.holds.CompareAndSwap(old, next.peer) {
			return next
		}
		e.untake(next, r) // another session has moved on before this one: it goes where that went
	}
}

// candidateOf gives the index of a peer among the candidates, or -1.
func (e *epoch) candidateOf(p *Peer) int {
	if p != nil {
		for i := range e.candidates {
			if e.candidates[i].peer == p {
				return i
			}
		}
	}
	return -1
}
