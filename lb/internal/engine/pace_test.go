//go:build linux && (amd64 || arm64)

package engine

import (
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAStreamMovesLessBesideOthers takes steps from one pipe into another, whose room no peer decides.
func TestAStreamMovesLessBesideOthers(t *testing.T) {
	const all = 4 * share
	ends := make(map[string]pipe)
	for _, name := range []string{"source", "between", "sink"} {
		q, errno := newPipe()
		if errno != 0 {
			t.Fatal(errno)
		}
		defer q.close()
		if q.size < all {
			t.Skipf("pipes have %d bytes: this user has used up fs.pipe-user-pages-soft", q.size)
		}
		ends[name] = q
	}
	p := &pipes{idle: []pipe{ends["between"]}, stats: new(Stats)}
	from := &record{fd: ends["source"].r, ready: readable, carry: new(carrying)}
	to := &record{fd: ends["sink"].w, ready: writable}
	step := func(want int) {
		t.Helper()
		left := make([]byte, all)
		if n, err := unix.Write(int(ends["source"].w), left); err != nil || n != all {
			t.Fatalf("write: %d, %v", n, err)
		}
		if m := p.move(from, to); m.sent != want {
			t.Errorf("%+v, expected %d bytes", m, want)
		}
		for _, end := range []int32{ends["source"].r, ends["sink"].r} {
			for { // until it is empty
				if n, err := unix.Read(int(end), left); n <= 0 || err != nil {
					break
				}
			}
		}
	}
	move, part := Completion{Op: Sent, Result: share}, Completion{Op: Received, Result: message + 1}
	step(all)
	p.pace([]Completion{move, part})
	step(all)
	for _, guest := range []Completion{{Op: Received, Result: message}, {Op: Received, Result: 1}, {Op: Accepted}, {Op: Connected}} {
		p.pace([]Completion{move, guest, move})
		step(share)
		for range guestTurns - 1 {
			p.pace([]Completion{move, part, {Op: Received}})
		}
		step(share)
		p.pace(nil)
		step(all)
	}
}

// TestGuestsAreNoticed has a stream flow, and then a message come beside it.
func TestGuestsAreNoticed(t *testing.T) {
	eachEngine(t, Options{}, func(t *testing.T, b *bench) {
		from, fromOwner, source := b.couple()
		to, _, sink := b.couple()
		guest, guestOwner, talker := b.couple()
		defer talker.Close()
		var flow sync.WaitGroup
		flow.Go(func() {
			for {
				if _, err := source.Write(make([]byte, 1<<20)); err != nil {
					return
				}
			}
		})
		flow.Go(func() {
			for bytes := make([]byte, 1<<20); ; {
				if n, err := sink.Read(bytes); n == 0 || err != nil {
					return
				}
			}
		})
		came, closed := false, 0
		b.Receive(guest)
		b.Receive(from)
		b.Carry(from, to)
		p := b.pipes()
		turn := func() {
			for _, c := range b.Turn(-1) {
				switch {
				case c.Op == Received && c.Owner == fromOwner && c.Result > 0: // until it is carried
					b.Send(to, c.Buffer, int(c.Result))
					b.Carry(from, to)
				case c.Op == Received && c.Owner == guestOwner:
					came = true
					b.Release(c.Buffer)
				case c.Op == Closed:
					closed++
				}
			}
		}
		for p.guests > 0 || b.Stats().Spliced.Load() == 0 {
			turn()
		}
		if _, err := talker.Write([]byte("guest")); err != nil {
			t.Fatal(err)
		}
		for !came {
			turn()
		}
		if p.guests != guestTurns {
			t.Errorf("%d turns for guests when one has come, expected %d", p.guests, guestTurns)
		}
		for _, f := range []int{int(source.Fd()), int(sink.Fd())} {
			_ = syscall.Shutdown(f, unix.SHUT_RDWR)
		}
		flow.Wait()
		source.Close()
		sink.Close()
		for _, s := range []Socket{from, to, guest} {
			b.Close(s, true)
		}
		for closed < 3 {
			turn()
		}
	})
}
