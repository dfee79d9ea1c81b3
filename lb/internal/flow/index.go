package flow

import "hash/maphash"

// index finds flows by their key, which it does not keep: a flow takes a few bytes of it instead of some hundred.
type index struct {
	seed   maphash.Seed
	chains map[uint64]*Flow // by hash
}

func newIndex() index { return index{maphash.MakeSeed(), make(map[uint64]*Flow)} }

func (x *index) find(k key) *Flow {
	f := x.chains[maphash.Comparable(x.seed, k)]
	for f != nil && f.key() != k {
		f = f.chained
	}
	return f
}

// add takes a flow in whose key nobody else has.
func (x *index) add(f *Flow) {
	hash := maphash.Comparable(x.seed, f.key())
	f.chained = x.chains[hash]
	x.chains[hash] = f
}

// remove takes a flow out, if it is in.
func (x *index) remove(f *Flow) {
	hash := maphash.Comparable(x.seed, f.key())
	first := x.chains[hash]
	if first == f {
		if f.chained == nil {
			delete(x.chains, hash)
		} else {
			x.chains[hash] = f.chained
		}
		f.chained = nil
		return
	}
	for at := first; at != nil; at = at.chained {
		if at.chained == f {
			at.chained, f.chained = f.chained, nil
			return
		}
	}
}

func (f *Flow) key() key { return key{f.Client, f.asked.addr} }
