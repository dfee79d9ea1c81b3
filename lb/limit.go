package lb

import (
	"fmt"
	"net/netip"
	"sync/atomic"

	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/gate"
)

// limit bounds the sessions of one listener, all of them and those of each source.
type limit struct {
	max     atomic.Int64 // 0 is none
	held    atomic.Int64
	perSec  atomic.Int64 // sessions that may begin in a second; 0 is no limit
	rate    gate.Rate
	sources gate.Sources
}

func newLimit(c *config.Listener) *limit {
	m := new(limit)
	m.adopt(c)
	return m
}

// adopt holds for clients that come from now on.
func (m *limit) adopt(c *config.Listener) {
	m.max.Store(int64(c.MaxConns))
	m.perSec.Store(int64(c.AcceptRate))
	m.sources.SetLimits(gate.SourceLimits{
		MaxConns: c.SourceMaxConns, Rate: c.SourceRate, IPv4: c.SourcePrefixIPv4, IPv6: c.SourcePrefixIPv6,
	})
}

// refusal says why a client is not let in: the reason as metrics have it, and the word for its end. The zero value is none.
type refusal struct {
	reason string
	word   end.Word
}

var (
	atMaxConns   = refusal{"max_conns", end.Limit}
	atAcceptRate = refusal{"accept_rate", end.Limit}
)

// refusals are what verdicts on a source come to.
var refusals = [...]refusal{
	gate.Taken:   {},
	gate.TooMany: {"source_max_conns", end.Limit},
	gate.TooFast: {"source_rate", end.Limit},
}

// String is what explain says of it.
func (r refusal) String() string {
	if r.reason == r.word.String() {
		return r.reason
	}
	return fmt.Sprintf("%s (%s)", r.word, r.reason)
}

// take takes a place for a session, unless a limit is reached. Who gets one gives it back.
func (m *limit) take(client netip.Addr) (gate.Place, refusal) {
	place, verdict := m.sources.Take(client)
	if no := refusals[verdict]; no.word != end.None {
		return place, no
	}
	if !m.takeOne() {
		place.Give()
		return gate.Place{}, atMaxConns
	}
	if !m.rate.Take(int(m.perSec.Load())) {
		m.give(place)
		return gate.Place{}, atAcceptRate
	}
	return place, refusal{}
}

// ask says what take would say, and takes nothing.
func (m *limit) ask(client netip.Addr) refusal {
	if client.IsValid() {
		if no := refusals[m.sources.Ask(client)]; no.word != end.None {
			return no
		}
	}
	if m.full() {
		return atMaxConns
	}
	if !m.rate.Ask(int(m.perSec.Load())) {
		return atAcceptRate
	}
	return refusal{}
}

func (m *limit) takeOne() bool {
	for {
		n, most := m.held.Load(), m.max.Load()
		if most > 0 && n >= most {
			return false
		}
		if m.held.CompareAndSwap(n, n+1) {
			return true
		}
	}
}

func (m *limit) full() bool {
	most := m.max.Load()
	return most > 0 && m.held.Load() >= most
}

func (m *limit) give(place gate.Place) {
	place.Give()
	m.held.Add(-1)
}
