package lb

import (
	"net/netip"
	"sync"

	"github.com/ebb-lb/ebb/lb/internal/end"
)

// live is a session as the registry sees it: something on a peer that has moved bytes and can be cut.
type live interface {
	peerAddr() netip.AddrPort
	moved() (in, out int64)
	Kill(end.Word)
}

// registry knows the sessions of one listener. It is sharded by slot, so that loops do not meet on its locks; a session
// enters and leaves the shard of its slot.
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

func (r *registry) enter(slot int, s live) {
	sh := &r.shards[slot]
	sh.mu.Lock()
	sh.live[s] = struct{}{}
	sh.mu.Unlock()
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

// kill cuts the sessions that match and says how many. Cutting happens outside the locks: a session that ends wants them.
func (r *registry) kill(w end.Word, match func(netip.AddrPort) bool) int {
	n := 0
	for i := range r.shards {
		sh := &r.shards[i]
		var cut []live
		sh.mu.Lock()
		for s := range sh.live {
			if match(s.peerAddr()) {
				cut = append(cut, s)
			}
		}
		sh.mu.Unlock()
		for _, s := range cut {
			s.Kill(w)
		}
		n += len(cut)
	}
	return n
}
