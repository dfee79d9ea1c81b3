package pool

import (
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/anishathalye/porcupine"
)

// step is what a session or an operator does to a table.
type step struct {
	does string // acquire, release, drain, ready
	peer int    // of all but acquire
}

const nobody = -1 // what acquire gets where nobody has room

// bookkeeping is the contract of limits: nobody gets a peer at its limit, or any if that is one for all. Where there is one peer
// that nobody drains, "no peer" means that it was full at one moment; of two, each was, perhaps at different moments, which no
// sequence of steps can say.
func bookkeeping(limit int, ofAll, strict bool) porcupine.Model {
	counted := func(active [2]int, peer int) int {
		if ofAll {
			return active[0] + active[1]
		}
		return active[peer]
	}
	return porcupine.Model{
		Init: func() any { return [2]int{} },
		Step: func(state, input, output any) (bool, any) {
			active, in := state.([2]int), input.(step)
			switch in.does {
			case "release":
				active[in.peer]--
				return active[in.peer] >= 0, active
			case "acquire":
				got := output.(int)
				if got == nobody {
					return !strict || counted(active, 0) == limit, active
				}
				active[got]++
				return counted(active, got) <= limit, active
			}
			return true, active
		},
		DescribeOperation: func(input, output any) string { return fmt.Sprintf("%v: %v", input, output) },
	}
}

// drainHolds says whether all who asked after a drain was done, and before it was begun to be taken back, got another peer. Who
// asked before may still get one that the epoch listed that he had entered.
func drainHolds(history []porcupine.Operation) bool {
	for _, got := range history {
		if got.Input.(step).does != "acquire" || got.Output.(int) == nobody {
			continue
		}
		for _, d := range history {
			if d.Input != (step{"drain", got.Output.(int)}) || d.Return >= got.Call {
				continue
			}
			back := slices.ContainsFunc(history, func(r porcupine.Operation) bool {
				return r.Input == step{"ready", got.Output.(int)} && r.Return > d.Call && r.Call < got.Return
			})
			if !back {
				return false
			}
		}
	}
	return true
}

// Sessions that come and go at once, while an operator drains peers, see a table that takes one step at a time (I4, I7).
func TestLI7LimitsAndDrainsAreLinearizable(t *testing.T) {
	const limit = 2
	for _, policy := range []Policy{LeastConn, RoundRobin, Random, First, Hash} {
		for _, c := range []struct {
			peers, drains int
			ofAll         bool
		}{{1, 0, false}, {1, 4, false}, {2, 4, false}, {2, 0, true}, {2, 4, true}} {
			t.Run(fmt.Sprintf("%v/peers=%d,drains=%d,all=%v", policy, c.peers, c.drains, c.ofAll), func(t *testing.T) {
				model := bookkeeping(limit, c.ofAll, c.drains == 0)
				tuning := Tuning{Policy: policy, MaxConns: limit}
				if c.ofAll {
					tuning = Tuning{Policy: policy, MaxTotal: limit}
				}
				for round := range 200 {
					w := table(t, Options{Slots: 2, Tuning: tuning})
					w.apply(t, members(c.peers))
					history := w.history(t, c.peers, c.drains, uint64(round))
					if !porcupine.CheckOperations(model, history) {
						t.Fatalf("round %d: no order of these keeps to the limit: %v", round, described(model, history))
					}
					if !drainHolds(history) {
						t.Fatalf("round %d: a drained peer was given: %v", round, described(model, history))
					}
				}
			})
		}
	}
}

// history lets three sessions and an operator loose on a table.
func (w *watched) history(t *testing.T, peers, drains int, seed uint64) (history []porcupine.Operation) {
	var clock atomic.Int64
	var mu sync.Mutex
	note := func(who int, in step, do func() int) int {
		call := clock.Add(1)
		out := do()
		op := porcupine.Operation{ClientId: who, Input: in, Call: call, Output: out, Return: clock.Add(1)}
		mu.Lock()
		defer mu.Unlock()
		history = append(history, op)
		return out
	}
	var all sync.WaitGroup
	begin := make(chan struct{})
	for who := range 3 {
		all.Go(func() {
			rng := rand.New(rand.NewPCG(seed, uint64(who)))
			var held []*Lease
			release := func(l *Lease) {
				note(who, step{"release", int(l.Peer().Addr().Addr().As4()[3]) - 1}, func() int { l.Release(OutcomeOK); return 0 })
			}
			<-begin
			for range 6 {
				if rng.IntN(2) == 0 {
					runtime.Gosched()
				}
				if len(held) > 0 && rng.IntN(2) == 0 {
					release(held[0])
					held = held[1:]
					continue
				}
				var l Lease
				if note(who, step{does: "acquire"}, func() int {
					var err error
					if l, err = w.Acquire(Request{Slot: who % 2, Key: Key(rng.Uint64())}); err != nil {
						return nobody
					}
					return int(l.Peer().Addr().Addr().As4()[3]) - 1
				}) != nobody {
					held = append(held, &l)
				}
			}
			for _, l := range held {
				release(l)
			}
		})
	}
	all.Go(func() {
		rng := rand.New(rand.NewPCG(seed, 99))
		<-begin
		for range drains {
			runtime.Gosched()
			in := step{"ready", rng.IntN(peers)}
			what := AdminReady
			if rng.IntN(2) == 0 {
				in.does, what = "drain", AdminDrain
			}
			note(3, in, func() int {
				if _, err := w.SetAdmin(addr(in.peer), what); err != nil {
					t.Error(err)
				}
				return 0
			})
		}
	})
	close(begin)
	all.Wait()
	return history
}

func described(m porcupine.Model, history []porcupine.Operation) (list []string) {
	for _, op := range history {
		list = append(list, fmt.Sprintf("\n%d [%d,%d] %s", op.ClientId, op.Call, op.Return, m.DescribeOperation(op.Input, op.Output)))
	}
	return list
}
