package gate

import (
	"encoding/binary"
	"math/rand/v2"
	"net/netip"
	"sync"
	"testing"
	"time"
)

func newSources(l SourceLimits) *Sources {
	s := new(Sources)
	s.SetLimits(l)
	return s
}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// size counts the sources that are known, and the records that there are for them.
func (s *Sources) size() (known, idle, records int) {
	for i := range s.shards {
		sh := &s.shards[i]
		sh.mu.Lock()
		for _, at := range sh.chains {
			for ; at != 0; at = sh.records[at-1].next {
				known++
			}
		}
		idle, records = idle+sh.idle, records+len(sh.records)
		sh.mu.Unlock()
	}
	return known, idle, records
}

func TestSourcesAreCountedByPrefix(t *testing.T) {
	l := SourceLimits{MaxConns: 2, IPv4: 24, IPv6: 64}
	s := newSources(l)
	var held []Place
	for _, step := range []struct {
		from string
		want Verdict
	}{
		{"192.0.2.1", Taken},
		{"::ffff:192.0.2.200", Taken},
		{"192.0.2.3", TooMany},
		{"192.0.3.1", Taken},
		{"2001:db8::1", Taken},
		{"2001:db8::ffff:1", Taken},
		{"2001:db8::2", TooMany},
		{"2001:db8:0:1::1", Taken},
		{"fe80::1%eth0", Taken},
		{"fe80::2%eth1", Taken},
		{"fe80::3", TooMany},
	} {
		p, v := s.Take(addr(step.from))
		if v != step.want {
			t.Errorf("%s: %v, want %v", step.from, v, step.want)
		}
		if v == Taken {
			held = append(held, p)
		}
	}
	held[0].Give()
	if p, v := s.Take(addr("192.0.2.77")); v != Taken {
		t.Errorf("after one has gone: %v", v)
	} else {
		held[0] = p
	}
	for _, p := range held {
		p.Give()
	}
	if known, idle, _ := s.size(); known != 0 || idle != 0 {
		t.Errorf("%d known, %d idle at rest", known, idle)
	}
}

func TestLI3SourcesRate(t *testing.T) {
	l := &SourceLimits{Rate: 10, IPv4: 32, IPv6: 64}
	s := newSources(*l)
	a := addr("192.0.2.1")
	try := func(now time.Duration) Verdict {
		p, v := s.take(l, a, now)
		if v == Taken {
			p.give(now)
		}
		return v
	}
	for i := range 10 { // as many at once as a second has
		if v := try(0); v != Taken {
			t.Errorf("%d: %v", i, v)
		}
	}
	for _, step := range []struct {
		now  time.Duration
		want Verdict
	}{
		{0, TooFast}, {99 * time.Millisecond, TooFast}, {100 * time.Millisecond, Taken}, {100 * time.Millisecond, TooFast},
		{301 * time.Millisecond, Taken}, {301 * time.Millisecond, Taken}, {301 * time.Millisecond, TooFast},
	} {
		if v := try(step.now); v != step.want {
			t.Errorf("at %v: %v, want %v", step.now, v, step.want)
		}
	}
	for i := range 11 {
		if v := try(time.Minute); (v == Taken) != (i < 10) {
			t.Errorf("after a minute, %d: %v", i, v)
		}
	}
	if v := try(2 * time.Minute); v != Taken { // one that owes nothing is forgotten
		t.Error(v)
	}
}

// Sources that come and go leave no more behind than maxIdle records, whatever they owe.
func TestSourcesAreBounded(t *testing.T) {
	l := &SourceLimits{MaxConns: 1, Rate: 1, IPv4: 32, IPv6: 64}
	s := newSources(*l)
	const n = 200_000
	var b [16]byte
	for i := range n {
		binary.BigEndian.PutUint64(b[:], 0x2001_0db8_0000_0000|uint64(i))
		p, v := s.take(l, netip.AddrFrom16(b), 0)
		if v != Taken {
			t.Fatalf("%d: %v", i, v)
		}
		p.give(0)
	}
	known, idle, records := s.size()
	if known != idle || known > maxIdle || records > maxIdle+sourceShards {
		t.Errorf("%d known, %d idle, %d records; at most %d", known, idle, records, maxIdle)
	}
	// When they owe nothing any more, those that come take two of them away each.
	for i := range maxIdle {
		binary.BigEndian.PutUint64(b[:], 0x2001_0db9_0000_0000|uint64(i))
		p, _ := s.take(l, netip.AddrFrom16(b), time.Minute)
		p.give(time.Minute)
	}
	if again, _, _ := s.size(); again > maxIdle {
		t.Errorf("%d known", again)
	}
}

