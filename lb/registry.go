package lb

import (
	"net/netip"
	"sync"

	"github.com/ebb-lb/ebb/lb/internal/end"
)

// live is a session as the registry sees it: something that has moved bytes and can be cut.
type live interface {
	moved() (in, out int64)
	Upstream() netip.AddrPort
	Kill(end.Word)
	walk() *trip // of which others may read what stands from the start, and once it is settled, what that settled
}

// registry knows the sessions of one listener and which peer each is on. It is sharded by slot, so that loops do not meet
// on its locks; a session enters and leaves the shard of its slot.
type registry struct{ shards []shard }

type shard struct {
	mu      sync.Mutex
	live    map[live]struct{}
	in, out int64 // bytes of sessions that have ended
	_       [64]byte
}

func newRegistry(slots int) *registry {
	r := &registry{shards: make([]shard, slots)}
	for i := range r.shards {
		r.shards[i].live = make(map[live]struct{})
	}
	return r
}

// enter takes in a session that has no peer yet: only the end of everything cuts it.
func (r *registry) enter(slot int, s live) {
	sh := &r.shards[slot]
	sh.mu.Lock()
	sh.live[s] = struct{}{}
	sh.mu.Unlock()
}

// settle notes that a session stays on its peer, unless wanted says no. Who ends a peer makes wanted false first and then asks who is
// on it: so either that finds the session, or the session is turned away here.
func (r *registry) settle(slot int, s live, wanted func() bool) bool {
	sh := &r.shards[slot]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if !wanted() {
		return false
	}
	s.walk().settled = true
	return true
}

// rename changes what others may read of a session in the shard of a slot.
func (r *registry) rename(slot int, change func()) {
	sh := &r.shards[slot]
	sh.mu.Lock()
	defer sh.mu.Unlock()
	change()
}

// leave takes a session out and adds its bytes to the total in one step, so that no reader counts them twice or not at
// all.
func (r *registry) leave(slot int, s live) {
	in, out := s.moved()
	sh := &r.shards[slot]
	sh.mu.Lock()
	delete(sh.live, s)
	sh.in += in
	sh.out += out
	sh.mu.Unlock()
}

// bytes sums what all sessions have moved, those that live included.
func (r *registry) bytes() (in, out int64) {
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		in, out = in+sh.in, out+sh.out
		for s := range sh.live {
			i, o := s.moved()
			in, out = in+i, out+o
		}
		sh.mu.Unlock()
	}
	return in, out
}

// settled is a session, and where it stands.
type settled struct {
	live
	client, local netip.AddrPort
	peer          netip.AddrPort // the zero value while it has none
	epoch         uint64
}

// each visits every session under the lock of its shard, which a session needs to begin and to end.
func (r *registry) each(visit func(settled)) {
	for i := range r.shards {
		sh := &r.shards[i]
		sh.mu.Lock()
		for s := range sh.live {
			t := s.walk()
			at := settled{live: s, client: t.client, local: t.local}
			if t.settled {
				at.peer, at.epoch = t.peer.Addr(), t.epoch
			}
			visit(at)
		}
		sh.mu.Unlock()
	}
}

// on gives the sessions that are settled on a peer.
func (r *registry) on(peer netip.AddrPort) (list []live) {
	for i := range r.shards {
		list = r.shards[i].find(list, func(s live) bool { return s.walk().settled && s.walk().peer.Addr() == peer })
	}
	return list
}

// killAll cuts every session, also those that are still connecting, and says how many. It cuts outside the locks: a session
// that ends wants them.
func (r *registry) killAll(w end.Word) (n int) {
	for i := range r.shards {
		for _, s := range r.shards[i].find(nil, func(live) bool { return true }) {
			s.Kill(w)
			n++
		}
	}
	return n
}

// find adds to a list the sessions that match.
func (sh *shard) find(list []live, match func(live) bool) []live {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	for s := range sh.live {
		if match(s) {
			list = append(list, s)
		}
	}
	return list
}
