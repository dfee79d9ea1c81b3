package lb

import (
	"fmt"
	"slices"

	"github.com/ebb-lb/ebb/dnswatch"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/pool"
)

// proposal is what members will be made of when it is accepted. Names that are new are watched from the moment of the
// proposal, so that they have an answer by then; those that stay keep their sets, and what they believe.
type proposal struct {
	resolver string
	backends []*backend
	confs    []config.Backend // of each
	fresh    []*backend       // of them, those that nothing is known of yet
}

// propose compares backends with those that are there. A backend of the same name and type is the same backend; of several,
// the most alike.
func (m *members) propose(confs []config.Backend, resolver string) (*proposal, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	p := &proposal{resolver: resolver, backends: make([]*backend, len(confs)), confs: confs}
	type named struct{ host, typ string }
	left := make(map[named][]*backend)
	for _, b := range m.backends {
		n := named{b.conf.Host, b.conf.Type}
		left[n] = append(left[n], b)
	}
	for _, alike := range []func(a, b *config.Backend) bool{
		func(a, b *config.Backend) bool { return len(config.Changed(a, b)) == 0 },
		func(a, b *config.Backend) bool { return a.Port == b.Port },
		func(a, b *config.Backend) bool { return true },
	} {
		for i := range confs {
			if p.backends[i] != nil {
				continue
			}
			c := &confs[i]
			n := named{c.Host, c.Type}
			if at := slices.IndexFunc(left[n], func(b *backend) bool { return alike(&b.conf, c) }); at >= 0 {
				p.backends[i] = left[n][at]
				left[n] = slices.Delete(left[n], at, at+1)
			}
		}
	}
	for i, c := range confs {
		if p.backends[i] != nil {
			continue
		}
		b := newBackend(c)
		b.watched, b.proposed = newWatched(c.Host, b.types(m.hasIPv6), b.rule()), true
		p.backends[i], p.fresh = b, append(p.fresh, b)
		if err := m.subscribe(b, b.watched, resolver); err != nil {
			return p, fmt.Errorf("backend %s: %w", b.source, err)
		}
	}
	return p, nil
}

// unanswered lists what is new in a proposal and has had no answer yet.
func (m *members) unanswered(p *proposal) []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return unanswered(p.fresh)
}

// accept makes the members those of the proposal, in one epoch at most.
func (m *members) accept(p *proposal, own ownTest) {
	m.mu.Lock()
	moved := p.resolver != m.resolver
	m.resolver, m.own = p.resolver, own
	var ended []*dnswatch.Subscription
	for _, b := range p.fresh {
		b.proposed = false
	}
	for _, b := range m.backends {
		if !slices.Contains(p.backends, b) {
			ended = append(ended, b.dismiss()...)
		}
	}
	for i, b := range p.backends {
		if !slices.Contains(p.fresh, b) {
			ended = append(ended, m.revise(b, p.confs[i], moved)...)
		}
	}
	m.backends = p.backends
	ended = append(ended, m.applyLocked(pool.CauseConfig)...)
	m.mu.Unlock()
	closeAll(ended)
}

// rebind looks again at who is ebb itself.
func (m *members) rebind(own ownTest) {
	m.mu.Lock()
	m.own = own
	ended := m.applyLocked(pool.CauseConfig)
	m.mu.Unlock()
	closeAll(ended)
}

// withdraw undoes a proposal.
func (m *members) withdraw(p *proposal) {
	m.mu.Lock()
	var ended []*dnswatch.Subscription
	for _, b := range p.fresh {
		ended = append(ended, b.dismiss()...)
	}
	m.mu.Unlock()
	closeAll(ended)
}

// dismiss ends a backend. The caller holds mu, and closes what it returns when mu is released.
func (b *backend) dismiss() (ended []*dnswatch.Subscription) {
	for w := range b.names() {
		w.gone = true
		ended = append(ended, w.subs...)
	}
	return ended
}

// revise gives a backend that stays another config, and asks anew for its names where that changes how they are asked for.
// What is in force stays in force until there is another answer. The caller closes what it returns when mu is released.
func (m *members) revise(b *backend, c config.Backend, moved bool) (ended []*dnswatch.Subscription) {
	was := b.conf
	b.conf, b.source = c, sourceOf(c)
	again := moved || was.Family != c.Family || was.Refresh != c.Refresh || was.MinRefresh != c.MinRefresh || was.MaxRefresh != c.MaxRefresh
	rule := b.rule()
	for w := range b.names() {
		for _, set := range w.sets {
			set.rule = rule
		}
		if !again {
			continue
		}
		types := b.types(m.hasIPv6)
		if w != b.watched { // a target of SRV records
			types = addressTypes(w.name, c.Family, m.hasIPv6)
		}
		for typ := range w.sets {
			if !slices.Contains(types, typ) {
				delete(w.sets, typ)
				delete(w.state, typ)
			}
		}
		for _, typ := range types {
			if w.sets[typ] == nil {
				w.sets[typ] = &rrset{rule: rule}
			}
		}
		ended = append(ended, w.subs...)
		w.subs = nil
		w.wish++
		if err := m.subscribe(b, w, m.resolver); err != nil { // the config has been checked, and the resolver is there
			m.log.Error("no subscription", "name", w.name, "error", err)
		}
	}
	return ended
}

func closeAll(subs []*dnswatch.Subscription) {
	for _, s := range subs {
		s.Close()
	}
}
