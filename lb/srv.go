package lb

import (
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
)

// An SRV backend (RFC 2782) is a set of services, each a target, a port, a priority and a weight. The services are one
// set under the decision table; the addresses of each target are sets of their own, which are asked for at their own TTL:
// a target that fails takes nothing from the others, nor from itself.

// service is an SRV record as members see it.
type service struct {
	target string
	port   uint16
	tier   int // the rank of its priority
	weight int
}

// services lists what is in force, by priority. A priority is a tier by its rank: what counts is which comes first.
// Weights count within their priority; where all are zero they are equal (RFC 2782 has no choice of its own for that), and
// a zero beside others takes no new sessions, as any weight of zero.
func (b *backend) services() []service {
	set := b.sets[dnswatch.TypeSRV]
	heavy := make(map[uint16]bool) // priorities with a weight
	rank := make(map[uint16]int)
	for _, rec := range set.inForce {
		heavy[rec.Priority] = heavy[rec.Priority] || rec.Weight > 0
		rank[rec.Priority] = 0
	}
	for p := range rank {
		for other := range rank {
			if other < p {
				rank[p]++
			}
		}
	}
	list := make([]service, len(set.inForce))
	for i, rec := range set.inForce {
		list[i] = service{rec.Target, rec.Port, rank[rec.Priority], int(rec.Weight)}
		if !heavy[rec.Priority] {
			list[i].weight = 1
		}
	}
	return list
}

// follow makes the targets that an answer brought, and gives them the addresses that came along. Hints are news until a
// target has an answer of its own.
func (m *members) follow(b *backend, hints []dnswatch.Record) {
	for _, rec := range b.sets[dnswatch.TypeSRV].inForce {
		if b.targets[rec.Target] != nil {
			continue
		}
		t := newWatched(rec.Target, addressTypes(rec.Target, b.conf.Family, m.hasIPv6), b.rule())
		b.targets[rec.Target] = t
		if err := m.subscribe(b, t, m.resolver); err != nil { // the watcher takes every target that it delivers
			m.log.Error("no subscription", "name", t.name, "error", err)
		}
	}
	came := make(map[string]map[dnswatch.Type][]dnswatch.Record)
	for _, h := range hints {
		typ := dnswatch.TypeA
		if !h.Addr.Is4() {
			typ = dnswatch.TypeAAAA
		}
		if came[h.Target] == nil {
			came[h.Target] = make(map[dnswatch.Type][]dnswatch.Record)
		}
		came[h.Target][typ] = append(came[h.Target][typ], dnswatch.Record{Addr: h.Addr})
	}
	for target, byType := range came {
		if t := b.targets[target]; t != nil {
			for typ, set := range t.sets {
				set.hint(byType[typ])
			}
		}
	}
}

// forget lets go of targets that no service names any more. Who calls closes what it returns, with no lock held: the end
// of a subscription waits for its Notify.
func (b *backend) forget() (ended []*dnswatch.Subscription) {
	named := make(map[string]bool)
	for _, rec := range b.sets[dnswatch.TypeSRV].inForce {
		named[rec.Target] = true
	}
	for target, t := range b.targets {
		if !named[target] {
			t.gone = true
			ended = append(ended, t.subs...)
			delete(b.targets, target)
		}
	}
	return ended
}

// walkServices is walk for an SRV backend.
func (b *backend) walkServices(now time.Time, visit func(origin)) {
	stale := b.sets[dnswatch.TypeSRV].stale(now)
	for _, s := range b.services() {
		t := b.targets[s.target]
		if t == nil {
			continue
		}
		for _, at := range t.addresses(b.conf.Family, now) {
			at.stale = at.stale || stale
			visit(origin{t, at, s.port, b.conf.Tier + s.tier, s.weight})
		}
	}
}
