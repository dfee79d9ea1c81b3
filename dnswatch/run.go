package dnswatch

import (
	"container/heap"
	"slices"
	"time"
)

// run is the scheduler.
func (w *Watcher) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	files := time.NewTicker(filesEvery)
	defer files.Stop()
	for {
		select {
		case <-w.ctx.Done():
			return
		case <-files.C:
			w.lookAtFiles()
		case <-timer.C:
		case <-w.wake:
		}
		if wait, any := w.start(); any {
			timer.Reset(wait)
		}
	}
}

// lookAtFiles asks again for every name of a resolver whose files have changed.
func (w *Watcher) lookAtFiles() {
	for _, l := range w.present() {
		if !l.resolver.changed() {
			continue
		}
		w.mu.Lock()
		for _, e := range w.entries {
			if e.lane == l {
				e.burst = true
				w.hasten(e)
			}
		}
		w.mu.Unlock()
	}
}

// start begins the resolutions that are due and returns how long it is until the next one.
func (w *Watcher) start() (wait time.Duration, any bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return 0, false
	}
	for _, l := range w.lanes {
		for len(l.due) > 0 && l.busy < maxRunning { // beyond that, the end of a resolution will wake us
			e, now := l.due[0], time.Now()
			if until := e.at.Sub(now); until > 0 {
				if !any || until < wait {
					wait, any = until, true
				}
				break
			}
			heap.Pop(&l.due)
			l.busy++
			e.asked = now
			l.running.Add(1)
			w.running.Go(func() { w.resolve(e); l.running.Done() })
		}
	}
	return wait, any
}

// resolve asks once and tells the subscribers.
func (w *Watcher) resolve(e *entry) {
	a := e.lane.resolver.resolve(e.lane.ctx, e.name, e.typ, nil)
	w.mu.Lock()
	e.lane.busy--
	if w.closed || len(e.subs) == 0 {
		delete(w.entries, e.key)
		w.mu.Unlock()
		w.poke()
		return
	}
	a.At = time.Now()
	a.Serial, a.Streak = 1, 1
	a.Unanswered = a.Kind == KindFailure && e.good == nil
	if last := e.last; last != nil {
		a.Serial = last.Serial
		if a.Kind == last.Kind {
			a.Streak = last.Streak + 1
		}
		if a.Kind != last.Kind || !sameRecords(a.Records, last.Records) {
			a.Serial++
		}
	}
	e.last = &a
	if a.Kind != KindFailure {
		e.good = &a
	}
	subs := make([]*Subscription, 0, len(e.subs))
	for s := range e.subs {
		subs = append(subs, s)
	}
	w.mu.Unlock()
	for _, s := range subs { // before the next question is planned: one answer after the other
		s.deliver(a)
	}
	w.mu.Lock()
	if len(e.subs) == 0 {
		delete(w.entries, e.key)
	} else {
		first := true
		for s := range e.subs {
			if at := a.At.Add(s.watch.interval(a, e.burst)); first || at.Before(e.at) {
				first, e.at = false, at
			}
		}
		if a.Kind == KindOK {
			e.burst = false
		}
		if e.again {
			e.at, e.again = e.earliest(), false
		}
		heap.Push(&e.lane.due, e)
	}
	w.mu.Unlock()
	w.poke()
}

// sameRecords compares what matters to a set, which the time they hold does not.
func sameRecords(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(x, y Record) bool {
		x.TTL, y.TTL = 0, 0
		return x == y
	})
}
