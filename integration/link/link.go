//go:build linux

package link

import (
	"container/heap"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// MTU of both devices, bytes.
const MTU = 1500

// Faults is what a link does to packets, each way alike. The zero value carries them as they are.
type Faults struct {
	Delay  time.Duration // of each packet
	Jitter time.Duration // more delay, uniform from 0; packets overtake each other by it

	// Shares of packets, 0 to 1.
	Loss      float64
	Duplicate float64 // comes twice
	Corrupt   float64 // one bit behind the IP header is flipped

	Queue int // packets under way in one direction; more are lost, as by a router whose queue is full; 0 is 10,000
}

func (f Faults) check() error {
	for _, p := range []struct {
		name  string
		value float64
	}{{"loss", f.Loss}, {"duplicate", f.Duplicate}, {"corrupt", f.Corrupt}} {
		if p.value < 0 || p.value > 1 {
			return fmt.Errorf("%s %v: expected a share from 0 to 1", p.name, p.value)
		}
	}
	if f.Delay < 0 || f.Jitter < 0 || f.Queue < 0 {
		return errors.New("delay, jitter and queue must not be negative")
	}
	return nil
}

// Counts of packets, both ways together.
type Counts struct{ Carried, Lost, Duplicated, Corrupted, Held, Overflowed int64 }

// Link carries packets between two devices until it is closed.
type Link struct {
	ways      [2]*way
	parted    atomic.Bool
	wait      sync.WaitGroup
	closeOnce sync.Once
}

// Join makes both devices and begins to carry packets between them.
func Join(a, b End, f Faults, seed uint64) (*Link, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	if f.Queue == 0 {
		f.Queue = 10_000
	}
	left, err := a.open(MTU)
	if err != nil {
		return nil, err
	}
	right, err := b.open(MTU)
	if err != nil {
		left.Close()
		return nil, err
	}
	l := &Link{}
	for i, files := range [2][2]*os.File{{left, right}, {right, left}} {
		w := &way{link: l, from: files[0], to: files[1], faults: f, dice: rand.New(rand.NewPCG(seed, uint64(i))), due: make(chan packet, 64)}
		l.ways[i] = w
		l.wait.Go(w.read)
		l.wait.Go(w.write)
	}
	return l, nil
}

// Part holds all packets back for good, as a cable that is out; or lets them pass again.
func (l *Link) Part(yes bool) { l.parted.Store(yes) }

// Counts gives what the link has done so far.
func (l *Link) Counts() Counts {
	var c Counts
	for _, w := range l.ways {
		c.Carried += w.carried.Load()
		c.Lost += w.lost.Load()
		c.Duplicated += w.duplicated.Load()
		c.Corrupted += w.corrupted.Load()
		c.Held += w.held.Load()
		c.Overflowed += w.overflowed.Load()
	}
	return c
}

// Close takes both devices away.
func (l *Link) Close() {
	l.closeOnce.Do(func() {
		for _, w := range l.ways {
			w.from.Close()
		}
		l.wait.Wait()
	})
}

// way is one direction.
type way struct {
	link     *Link
	from, to *os.File
	faults   Faults
	dice     *rand.Rand // read's
	due      chan packet
	under    atomic.Int64 // packets on their way

	carried, lost, duplicated, corrupted, held, overflowed atomic.Int64
}

type packet struct {
	data []byte
	due  time.Time
	turn int // among those due at the same moment
}

// read takes packets from the one device, and decides what becomes of each.
func (w *way) read() {
	defer close(w.due)
	b := make([]byte, MTU)
	for {
		n, err := w.from.Read(b)
		if err != nil {
			return
		}
		f := &w.faults
		copies := 1
		switch {
		case w.link.parted.Load():
			w.held.Add(1)
			continue
		case w.dice.Float64() < f.Loss:
			w.lost.Add(1)
			continue
		case w.dice.Float64() < f.Duplicate:
			w.duplicated.Add(1)
			copies = 2
		}
		for range copies {
			data := append([]byte(nil), b[:n]...)
			if w.dice.Float64() < f.Corrupt && damage(data, w.dice) {
				w.corrupted.Add(1)
			}
			due := time.Now().Add(f.Delay)
			if f.Jitter > 0 {
				due = due.Add(time.Duration(w.dice.Int64N(int64(f.Jitter))))
			}
			if w.under.Load() >= int64(f.Queue) {
				w.overflowed.Add(1)
				continue
			}
			w.under.Add(1)
			w.due <- packet{data: data, due: due}
		}
	}
}

// damage flips a bit behind the IP header, which checksums guard: a packet whose addresses are damaged is merely lost.
func damage(p []byte, dice *rand.Rand) bool {
	if len(p) == 0 {
		return false
	}
	header := 40
	if p[0]>>4 == 4 {
		header = int(p[0]&15) * 4
	}
	if len(p) <= header {
		return false
	}
	p[header+dice.IntN(len(p)-header)] ^= 1 << dice.IntN(8)
	return true
}

// write gives packets to the other device when they are due.
func (w *way) write() {
	var q queue
	timer := time.NewTimer(0)
	defer timer.Stop()
	for turn := 0; ; turn++ {
		for len(q) > 0 && time.Until(q[0].due) <= 0 {
			p := heap.Pop(&q).(packet)
			w.under.Add(-1)
			if _, err := w.to.Write(p.data); err == nil {
				w.carried.Add(1)
			}
		}
		var next <-chan time.Time
		if len(q) > 0 {
			timer.Reset(time.Until(q[0].due))
			next = timer.C
		}
		select {
		case p, ok := <-w.due:
			if !ok {
				return
			}
			p.turn = turn
			heap.Push(&q, p)
		case <-next:
		}
	}
}

// queue is a heap by due time.
type queue []packet

func (q queue) Len() int { return len(q) }
func (q queue) Less(i, j int) bool {
	return q[i].due.Before(q[j].due) || q[i].due.Equal(q[j].due) && q[i].turn < q[j].turn
}
func (q queue) Swap(i, j int) { q[i], q[j] = q[j], q[i] }
func (q *queue) Push(x any)   { *q = append(*q, x.(packet)) }
func (q *queue) Pop() any {
	last := len(*q) - 1
	p := (*q)[last]
	(*q)[last] = packet{}
	*q = (*q)[:last]
	return p
}
