package dnswatch

import (
	"cmp"
	"container/heap"
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"
)

const (
	maxRunning = 256             // resolutions at once
	filesEvery = 5 * time.Second // how often hosts and resolv.conf are looked at
)

// Watcher asks for names again and again. Its methods may be called from any goroutine.
type Watcher struct {
	resolvers map[string]*resolver
	ctx       context.Context
	cancel    context.CancelFunc
	wake      chan struct{}
	running   sync.WaitGroup

	mu      sync.Mutex
	entries map[key]*entry
	due     schedule
	busy    int
	closed  bool
}

// key is what an entry is shared by.
type key struct {
	resolver, name string
	typ            Type
}

// entry is one name and type that is watched.
type entry struct {
	key
	subs  map[*Subscription]struct{}
	last  Answer // the last answer; Serial 0 is none
	good  Answer // the last that was not a failure
	asked time.Time
	at    time.Time // due; meaningful while it is in the heap
	index int       // in the heap; -1 while a question is under way
	again bool      // a refresh was asked for while a question is under way
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
	if o.OnQuery == nil {
		o.OnQuery = func(string, string, string) {}
	}
	if o.OnDiscard == nil {
		o.OnDiscard = func(string) {}
	}
	w := &Watcher{resolvers: make(map[string]*resolver), wake: make(chan struct{}, 1), entries: make(map[key]*entry)}
	for _, c := range o.Resolvers {
		if err := c.Validate(); err != nil {
			return nil, err
		}
		if w.resolvers[c.Name] != nil {
			return nil, fmt.Errorf("two resolvers are named %q", c.Name)
		}
		w.resolvers[c.Name] = newResolver(c, o)
	}
	w.ctx, w.cancel = context.WithCancel(context.Background())
	w.running.Go(w.run)
	return w, nil
}

// Close stops all questions and waits for every goroutine. Afterwards nobody is notified.
func (w *Watcher) Close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	w.cancel()
	w.running.Wait()
}

// Subscribe begins to watch. The first Notify comes at once if the answer is known, else as soon as it is.
func (w *Watcher) Subscribe(watch Watch) (*Subscription, error) {
	if w.resolvers[watch.Resolver] == nil {
		return nil, fmt.Errorf("no resolver is named %q", watch.Resolver)
	}
	if _, ok := literal(watch.Name); !ok {
		if err := CheckName(watch.Name); err != nil {
			return nil, err
		}
	}
	if watch.MinRefresh <= 0 {
		watch.MinRefresh = time.Second
	}
	if watch.MaxRefresh <= 0 {
		watch.MaxRefresh = 5 * time.Minute
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return nil, ErrClosed
	}
	k := key{watch.Resolver, canonical(watch.Name), watch.Type}
	e := w.entries[k]
	if e == nil {
		e = &entry{key: k, subs: make(map[*Subscription]struct{}), at: time.Now()}
		w.entries[k] = e
		heap.Push(&w.due, e)
		w.poke()
	}
	s := &Subscription{watch: watch, watcher: w, entry: e}
	e.subs[s] = struct{}{}
	if known := e.last; known.Serial > 0 {
		w.running.Go(func() { s.deliver(known) })
		if at := known.At.Add(watch.interval(known)); e.index >= 0 && at.Before(e.at) {
			e.at = at
			heap.Fix(&w.due, e.index)
			w.poke()
		}
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
	delete(e.subs, s)
	if len(e.subs) == 0 && w.entries[e.key] == e {
		delete(w.entries, e.key)
		if e.index >= 0 {
			heap.Remove(&w.due, e.index)
		}
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
			w.hasten(e)
		}
	}
	w.poke()
	return n
}

