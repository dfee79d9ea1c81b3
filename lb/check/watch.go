package check

import "time"

// Watch is one listener of a probe.
type Watch struct {
	probe  *probe
	maxLag time.Duration // 0: lag does not matter
	notify func(State)

	// Guarded by the hub's lock.
	closed  bool
	told    news // what notify was told last
	hurries bool
	asks    int // the number of the probe whose answer notify is told, news or not; 0: none
}

// Close ends the watch, and its probe if it was the last one. No notify starts after Close returned, but one that was
// under way may still run: Close does not wait for it, so it may be called from notify, and with any lock held.
// Closing twice is fine.
func (w *Watch) Close() { w.probe.hub.drop(w) }

// Poke asks for a probe soon, because something else saw the target fail. Pokes never bring probes closer together
// than FastInterval.
func (w *Watch) Poke() {
	h := w.probe.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	w.probe.poked = true
	w.probe.pokeLocked()
	w.probe.waitLocked()
}

// Ask is Poke, and notify is told what comes of the next probe that begins, also if that is nothing new.
func (w *Watch) Ask() {
	p := w.probe
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	if w.closed || w.asks != 0 {
		return
	}
	w.asks = p.begun + 1
	p.poked = true
	p.pokeLocked()
	p.waitLocked()
}

// Hurry has the target asked every FastInterval for as long as it is on, because somebody waits for it to be another. It ends
// with the watch.
func (w *Watch) Hurry(on bool) {
	p := w.probe
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	if w.closed || w.hurries == on {
		return
	}
	if w.hurries = on; !on {
		p.hurried--
		return
	}
	p.hurried++
	p.poked = true
	p.pokeLocked()
	p.waitLocked()
}

// Last gives the result of the last probe; false if there was none yet.
func (w *Watch) Last() (Result, bool) {
	h := w.probe.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	last := w.probe.target.state.Last
	return last, !last.At.IsZero()
}

// news is what a watch is told of, when any of it changes.
type news struct {
	known, up, lagging, full, draining, blind bool
	role                                      Role
	timeline                                  uint64
	percent                                   int
}

func newsOf(s State) news {
	return news{
		known: s.Known, up: s.Up, lagging: s.Lagging, full: s.Full, draining: s.Draining, blind: s.Blind,
		role: s.Role, timeline: s.Timeline, percent: s.Percent,
	}
}

// news gives the state as w must be told it; false if that is nothing new. The hub's lock is held.
func (w *Watch) news(s State) (State, bool) {
	s.Lagging = w.told.lagging
	switch {
	case !s.Up:
		s.Lagging = false
	case s.Last.Alive && s.Last.Role != RoleUnknown:
		s.Lagging = lagging(s.Last, w.maxLag, w.told.lagging)
	}
	return s, w.isOwed() || w.told != newsOf(s) && (s.Known || s.Blind || w.told.blind)
}

// isOwed tells that the answer that w asked for is there. The hub's lock is held.
func (w *Watch) isOwed() bool { return w.asks != 0 && w.asks <= w.probe.answers }
