package check

import (
	"context"
	"sync/atomic"
	"time"
)

// probe asks one target with one set of options for as long as anyone watches.
type probe struct {
	hub     *Hub
	key     key
	options Options
	ask     probeFunc
	ctx     context.Context
	cancel  context.CancelFunc
	wake    chan struct{} // holds one signal: a watch joined, or poked is set
	poked   atomic.Bool
	last    atomic.Pointer[Result] // nil before the first

	watches map[*Watch]struct{} // guarded by hub.mu

	// Only run uses these.
	target  target
	busy    bool        // a probe is under way, its result will come
	results chan Result // of the probe under way
	started time.Time   // when the last probe started; zero before the first
	due     *time.Timer // fires when the next one may start; stopped while busy
}

func newProbe(h *Hub, k key, o Options, ask probeFunc) *probe {
	p := &probe{
		hub:     h,
		key:     k,
		options: o,
		ask:     ask,
		wake:    make(chan struct{}, 1),
		watches: make(map[*Watch]struct{}),
		target:  target{options: o},
		results: make(chan Result, 1),
	}
	p.ctx, p.cancel = context.WithCancel(h.ctx)
	return p
}

func (p *probe) run() {
	p.due = time.NewTimer(0)
	defer p.due.Stop()
	for {
		select {
		case <-p.ctx.Done():
			if p.busy {
				<-p.results
			}
			return
		case <-p.due.C:
			p.busy, p.started = true, time.Now()
			go p.askOnce()
		case r := <-p.results:
			if p.ctx.Err() != nil {
				return // the result is of our own hurry, not of the peer
			}
			p.busy = false
			p.last.Store(&r)
			p.target.observe(r)
			p.schedule(p.target.interval())
		case <-p.wake:
		}
		if !p.busy && p.poked.Swap(false) {
			p.schedule(p.options.FastInterval)
		}
		p.tell()
	}
}

// schedule sets the next start to d after the last one.
func (p *probe) schedule(d time.Duration) {
	p.due.Reset(time.Until(p.started.Add(d)))
}

func (p *probe) askOnce() {
	ctx, cancel := context.WithTimeout(p.ctx, p.options.Timeout)
	defer cancel()
	start := time.Now()
	r := p.ask(ctx, p.key.target)
	r.At = time.Now()
	if r.Latency == 0 {
		r.Latency = r.At.Sub(start)
	}
	p.results <- r
}

// tell calls the watches that do not know the present state.
func (p *probe) tell() {
	p.hub.mu.Lock()
	watches := make([]*Watch, 0, len(p.watches))
	for w := range p.watches {
		watches = append(watches, w)
	}
	p.hub.mu.Unlock()
	for _, w := range watches {
		if s, news := w.claim(p.target.state); news {
			w.notify(s)
		}
	}
}

// signal wakes run; one signal that waits already is enough.
func (p *probe) signal() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}

// closeAll marks every watch closed. The hub's lock is held.
func (p *probe) closeAll() {
	for w := range p.watches {
		w.closed = true
	}
	clear(p.watches)
}

// Watch is one listener of a probe.
type Watch struct {
	probe  *probe
	maxLag time.Duration // 0: lag does not matter
	notify func(State)

	// Guarded by the hub's lock.
	closed bool
	told   news // what notify was told last
}

// Close ends the watch, and its probe if it was the last one. No notify starts after Close returned, but one that was
// under way may still run: Close does not wait for it, so it may be called from notify, and with any lock held.
// Closing twice is fine.
func (w *Watch) Close() { w.probe.hub.drop(w) }

// Poke asks for a probe soon, because something else saw the target fail. Pokes never bring probes closer together
// than FastInterval.
func (w *Watch) Poke() {
	w.probe.poked.Store(true)
	w.probe.signal()
}

// Last gives the result of the last probe; false if there was none yet.
func (w *Watch) Last() (Result, bool) {
	if r := w.probe.last.Load(); r != nil {
		return *r, true
	}
	return Result{}, false
}

// news is what a watch is told of, when any of it changes.
type news struct {
	known, up, lagging, full, draining, blind bool
	role                                      Role
	timeline                                  uint64
}

// claim gives the state as w must be told it, and notes that it was; false if that is nothing new. It does so right
// before the call, so that a watch closed meanwhile, perhaps by another watch's notify, is not called.
func (w *Watch) claim(s State) (State, bool) {
	h := w.probe.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	s.Lagging = w.told.lagging
	switch {
	case !s.Up:
		s.Lagging = false
	case s.Last.Alive && s.Last.Role != RoleUnknown:
		s.Lagging = lagging(s.Last, w.maxLag, w.told.lagging)
	}
	n := news{
		known: s.Known, up: s.Up, lagging: s.Lagging, full: s.Full, draining: s.Draining, blind: s.Blind,
		role: s.Role, timeline: s.Timeline,
	}
	if w.closed || w.told == n || !s.Known && !s.Blind && !w.told.blind {
		return s, false
	}
	w.told = n
	return s, true
}