// hasten moves an entry to the front. The caller holds mu.
func (w *Watcher) hasten(e *entry) {
	if e.index < 0 {
		e.again = true
		return
	}
	if at := e.earliest(); at.Before(e.at) {
		e.at = at
		heap.Fix(&w.due, e.index)
	}
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
	for name, r := range w.resolvers {
		if !r.changed() {
			continue
		}
		w.mu.Lock()
		for _, e := range w.entries {
			if e.resolver == name {
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
	for len(w.due) > 0 && w.busy < maxRunning && !w.closed {
		e := w.due[0]
		now := time.Now()
		if wait := e.at.Sub(now); wait > 0 {
			return wait, true
		}
		heap.Pop(&w.due)
		w.busy++
		e.asked = now
		w.running.Go(func() { w.resolve(e) })
	}
	return 0, false // nothing is due, or the end of a resolution will wake us
}

// resolve asks once and tells the subscribers.
func (w *Watcher) resolve(e *entry) {
	a := w.resolvers[e.resolver].resolve(w.ctx, e.name, e.typ)
	w.mu.Lock()
	w.busy--
	if w.closed || len(e.subs) == 0 {
		w.mu.Unlock()
		w.poke()
		return
	}
	a.At = time.Now()
	a.Serial, a.Streak = max(e.last.Serial, 1), 1
	if a.Kind == e.last.Kind && e.last.Serial > 0 {
		a.Streak = e.last.Streak + 1
	}
	if e.last.Serial > 0 && (a.Kind != e.last.Kind || !sameAddresses(a.Records, e.last.Records)) {
		a.Serial++
	}
	e.last = a
	if a.Kind != KindFailure {
		e.good = a
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
	if len(e.subs) > 0 && !w.closed {
		first := true
		for s := range e.subs {
			if at := a.At.Add(s.watch.interval(a)); first || at.Before(e.at) {
				first, e.at = false, at
			}
		}
		if e.again {
			e.at, e.again = e.earliest(), false
		}
		heap.Push(&w.due, e)
	}
	w.mu.Unlock()
	w.poke()
}

func sameAddresses(a, b []Record) bool {
	return slices.EqualFunc(a, b, func(x, y Record) bool { return x.Addr == y.Addr })
}

// Status describes an entry.
type Status struct {
	Name     string
	Type     Type
	Resolver string
	Kind     Kind // of the last answer
	TTL      time.Duration
	Age      time.Duration // of the last answer that was not a failure
	Stale    bool          // the last answer was a failure: what is known is older
	Next     time.Duration // until the next question; 0 while one is under way
	Failures int           // in a row
	Records  []string      // of the last answer that was not a failure
	Chain    []string
	Server   string
	Rcode    int
	Err      error
}

// Status returns all entries that have an answer, by name, type and resolver.
func (w *Watcher) Status() []Status {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	var list []Status
	for _, e := range w.entries {
		if e.last.Serial == 0 {
			continue
		}
		s := Status{
			Name: e.last.Name, Type: e.typ, Resolver: e.resolver, Kind: e.last.Kind, TTL: e.good.TTL, Chain: e.good.Chain,
			Server: e.last.Server, Rcode: e.last.Rcode, Err: e.last.Err, Records: []string{},
		}
		if e.index >= 0 {
			s.Next = max(e.at.Sub(now), 0)
		}
		if e.good.Serial > 0 {
			s.Age = now.Sub(e.good.At)
			for _, r := range e.good.Records {
				s.Records = append(s.Records, r.Addr.String())
			}
		}
		if e.last.Kind == KindFailure {
			s.Failures = e.last.Streak
			s.Stale = e.good.Serial > 0
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Resolver, b.Resolver))
	})
	return list
}

// schedule is a heap of entries by due time.
type schedule []*entry

func (s schedule) Len() int           { return len(s) }
func (s schedule) Less(i, j int) bool { return s[i].at.Before(s[j].at) }
func (s schedule) Swap(i, j int) {
	s[i], s[j] = s[j], s[i]
	s[i].index, s[j].index = i, j
}
func (s *schedule) Push(x any) {
	e := x.(*entry)
	e.index = len(*s)
	*s = append(*s, e)
}
func (s *schedule) Pop() any {
	old := *s
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*s = old[:len(old)-1]
	e.index = -1
	return e
}
