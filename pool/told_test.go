package pool

import (
	"net/netip"
	"slices"
	"testing"
	"time"
)

// OnEject may ask the table, is told once for each ejection, and how long it lasts.
func TestOnEject(t *testing.T) {
	type told struct {
		peer  *Peer
		d     time.Duration
		state string
	}
	var all []told
	var w *watched
	w = table(t, Options{Slots: 1, Rand: func() uint64 { return 1 << 63 }, OnEject: func(p *Peer, d time.Duration) {
		all = append(all, told{p, d, w.Status().Peers[0].State})
	}})
	w.apply(t, members(2))
	for range 5 {
		l := w.acquire(t, Request{Exclude: []netip.AddrPort{addr(1)}})
		l.Release(OutcomeConnectFailed)
	}
	if len(all) != 1 || all[0].peer != w.Peer(addr(0)) || all[0].d != 5*time.Second || all[0].state != "ejected" {
		t.Errorf("%+v", all)
	}
}

func TestOnFreed(t *testing.T) {
	r := NewReclaimer()
	freed := make(chan uint64, 8)
	var tb *Table
	tb = New(Options{OnFreed: func(id uint64) { tb.Status(); freed <- id }}, r)
	for i := range 3 {
		tb.Apply(members(i+1), CauseDNS)
	}
	last := tb.Status().Epoch
	tb.Close()
	r.Close()
	var all []uint64
	for len(freed) > 0 {
		all = append(all, <-freed)
	}
	slices.Sort(all)
	if published, _ := tb.Counts(); len(all) != int(published) || all[len(all)-1] < last || len(slices.Compact(all)) != int(published) {
		t.Errorf("freed %v, published %d", all, published)
	}
}
