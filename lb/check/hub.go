package check

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"sync"
	"time"
)

// ErrClosed is what Watch returns after Close.
var ErrClosed = errors.New("check: hub is closed")

// Hub owns all probes of a process. Its methods are safe for concurrent use.
type Hub struct {
	kinds  map[string]kindFunc // never changes after NewHub
	ctx    context.Context
	cancel context.CancelFunc
	wg     sync.WaitGroup // the clock, and who asks or tells
	wake   chan struct{}  // holds one signal for the clock: a probe is due sooner than it knows

	mu      sync.Mutex // guards the following, and all of each probe and watch that changes
	closed  bool
	probes  map[key]*probe
	ticking bool      // the clock runs
	due     agenda    // the probes that are neither asked nor told of
	rings   time.Time // when the clock looks at due next
}

type key struct {
	target  netip.AddrPort
	options string // their key
}

// NewHub returns a hub without probes. The caller closes it.
func NewHub() *Hub {
	ctx, cancel := context.WithCancel(context.Background())
	return &Hub{
		kinds:  maps.Clone(kinds),
		ctx:    ctx,
		cancel: cancel,
		wake:   make(chan struct{}, 1),
		probes: make(map[key]*probe),
	}
}

// Close ends all probes and waits for them and for any notify that runs. It must not be called from a notify, nor with a
// lock held that one wants.
func (h *Hub) Close() {
	h.mu.Lock()
	h.closed = true
	for k, p := range h.probes {
		p.endLocked()
		delete(h.probes, k)
	}
	h.mu.Unlock()
	h.cancel()
	h.wg.Wait()
}

// Watch has notify told the state of the target: each change (C3), and the present state if a probe that others started
// knows it already. A replica further behind than maxLag is Lagging; with 0 none is. The first probe starts at once. Calls
// of one notify never overlap, come from a goroutine of the hub, and hold up the probe and its other watches: notify must
// be quick. The caller closes the watch.
func (h *Hub) Watch(target netip.AddrPort, o Options, maxLag time.Duration, notify func(State)) (*Watch, error) {
	if !target.IsValid() || target.Port() == 0 {
		return nil, fmt.Errorf("check %v: not an address and port", target)
	}
	if err := o.validate(); err != nil {
		return nil, fmt.Errorf("check %v: %w", target, err)
	}
	newProbeFunc, ok := h.kinds[o.Kind]
	if !ok {
		return nil, fmt.Errorf("check %v: kind %q: unknown", target, o.Kind)
	}
	ask, err := newProbeFunc(o)
	if err != nil {
		return nil, fmt.Errorf("check %v: kind %q: %w", target, o.Kind, err)
	}
	k := key{netip.AddrPortFrom(target.Addr().Unmap(), target.Port()), o.key()}

	h.mu.Lock()
	defer h.mu.Unlock()
	if h.closed {
		return nil, ErrClosed
	}
	p := h.probes[k]
	if p == nil {
		if p, err = newProbe(h, k, o, ask); err != nil {
			return nil, fmt.Errorf("check %v: kind %q: %w", target, o.Kind, err)
		}
		h.probes[k] = p
		h.planLocked(p, time.Now())
	}
	w := &Watch{probe: p, maxLag: maxLag, notify: notify}
	p.watches[w] = struct{}{}
	p.tellLocked()
	return w, nil
}

// drop forgets a watch, and ends its probe with the last one.
func (h *Hub) drop(w *Watch) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if w.closed {
		return
	}
	p := w.probe
	w.closed = true
	if w.hurries {
		p.hurried--
	}
	delete(p.watches, w)
	if len(p.watches) == 0 {
		delete(h.probes, p.key)
		p.endLocked()
	}
}
