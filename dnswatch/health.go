package dnswatch

import (
	"slices"
	"sync"
	"time"
)

const (
	failuresOut = 3 // failures in a row after which a server is passed over
	serverPause = 30 * time.Second
	habitHolds  = time.Hour // how long what a server cannot do is believed
)

// health is what a resolver has seen of its servers.
type health struct {
	mu      sync.Mutex
	servers map[server]*serverHealth
}

type serverHealth struct {
	failures int       // in a row
	until    time.Time // passed over until then
	plain    time.Time // asked without EDNS until then
	stream   time.Time // asked by TCP instead of UDP until then
}

// of returns the notes on a server. The caller holds mu.
func (h *health) of(s server) *serverHealth {
	n := h.servers[s]
	if n == nil {
		n = new(serverHealth)
		if h.servers == nil {
			h.servers = make(map[server]*serverHealth)
		}
		h.servers[s] = n
	}
	return n
}

// well leaves out the servers that are passed over, unless that leaves none.
func (h *health) well(all []server) []server {
	h.mu.Lock()
	defer h.mu.Unlock()
	now := time.Now()
	list := slices.DeleteFunc(slices.Clone(all), func(s server) bool { return now.Before(h.of(s).until) })
	if len(list) == 0 {
		return all
	}
	return list
}

// judge notes whether a server replied.
func (h *health) judge(s server, replied bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.of(s)
	if replied {
		n.failures, n.until = 0, time.Time{}
		return
	}
	if n.failures++; n.failures >= failuresOut {
		n.failures = failuresOut - 1 // after the pause one more failure is enough
		n.until = time.Now().Add(serverPause)
	}
}

// habits says how a server is asked.
func (h *health) habits(s server) (plain, stream bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n, now := h.of(s), time.Now()
	return now.Before(n.plain), now.Before(n.stream)
}

// isPlain notes that a server answers only without EDNS.
func (h *health) isPlain(s server) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.of(s).plain = time.Now().Add(habitHolds)
}

// losesCase notes that a server must be asked by TCP, and says whether that is news.
func (h *health) losesCase(s server) (first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	n := h.of(s)
	first = n.stream.IsZero()
	n.stream = time.Now().Add(habitHolds)
	return first
}
