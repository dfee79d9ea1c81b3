package dnswatch

import (
	"container/heap"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxRunning = 256             // resolutions of one resolver at once
	filesEvery = 5 * time.Second // how often hosts and resolv.conf are looked at
)

// Watcher asks for names again and again. Its methods may be called from any goroutine.
type Watcher struct {
	opts    Options
	ctx     context.Context
	cancel  context.CancelFunc
	wake    chan struct{}
	running sync.WaitGroup

	mu      sync.Mutex
	lanes   map[string]*lane // by id
	entries map[key]*entry
	closed  bool
}

// lane is one resolver with what is due of it. A resolver whose servers hang holds up nobody else's names.
type lane struct {
	resolver *resolver
	ctx      context.Context // ends when the resolver is removed
	cancel   context.CancelFunc
	running  sync.WaitGroup // its resolutions

	due  schedule
	busy int
}

// key is what an entry is shared by.
type key struct {
	resolver, name string
	typ            Type
}

// entry is one name and type that is watched.
type entry struct {
	key
	lane  *lane
	subs  map[*Subscription]struct{}
	last  *Answer // nil is none yet
	good  *Answer // the last that was not a failure; nil is none yet
	asked time.Time
	at    time.Time // due; meaningful while it is in the heap
	index int       // in the heap; -1 while a question is under way
	again bool      // a refresh was asked for while a question is under way
	burst bool      // it is asked at the same moment as many others
}

// Subscription is the right to be told of a name.
type Subscription struct {
	watch   Watch
	watcher *Watcher
	entry   *entry

	mu     sync.Mutex // held while Notify runs
	seen   time.Time
	closed bool
}

// New starts a watcher. The caller closes it.
func New(o Options) (*Watcher, error) {
	w := &Watcher{opts: o.withDefaults(), lanes: make(map[string]*lane), wake: make(chan struct{}, 1), entries: make(map[key]*entry)}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.running.Go(w.run)
	for _, c := range o.Resolvers {
		if err := w.Add(c); err != nil {
			w.Close()
			return nil, err
		}
	}
	return w, nil
}

// Add makes one more resolver, for subscriptions to come. It reads the CA file.
func (w *Watcher) Add(c ResolverConfig) error {
	r, err := newResolver(c, w.opts)
	if err != nil {
		return err
	}
	l := &lane{resolver: r}
	l.ctx, l.cancel = context.WithCancel(w.ctx)
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.closed:
		err = ErrClosed
	case w.lanes[r.conf.ID] != nil:
		err = fmt.Errorf("two resolvers are named %q", r.conf.ID)
	default:
		w.lanes[r.conf.ID] = l
		return nil
	}
	l.cancel()
	r.close()
	return err
}

// Remove ends a resolver, whose subscriptions are closed. It waits for the question that may still be under way, which it
// cuts short, and for its Notify.
func (w *Watcher) Remove(id string) {
	w.mu.Lock()
	l := w.lanes[id]
	delete(w.lanes, id)
	w.mu.Unlock()
	if l == nil {
		return
	}
	l.cancel()
	l.running.Wait()
	l.resolver.close()
}

// Close stops all questions and waits for every goroutine. Afterwards nobody is notified.
func (w *Watcher) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.running.Wait()
	for _, l := range w.present() {
		l.resolver.close()
	}
}

// present lists the lanes.
func (w *Watcher) present() []*lane {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.lanes))
}

// find checks that a name can be asked for, and gives the key that it is shared by: without a search list a name is the
// same with and without its last dot.
func (w *Watcher) find(resolver, name string, typ Type) (*lane, key, error) {
	w.mu.Lock()
	l := w.lanes[resolver]
	w.mu.Unlock()
	if l == nil {
		return nil, key{}, fmt.Errorf("no resolver is named %q", resolver)
	}
	_, isLiteral := literal(name)
	switch {
	case typ != TypeA && typ != TypeAAAA && typ != TypeSRV:
		return nil, key{}, fmt.Errorf("type %s cannot be watched", typ)
	case isLiteral && typ == TypeSRV:
		return nil, key{}, fmt.Errorf("%s is an address and has no SRV records", name)
	case !isLiteral:
		if err := CheckName(name); err != nil {
			return nil, key{}, err
		}
		if l.resolver.system == nil {
			name = strings.TrimSuffix(name, ".") + "."
		}
	}
	return l, key{resolver, canonical(name), typ}, nil
}