// Whatever comes and goes in which order: a map says the same.
func TestSourcesAreLikeAMap(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	l := &SourceLimits{MaxConns: 3, IPv4: 32, IPv6: 64}
	s := newSources(*l)
	type session struct {
		a netip.Addr
		p Place
	}
	var live []session
	held := make(map[netip.Addr]int)
	for range 50_000 {
		if len(live) > 0 && random.IntN(2) == 0 {
			i := random.IntN(len(live))
			live[i].p.Give()
			held[live[i].a]--
			live[i] = live[len(live)-1]
			live = live[:len(live)-1]
			continue
		}
		a := netip.AddrFrom4([4]byte{10, 0, byte(random.IntN(4)), byte(random.IntN(256))})
		p, v := s.Take(a)
		if (v == Taken) != (held[a] < 3) {
			t.Fatalf("%s has %d and gets %v", a, held[a], v)
		}
		if v == Taken {
			held[a]++
			live = append(live, session{a, p})
		}
	}
	for _, l := range live {
		l.p.Give()
	}
	if known, idle, _ := s.size(); known != 0 || idle != 0 {
		t.Errorf("%d known, %d idle", known, idle)
	}
}

func TestSourcesLimitsChange(t *testing.T) {
	s := newSources(SourceLimits{})
	before, v := s.Take(addr("192.0.2.1"))
	if v != Taken {
		t.Fatal(v)
	}
	s.SetLimits(SourceLimits{MaxConns: 1, IPv4: 32, IPv6: 64})
	first, _ := s.Take(addr("192.0.2.1")) // who came before is not counted
	if _, v := s.Take(addr("192.0.2.1")); v != TooMany {
		t.Error(v)
	}
	before.Give()
	s.SetLimits(SourceLimits{MaxConns: 2, IPv4: 24, IPv6: 64}) // another source by now
	for range 2 {
		p, v := s.Take(addr("192.0.2.1"))
		if v != Taken {
			t.Error(v)
		}
		defer p.Give()
	}
	if _, v := s.Take(addr("192.0.2.9")); v != TooMany {
		t.Error(v)
	}
	s.SetLimits(SourceLimits{})
	first.Give()
	if _, v := s.Take(addr("192.0.2.1")); v != Taken {
		t.Error(v)
	}
}

func TestSourcesFromManyGoroutines(t *testing.T) {
	s := newSources(SourceLimits{MaxConns: 1, Rate: 1_000_000, IPv4: 32, IPv6: 64})
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(g), 1))
			for range 5000 {
				if p, v := s.Take(netip.AddrFrom4([4]byte{10, 0, 0, byte(random.IntN(100))})); v == Taken {
					p.Give()
				}
			}
		})
	}
	all.Wait()
	if known, idle, _ := s.size(); known != idle {
		t.Errorf("%d known, %d idle: a session was not given back", known, idle)
	}
}

func TestTakeAllocatesNothing(t *testing.T) {
	s := newSources(SourceLimits{MaxConns: 10, Rate: 1_000_000_000, IPv4: 32, IPv6: 64})
	a, b := addr("192.0.2.1"), addr("2001:db8::1")
	if n := testing.AllocsPerRun(100, func() {
		p, _ := s.Take(a)
		q, _ := s.Take(b)
		p.Give()
		q.Give()
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkTake(b *testing.B) {
	for _, test := range []struct {
		name    string
		sources int
	}{{"sources=1", 1}, {"sources=1000000", 1_000_000}} {
		b.Run(test.name, func(b *testing.B) {
			s := newSources(SourceLimits{MaxConns: 10, Rate: 1_000_000, IPv4: 32, IPv6: 64})
			b.ReportAllocs()
			i := uint32(0)
			for b.Loop() {
				var a [4]byte
				binary.BigEndian.PutUint32(a[:], i%uint32(test.sources))
				if p, v := s.Take(netip.AddrFrom4(a)); v == Taken {
					p.Give()
				}
				i++
			}
			b.StopTimer()
			_, _, records := s.size()
			b.ReportMetric(float64(records), "records")
		})
	}
}
