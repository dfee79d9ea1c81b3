package pool

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

var plotFile = flag.String("plot", "", "where BenchmarkDistribution writes what it found, as SVG")

// sharedOut is what one policy did with a stream of sessions.
type sharedOut struct {
	policy Policy
	weight []int
	given  []int // sessions by peer
	peak   []int // most at once
}

// shareOut lets sessions come from clients of which some come more often (Zipf), on two slots in turn. Each stays for as long
// as some hundred others take to come.
func shareOut(b *testing.B, policy Policy, sessions int) sharedOut {
	const peers, concurrent = 10, 100
	o := Options{Slots: 2, Rand: rand.New(rand.NewPCG(1, 1)).Uint64, Tuning: Tuning{Policy: policy}}
	if policy == First {
		o.Tuning.MaxConns = 30
	}
	w := table(b, o)
	got := sharedOut{policy: policy, weight: []int{1, 1, 1, 1, 2, 2, 2, 4, 4, 4}, given: make([]int, peers), peak: make([]int, peers)}
	w.apply(b, members(peers, got.weight...))
	if policy == LeastTime { // the first half is twice as far away
		for i := range peers {
			w.Peer(addr(i)).took(time.Duration(2-i/5)*time.Millisecond, 1, w.clock(new(Request)))
		}
	}
	rng := rand.New(rand.NewPCG(2, 2))
	clients := rand.NewZipf(rng, 1.2, 8, 10_000)
	leaves := make(map[int][]*Lease)
	index := make(map[*Peer]int)
	for i := range peers {
		index[w.Peer(addr(i))] = i
	}
	for n := range sessions {
		for _, l := range leaves[n] {
			l.Release(OutcomeOK)
		}
		delete(leaves, n)
		l := w.acquire(b, Request{Slot: n % 2, Now: time.Duration(n+1) * 100 * time.Microsecond, Key: key(int(clients.Uint64()))})
		i := index[l.Peer()]
		got.given[i]++
		got.peak[i] = max(got.peak[i], int(l.Peer().Active()))
		until := n + 1 + int(rng.ExpFloat64()*concurrent)
		leaves[until] = append(leaves[until], l)
	}
	for _, list := range leaves {
		for _, l := range list {
			l.Release(OutcomeOK)
		}
	}
	return got
}

// BenchmarkDistribution is how each policy shares out sessions among ten peers of weights 1, 2 and 4. Its metric is the
// largest share of a peer over that of its weight. With -plot FILE it draws what it found: docs/balancing.svg is that.
//
//	go test -run '^$' -bench Distribution -benchtime 100000x ./pool -args -plot ../docs/balancing.svg
func BenchmarkDistribution(b *testing.B) {
	var all []sharedOut
	for policy := range Policy(len(policyWords)) {
		b.Run(policy.String(), func(b *testing.B) {
			got := shareOut(b, policy, b.N)
			if len(all) > 0 && all[len(all)-1].policy == policy { // the benchmark runs again, with more
				all = all[:len(all)-1]
			}
			all = append(all, got)
			most := 0.0
			for i := range got.given {
				most = max(most, got.share(i)/got.fair(i))
			}
			b.ReportMetric(most, "x-of-its-share")
		})
	}
	if *plotFile != "" {
		if err := os.WriteFile(*plotFile, []byte(plot(all)), 0o644); err != nil {
			b.Fatal(err)
		}
	}
}

func (s *sharedOut) share(i int) float64 {
	sum := 0
	for _, n := range s.given {
		sum += n
	}
	return float64(s.given[i]) / float64(sum)
}

func (s *sharedOut) fair(i int) float64 {
	sum := 0
	for _, w := range s.weight {
		sum += w
	}
	return float64(s.weight[i]) / float64(sum)
}

// plot draws a row of bars for each policy: a bar is a peer's share of the sessions, the line across it that of its weight.
func plot(all []sharedOut) string {
	const width, row, left, bar, step, full = 760, 96, 150, 34, 58, 60
	var s strings.Builder
	fmt.Fprintf(&s, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="sans-serif" font-size="12">`+"\n", width, row*len(all)+24)
	fmt.Fprintln(&s, `<rect width="100%" height="100%" fill="#fff"/>`)
	for r, got := range all {
		base := (r+1)*row - 20
		scale := 0.0
		for i := range got.given {
			scale = max(scale, got.share(i), got.fair(i))
		}
		fmt.Fprintf(&s, `<text x="8" y="%d" font-weight="bold" font-size="14">%v</text>`+"\n", base-24, got.policy)
		for i := range got.given {
			x := left + i*step
			h := int(got.share(i) / scale * full)
			fmt.Fprintf(&s, `<rect x="%d" y="%d" width="%d" height="%d" fill="#4878a8"/>`, x, base-h, bar, h)
			y := base - int(got.fair(i)/scale*full)
			fmt.Fprintf(&s, `<path d="M%d %dh%d" stroke="#c33" stroke-width="2"/>`, x-6, y, bar+12)
			label := `<text x="%d" y="%d" text-anchor="middle" font-size="10">%s</text>`
			fmt.Fprintf(&s, label+label+"\n", x+bar/2, base+11, fmt.Sprintf("%.1f %%", got.share(i)*100), x+bar/2, base+22, fmt.Sprint("max ", got.peak[i]))
		}
	}
	fmt.Fprintf(&s, `<text x="8" y="%d" fill="#444">Bars: the share of the sessions, and the most at once (max). Red: the share of the weight (1, 2, 4).</text>`+"\n</svg>\n", row*len(all)+16)
	return s.String()
}
