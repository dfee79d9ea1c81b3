package lb

import (
	"sync"

	"github.com/ebb-lb/ebb/lb/admin"
)

// holds are what makes pools wait: the word of an operator, which stays until it is taken back, or a switch-over, which ends
// by itself. A word of an operator ends a switch-over. A pool that takes the place of another is held as that is.
type holds struct {
	mu       sync.Mutex
	switches map[string]*switchOver // under way, by pool
}

// isSwitching tells that a pool is held by a switch-over, and by no operator.
func (h *holds) isSwitching(name string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.switches[name] != nil
}

// endLocked ends the switch-over of a pool for an operator. It is false if there is none.
func (h *holds) endLocked(name, word string) bool {
	o := h.switches[name]
	if o == nil {
		return false
	}
	delete(h.switches, name)
	o.word = word
	close(o.ended)
	return true
}

// HoldPool makes the new TCP clients of a pool wait, or lets those that wait go, in order. Sessions that live go on.
func (s *Server) HoldPool(name string, on bool) (admin.HoldReply, error) {
	if _, err := s.poolNamed(name); err != nil {
		return admin.HoldReply{}, err
	}
	verb := "release"
	if on {
		verb = "hold"
	}
	s.holds.mu.Lock()
	took := s.holds.endLocked(name, verb)
	changed, waiting := s.holdLocked(name, on)
	s.holds.mu.Unlock()
	reply := admin.HoldReply{Pool: name, Held: on, Changed: changed || took}
	switch {
	case !reply.Changed:
	case on:
		s.log.Info("pool held", "pool", name, "reason", "admin", "waiting", waiting)
	default:
		s.log.Info("pool released", "pool", name, "reason", "admin", "waiting", waiting)
	}
	if reply.Changed {
		s.saveState()
	}
	reply.Waiting = s.waiting(name)
	return reply, nil
}

// holdLocked holds or releases all pools of a name: besides the one that the config has, clients may wait in others since before
// a reload. It tells whether that is new, and how many waited.
func (s *Server) holdLocked(name string, on bool) (changed bool, waiting int64) {
	waiting = s.waiting(name)
	for _, p := range s.running().everyPool() {
		if p.name == name && p.queue.hold(on) {
			changed = true
		}
	}
	return changed, waiting
}

// seek has the peers of a pool asked faster, because a switch-over waits for another primary, or not any more.
func (s *Server) seek(name string, on bool) {
	for _, p := range s.running().everyPool() {
		if p.name == name {
			p.mu.Lock()
			p.seeks = on
			p.hurryLocked(p.table.Selectable())
			p.mu.Unlock()
		}
	}
}

// waiting is how many clients wait in the pools of a name.
func (s *Server) waiting(name string) (n int64) {
	for _, p := range s.running().everyPool() {
		if p.name == name {
			n += p.queue.n.Load()
		}
	}
	return n
}
