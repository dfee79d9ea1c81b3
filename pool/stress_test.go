package pool

import (
	"flag"
	"maps"
	"math/rand/v2"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

var seed = flag.Uint64("seed", 0, "seed of the stress and model tests; 0 draws one")

func drawSeed(t *testing.T) uint64 {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("repeat with -seed=%d", s)
	return s
}

// script drives a table and a plain model of it with the same operations, which come from next (0 at the end of input).
// The model is a map of leases and a list of epochs; after each operation both must tell the same.
func script(t testing.TB, next func() byte, policy Policy, limit int) {
	w := table(t, Options{Slots: 2, Ejection: Ejection{Fails: 1 << 20}, Tuning: Tuning{Policy: policy, MaxConns: limit}})
	type held struct {
		lease *Lease
		epoch uint64
		addr  netip.AddrPort
	}
	var leases []held
	listed := map[netip.AddrPort]int{} // the newest epoch
	down := map[netip.AddrPort]bool{}
	epochOf := map[uint64]map[netip.AddrPort]bool{}
	record := func() {
		set := map[netip.AddrPort]bool{}
		for a := range listed {
			set[a] = true
		}
		epochOf[w.Status().Epoch] = set
	}
	record()
	alive := func(a netip.AddrPort) bool {
		if _, ok := listed[a]; ok {
			return true
		}
		return slices.ContainsFunc(leases, func(h held) bool { return epochOf[h.epoch][a] })
	}
	for op := next(); op != 0; op = next() {
		switch op % 4 {
		case 0: // apply a set of peers with weights
			bits, weight := next(), int(next()%4)
			var list []Member
			clear(listed)
			for i := range 6 {
				if bits&(1<<i) != 0 {
					list = append(list, Member{Addr: addr(i), Weight: (weight + i) % 4})
					listed[addr(i)] = (weight + i) % 4
				}
			}
			w.apply(t, list)
			record()
		case 1: // acquire
			slot := int(next() % 2)
			var want []netip.AddrPort
			for a, weight := range listed {
				n := 0
				for _, h := range leases {
					if h.addr == a {
						n++
					}
				}
				if weight > 0 && !down[a] && (limit == 0 || n < limit) {
					want = append(want, a)
				}
			}
			l, err := w.Acquire(Request{Slot: slot})
			if (err == nil) != (len(want) > 0) {
				t.Fatalf("acquire: %v, the model can give %v", err, want)
			}
			if err == nil {
				if !slices.Contains(want, l.Peer().Addr()) {
					t.Fatalf("acquire gave %v, the model can give %v", l.Peer().Addr(), want)
				}
				leases = append(leases, held{&l, l.Epoch(), l.Peer().Addr()})
			}
		case 2: // release
			if len(leases) > 0 {
				i := int(next()) % len(leases)
				leases[i].lease.Release(Outcome(op / 4 % 5))
				leases = slices.Delete(leases, i, i+1)
			}
		case 3: // health
			a := addr(int(next() % 6))
			h := HealthDown
			if op&4 != 0 {
				h = HealthUp
			}
			if w.Peer(a) != nil && alive(a) {
				w.SetHealth(a, h)
				down[a] = h == HealthDown
				record()
			}
		}
		live := map[uint64]bool{w.Status().Epoch: true}
		for _, h := range leases {
			live[h.epoch] = true
		}
		eventually(t, "the epochs in use are those of the model", func() bool { return len(w.Status().Epochs) == len(live) })
		s := w.Status()
		want := map[netip.AddrPort]int64{}
		for e := range live {
			for a := range epochOf[e] {
				want[a] += 0
			}
		}
		for _, h := range leases {
			want[h.addr]++
		}
		got := map[netip.AddrPort]int64{}
		for _, p := range s.Peers {
			got[p.Addr] = p.Active
		}
		if !maps.Equal(got, want) {
			t.Fatalf("peers and their leases are %v, the model says %v", got, want)
		}
		for a := range down {
			if _, ok := want[a]; !ok {
				delete(down, a) // a peer that ended comes back with no memory
			}
		}
	}
	for _, h := range leases {
		h.lease.Release(OutcomeOK)
	}
}

func TestModelAgrees(t *testing.T) {
	s := drawSeed(t)
	for i := range uint64(30) {
		r := rand.New(rand.NewPCG(s, i))
		n := 0
		script(t, func() byte {
			if n++; n > 300 {
				return 0
			}
			return byte(1 + r.UintN(255))
		}, Policy(i%2), int(i%3))
	}
}

func FuzzTable(f *testing.F) {
	f.Add([]byte{4, 7, 1, 1, 0, 1, 1, 4, 56, 2, 2, 0, 3, 1})
	f.Fuzz(func(t *testing.T, in []byte) {
		if len(in) < 2 || len(in) > 400 {
			return
		}
		policy, limit := Policy(in[0]%2), int(in[1]%3)
		in = in[2:]
		script(t, func() byte {
			if len(in) == 0 {
				return 0
			}
			b := in[0]
			in = in[1:]
			return b
		}, policy, limit)
	})
}

// Readers and writers at full speed, with changes of health, ejections, and a close while all still run: a pick is always a
// peer that some epoch between its begin and its end listed, is alive while it is held, and at the end nothing is left.
// Peers 2 and 3 are always listed and never down, so that no acquire may fail before the close.
func TestStressPicksAreLinearizable(t *testing.T) {
	s := drawSeed(t)
	w := table(t, Options{Slots: 4, Tuning: Tuning{MaxConns: 50}})
	w.apply(t, members(3))
	var mu sync.Mutex
	lists := map[uint64]map[netip.AddrPort]bool{}
	var readers, writers sync.WaitGroup
	var closing atomic.Bool
	for slot := range 4 {
		readers.Go(func() {
			r := rand.New(rand.NewPCG(s, uint64(slot)))
			var held []*Lease
			for {
				before := w.current.Load().id
				l, err := w.Acquire(Request{Slot: slot})
				after := w.current.Load().id
				if err != nil {
					if err != ErrClosed || !closing.Load() {
						t.Errorf("acquire: %v", err)
					}
					for _, l := range held {
						l.Release(OutcomeNeutral)
					}
					return
				}
				if l.Epoch() < before || l.Epoch() > after {
					t.Errorf("a lease on epoch %d, taken between %d and %d", l.Epoch(), before, after)
				}
				if w.endings(l.Peer()) != 0 {
					t.Error("a lease on a peer that ended")
				}
				mu.Lock()
				set := lists[l.Epoch()]
				mu.Unlock()
				if set != nil && !set[l.Peer().Addr()] {
					t.Errorf("epoch %d does not list %v", l.Epoch(), l.Peer().Addr())
				}
				held = append(held, &l)
				for len(held) > 0 && r.UintN(8) < uint(len(held)) {
					i := r.IntN(len(held))
					if w.endings(held[i].Peer()) != 0 {
						t.Error("a peer ended while it was leased")
					}
					held[i].Release(Outcome(r.UintN(5)))
					held = slices.Delete(held, i, i+1)
				}
			}
		})
	}
	for k := range 2 {
		writers.Go(func() {
			r := rand.New(rand.NewPCG(s, uint64(100+k)))
			for range 1500 {
				n := 1 + r.IntN(6)
				list := members(n+3, 1+r.IntN(3))[r.IntN(3):]
				mu.Lock() // so that a set is known under its epoch before the other writer goes on
				d, err := w.Apply(list, CauseDNS)
				if err != nil {
					t.Error(err)
				}
				if d.Changed {
					set := map[netip.AddrPort]bool{}
					for _, m := range list {
						set[m.Addr] = true
					}
					lists[d.Epoch] = set
				}
				mu.Unlock()
			}
		})
	}
	writers.Go(func() {
		r := rand.New(rand.NewPCG(s, 200))
		for range 1500 {
			w.SetHealth(addr([]int{0, 1, 4, 5}[r.IntN(4)]), Health(r.UintN(3)))
			w.Status()
		}
	})
	writers.Wait()
	closing.Store(true)
	w.Close()
	readers.Wait()
	eventually(t, "every epoch is freed", func() bool { p, r := w.Counts(); return p == r })
	eventually(t, "every peer ended once", func() bool {
		w.mu.Lock()
		defer w.mu.Unlock()
		for p, n := range w.ended {
			if n != 1 || p.Active() != 0 {
				t.Fatalf("%v ended %d times, with %d leases", p.Addr(), n, p.Active())
			}
		}
		return len(w.ended) > 0
	})
	if left := w.Status().Peers; len(left) != 0 {
		t.Errorf("left: %+v", left)
	}
}