// Subscribe begins to watch. The first Notify comes at once if the answer is known, else as soon as it is.
func (w *Watcher) Subscribe(watch Watch) (*Subscription, error) {
	l, k, err := w.find(watch.Resolver, watch.Name, watch.Type)
	if err != nil {
		return nil, err
	}
	watch = watch.withDefaults()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || w.lanes[k.resolver] != l {
		return nil, ErrClosed
	}
	e := w.entries[k]
	if e == nil {
		e = &entry{key: k, lane: l, subs: make(map[*Subscription]struct{}), at: time.Now(), burst: true}
		w.entries[k] = e
		heap.Push(&l.due, e)
		w.poke()
	}
	s := &Subscription{watch: watch, watcher: w, entry: e}
	e.subs[s] = struct{}{}
	if known := e.last; known != nil {
		w.running.Go(func() { s.deliver(*known) })
		w.bringForward(e, known.At.Add(watch.interval(*known, false)))
	}
	return s, nil
}

// Close ends a subscription. It waits for a Notify that is running; none begins after it returns.
func (s *Subscription) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	w, e := s.watcher, s.entry
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, mine := e.subs[s]; !mine {
		return
	}
	delete(e.subs, s)
	if len(e.subs) == 0 && e.index >= 0 { // else the end of the question that is under way sees to it
		heap.Remove(&e.lane.due, e.index)
		delete(w.entries, e.key)
	}
}

// Refresh asks for the name soon: now, or when MinRefresh has passed since the last question. A name that fails keeps to
// its back-off. It is cheap to call often, as on every connect that fails.
func (s *Subscription) Refresh() {
	w := s.watcher
	w.mu.Lock()
	defer w.mu.Unlock()
	e := s.entry
	if w.entries[e.key] == e && (e.last == nil || e.last.Kind != KindFailure) {
		w.hasten(e)
	}
}

// deliver calls Notify, unless it has seen a newer answer.
func (s *Subscription) deliver(a Answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed || s.watcher.ctx.Err() != nil || !a.At.After(s.seen) {
		return
	}
	s.seen = a.At
	s.watch.Notify(a)
}

// Refresh asks for a name now, or for all with "", though not sooner than MinRefresh after the last question. It returns
// how many entries that concerns.
func (w *Watcher) Refresh(name string) int {
	name = strings.TrimSuffix(canonical(name), ".")
	w.mu.Lock()
	defer w.mu.Unlock()
	n := 0
	for _, e := range w.entries {
		if name == "" || strings.TrimSuffix(e.name, ".") == name {
			n++
			e.burst = name == ""
			w.hasten(e)
		}
	}
	return n
}

// hasten moves an entry to the front. The caller holds mu.
func (w *Watcher) hasten(e *entry) {
	if e.index < 0 {
		e.again = true
		return
	}
	w.bringForward(e, e.earliest())
}

// bringForward makes an entry due at a time if that is sooner than it is due now. The caller holds mu.
func (w *Watcher) bringForward(e *entry, at time.Time) {
	if e.index < 0 || !at.Before(e.at) {
		return
	}
	e.at = at
	heap.Fix(&e.lane.due, e.index)
	w.poke()
}

// earliest is when the entry may be asked for again.
func (e *entry) earliest() time.Time {
	var wait time.Duration = -1
	for s := range e.subs {
		if wait < 0 || s.watch.MinRefresh < wait {
			wait = s.watch.MinRefresh
		}
	}
	if at := e.asked.Add(wait); at.After(time.Now()) {
		return at
	}
	return time.Now()
}

func (w *Watcher) poke() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}
