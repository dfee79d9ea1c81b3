package lb

import (
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
	m.sources.SetLimits(gate.SourceLimits{
		MaxConns: c.SourceMaxConns, Rate: c.SourceRate, IPv4: c.SourcePrefixIPv4, IPv6: c.SourcePrefixIPv6,
	})
}

// refusal says why a client is not let in: the reason as metrics have it, and the word for its end. The zero value is none.
type refusal struct {
	reason string
	word   end.Word
}

// take takes a place for a session, unless a limit is reached. Who gets one gives it back.
func (m *limit) take(client netip.Addr) (gate.Place, refusal) {
	place, verdict := m.sources.Take(client)
	switch verdict {
	case gate.TooMany:
		return place, refusal{"source_max_conns", end.Limit}
	case gate.TooFast:
		return place, refusal{"source_rate", end.Limit}
	}
	if !m.takeOne() {
		place.Give()
		return gate.Place{}, refusal{"max_conns", end.Limit}
	}
	return place, refusal{}
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
