package dnswatch

import (
	"cmp"
	"slices"
	"time"
)

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
	list := make([]Status, 0, len(w.entries))
	for _, e := range w.entries {
		if e.last == nil {
			continue
		}
		s := Status{
			Name: e.last.Name, Type: e.typ, Resolver: e.lane.resolver.conf.Name, Kind: e.last.Kind, Server: e.last.Server, Rcode: e.last.Rcode,
			Err: e.last.Err, Records: []string{},
		}
		if e.index >= 0 {
			s.Next = max(e.at.Sub(now), 0)
		}
		if e.good != nil {
			s.TTL, s.Chain, s.Age = e.good.TTL, e.good.Chain, now.Sub(e.good.At)
			for _, r := range e.good.Records {
				s.Records = append(s.Records, r.String())
			}
		}
		if e.last.Kind == KindFailure {
			s.Failures = e.last.Streak
			s.Stale = e.good != nil
		}
		list = append(list, s)
	}
	slices.SortFunc(list, func(a, b Status) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Resolver, b.Resolver))
	})
	return list
}
