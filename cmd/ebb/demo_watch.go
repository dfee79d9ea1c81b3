package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
)

// demoLook is how often the watcher looks.
const demoLook = 50 * time.Millisecond

// demoView shows what the watcher has seen. Lines that are written to it stay.
type demoView interface {
	io.Writer
	show(demoScene)
}

// demoScene is everything there is to see at one moment, and what has happened since the moment before.
type demoScene struct {
	at       time.Duration // since the start
	now      time.Time
	answer   demoAnswer
	pool     admin.Pool
	backends demoBackends
	count    demoCount
	rate     float64     // connections a second, of the last second
	freed    []demoFreed // the last epochs that were reclaimed, newest first
	failure  string      // the last of the first few
	events   []demoEvent
}

type demoEvent struct{ kind, text string }

// demoFreed is an epoch that was reclaimed.
type demoFreed struct {
	id    uint64
	lived time.Duration
}

func (f demoFreed) String() string { return fmt.Sprintf("%d after %.1fs", f.id, f.lived.Seconds()) }

// demoWatch looks at the client, the table and the zone, and tells the view. It sees every epoch: their ids have no gap,
// so one that came and went between two looks is known by its id.
type demoWatch struct {
	zone     *demoZone
	load     *demoLoad
	status   func() admin.Pool
	backends demoBackends
	view     demoView
	start    time.Time

	serial   int // of the last answer that was told; -1 at first
	newest   uint64
	born     map[uint64]time.Time // epochs that were told and not yet reclaimed
	freed    []demoFreed
	failures int
	last     demoCount // at the last whole second
	second   time.Time // when that was
	rate     float64
}

// run looks until the function that it returns is called; that one looks once more.
func (w *demoWatch) run() (stop func()) {
	w.serial, w.born, w.second = -1, make(map[uint64]time.Time), w.start
	end := make(chan struct{})
	var watching sync.WaitGroup
	watching.Go(func() {
		tick := time.NewTicker(demoLook)
		defer tick.Stop()
		for {
			w.view.show(w.look(time.Now()))
			select {
			case <-tick.C:
			case <-end:
				w.view.show(w.look(time.Now()))
				return
			}
		}
	})
	return func() {
		close(end)
		watching.Wait()
	}
}

func (w *demoWatch) look(now time.Time) demoScene {
	s := demoScene{
		at: now.Sub(w.start), now: now, answer: w.zone.answer(), pool: w.status(), backends: w.backends, count: w.load.count(),
	}
	if s.answer.serial != w.serial {
		w.serial = s.answer.serial
		s.events = append(s.events, demoEvent{"dns", strings.Join(s.answer.records, ", ") + "  " + s.answer.change})
	}
	s.events = append(s.events, w.epochs(s.pool, now)...)
	failures := w.load.failed()
	for _, err := range failures[w.failures:] {
		s.events = append(s.events, demoEvent{"failed", err.Error()})
	}
	w.failures = len(failures)
	if w.failures > 0 {
		s.failure = failures[w.failures-1].Error()
	}
	if since := now.Sub(w.second); since >= time.Second {
		w.rate = float64(s.count.connections-w.last.connections) / since.Seconds()
		w.last, w.second = s.count, now
		s.events = append(s.events, demoEvent{"client", fmt.Sprintf("connections=%d failed=%d bytes=%d rate=%.0f/s long=%d datagrams=%d lost=%d",
			s.count.connections, s.count.failed, s.count.bytes, w.rate, s.count.long, s.count.datagrams, s.count.lost)})
	}
	s.rate, s.freed = w.rate, w.freed
	return s
}

// epochs tells what was published and reclaimed since the last look.
func (w *demoWatch) epochs(p admin.Pool, now time.Time) []demoEvent {
	var events []demoEvent
	alive := make(map[uint64]admin.Epoch)
	for _, e := range p.Epochs {
		alive[e.ID] = e
	}
	for w.newest < p.Epoch {
		w.newest++
		e, ok := alive[w.newest]
		if !ok { // it has come and gone
			w.born[w.newest] = now
			events = append(events, demoEvent{"epoch", fmt.Sprintf("%d published", w.newest)})
			continue
		}
		w.born[e.ID] = e.Born
		text := fmt.Sprintf("%d published by %s", e.ID, e.Cause)
		if e.ID == p.Epoch {
			text += ": " + w.listed(p)
		}
		events = append(events, demoEvent{"epoch", text})
	}
	var gone []uint64
	for id := range w.born {
		if _, ok := alive[id]; !ok {
			gone = append(gone, id)
		}
	}
	slices.Sort(gone)
	for _, id := range gone {
		f := demoFreed{id, now.Sub(w.born[id])}
		delete(w.born, id)
		w.freed = append([]demoFreed{f}, w.freed[:min(len(w.freed), 9)]...)
		events = append(events, demoEvent{"reclaimed", f.String()})
	}
	return events
}

// listed names the peers of the newest epoch.
func (w *demoWatch) listed(p admin.Pool) string {
	var names []string
	for _, peer := range p.Peers {
		if len(peer.Sources) > 0 {
			names = append(names, w.backends.at(peer.Addr))
		}
	}
	if len(names) == 0 {
		return "no peers"
	}
	return strings.Join(names, " ")
}

// demoLines is the view without a terminal: one line for each event.
type demoLines struct{ out io.Writer }

func (l *demoLines) Write(b []byte) (int, error) { return l.out.Write(b) }

func (l *demoLines) show(s demoScene) {
	for _, e := range s.events {
		fmt.Fprintf(l.out, "%6.2fs  %-9s  %s\n", s.at.Seconds(), e.kind, e.text)
	}
}
