package check

import (
	"context"
	"time"
)

// probe asks one target with one set of options for as long as anyone watches. At any time it waits until it is due, is
// being asked, or tells its watches what was new; only after that it may be due again, so that none of them misses a change.
// Who watches later is told while it waits or is asked.
type probe struct {
	hub     *Hub
	key     key
	options Options
	ask     probeFunc
	knock   *way // where a connection is all that is asked for, and the clock's own loop makes it; nil: ask does
	ctx     context.Context
	cancel  context.CancelFunc

	// Guarded by the hub's lock.
	watches map[*Watch]struct{}
	target  target
	busy    bool      // it is being asked, a result will come
	telling bool      // tell runs
	poked   bool      // since it was asked
	hurried int       // watches that hurry
	begun   int       // how often it was asked
	answers int       // the number of the last answer
	started time.Time // when it was asked last; zero before the first time
	at      time.Time // when it is due
	place   int       // in the hub's agenda; -1: in none
}

func newProbe(h *Hub, k key, o Options, ask probeFunc) (*probe, error) {
	p := &probe{
		hub:     h,
		key:     k,
		options: o,
		ask:     ask,
		watches: make(map[*Watch]struct{}),
		target:  target{options: o},
		place:   -1,
	}
	var err error
	if knocks && o.Kind == "tcp" {
		p.knock, err = newWay(o)
	}
	p.ctx, p.cancel = context.WithCancel(h.ctx)
	return p, err
}

// endLocked is for a probe that nobody watches any more.
func (p *probe) endLocked() {
	for w := range p.watches {
		w.closed = true
	}
	clear(p.watches)
	p.cancel()
	p.hub.due.remove(p)
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
	p.answered(r)
}

// answered takes the result in.
func (p *probe) answered(r Result) {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	p.busy, p.answers = false, p.begun
	if p.ctx.Err() != nil {
		return // the result is of our own hurry, not of the peer
	}
	p.target.observe(r)
	p.at = p.started.Add(p.target.interval())
	p.poked = p.poked || p.hurried > 0
	p.pokeLocked()
	p.tellLocked()
	p.waitLocked()
}

// pokeLocked makes the probe due as early as pokes may.
func (p *probe) pokeLocked() {
	if !p.poked || p.busy {
		return
	}
	p.poked = false
	if early := p.started.Add(p.options.FastInterval); early.Before(p.at) {
		p.at = early
	}
}

// waitLocked has the probe wait for its time, if there is nothing else that it does.
func (p *probe) waitLocked() {
	if !p.busy && !p.telling && p.ctx.Err() == nil {
		p.hub.planLocked(p, p.at)
	}
}

// tellLocked sees to it that the watches hear what is new to them.
func (p *probe) tellLocked() {
	if p.telling {
		return // and looks again before it ends
	}
	for w := range p.watches {
		if _, news := w.news(p.target.state); news {
			p.telling = true
			p.hub.due.remove(p)
			p.hub.wg.Go(p.tell)
			return
		}
	}
}

// tell calls the watches that do not know the present state, until all do.
func (p *probe) tell() {
	for {
		w, s := p.claim()
		if w == nil {
			return
		}
		w.notify(s)
	}
}

// claim finds a watch that is to be told, and the state as it must hear it; nil ends the telling. It does so right before
// the call, so that a watch closed meanwhile, perhaps by another watch's notify, is not called.
func (p *probe) claim() (*Watch, State) {
	p.hub.mu.Lock()
	defer p.hub.mu.Unlock()
	for w := range p.watches {
		if s, news := w.news(p.target.state); news {
			if w.told = newsOf(s); w.isOwed() {
				w.asks = 0
			}
			return w, s
		}
	}
	p.telling = false
	p.waitLocked()
	return nil, State{}
}
