package pool

import "sync/atomic"

// refs counts the references of one slot on an epoch, in one word, so that a pick writes no second one to go round: the low
// half is what is held, the high half how often it was taken, which only rises and wraps.
type refs struct {
	n    atomic.Uint64
	from uint32 // where the slot's turns begin: slots that pick at the same moment begin at different candidates

	looked atomic.Int64 // when the slot last looked at what the other slots have (Table.clock)
	others atomic.Int64 // hash with a bound: what all peers had then, less what the slot held on this epoch
	_      [96]byte
}

// take adds a reference and says whose turn it is to be looked at first.
func (r *refs) take() (turn uint32) { return uint32(r.n.Add(1<<32+1)>>32) + r.from }

// next is the turn that take would give.
func (r *refs) next() uint32 { return uint32(r.n.Load()>>32) + 1 + r.from }

// give takes one back and returns how many are left.
func (r *refs) give() int32 { return int32(uint32(r.n.Add(^uint64(0)))) }

func (r *refs) held() int32 { return int32(uint32(r.n.Load())) }
