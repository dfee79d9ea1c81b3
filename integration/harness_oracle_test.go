//go:build linux

package integration

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

// Slack of G2. The row says 20 MiB, within 5 s; the race detector keeps shadow memory for what was touched once, about as
// much again for each byte and never given back, and the runtime gives memory back only some collections after it was used,
// which an idle process makes seldom: so the time is patience.
const (
	slackFDs        = 2
	slackGoroutines = 5
	slackRSS        = 20 << 20
	slackRSSRace    = 160 << 20
)

// oracle checks what must hold after every scenario whose clients are gone, whatever it did:
//
//	G1  ebb is alive, and has neither panicked nor raced
//	G2  it is back where it began: no session, no retired epoch, descriptors, goroutines, memory
//	G3  nothing is lost in the books: accepted = ended, by metrics and by log; bytes agree, on the peers' side too
//	G4  every refusal has a counter and a reason
//	G5  each session has exactly one line
func oracle(t *testing.T, e *ebb, backends ...*backend) {
	t.Helper()
	e.soundLog(t)
	if !e.alive() {
		t.Fatalf("G1: ebb is gone, exit code %d", e.code)
	}
	e.atRest(t)
	e.booksClosed(t, backends)
}

// soundLog is G1 without the demand that ebb still runs.
func (e *ebb) soundLog(t *testing.T) {
	t.Helper()
	for _, word := range []string{"panic", "fatal error", "DATA RACE", "goroutine "} {
		if s := e.logs.unstructured(); strings.Contains(s, word) {
			t.Fatalf("G1: %q on stderr:\n%s", word, s)
		}
	}
}

// atRest is G2. It gives the scrape that showed it.
func (e *ebb) atRest(t *testing.T) metrics {
	t.Helper()
	limit := int64(slackRSS)
	if e.traced {
		limit = slackRSSRace
	}
	var m metrics
	agree(t, 20*time.Millisecond, func() (bad complaints) {
		m = e.metrics(t)
		now := e.usage(t)
		if m.sum("ebb_sessions_active") != 0 || m.sum("ebb_peer_sessions_active") != 0 || m.sum("ebb_epochs_live") != float64(len(m.pick("ebb_epochs_live"))) ||
			now.fds > e.base.fds+slackFDs || now.goroutines > e.base.goroutines+slackGoroutines || now.rss > e.base.rss+limit {
			bad.add("G2: not at rest: sessions %v, on peers %v, epochs %v; %+v, at the start %+v",
				m.pick("ebb_sessions_active"), m.pick("ebb_peer_sessions_active"), m.pick("ebb_epochs_live"), now, e.base)
		}
		for _, p := range e.status(t).Pools {
			if len(p.Epochs) != 1 || p.Epochs[0].Retired || p.Epochs[0].Sessions != 0 {
				bad.add("G2: epochs left: %+v", p.Epochs)
			}
		}
		return bad
	})
	if len(m.pick("ebb_sessions_active")) == 0 || len(m.pick("ebb_epochs_live")) == 0 {
		t.Errorf("G2: no series to look at: %v", m)
	}
	return m
}

// complaints are what does not hold, yet or ever.
type complaints []string

func (c *complaints) add(format string, args ...any) { *c = append(*c, fmt.Sprintf(format, args...)) }

// agree waits until there is nothing to complain of, for what is compared is counted at different moments by different processes: a
// backend of the test may have written and not counted yet, and a client that has gone may not have been accepted. Counts only
// grow: what is wrong stays wrong.
func agree(t *testing.T, every time.Duration, look func() complaints) {
	t.Helper()
	bad := look()
	for begin := time.Now(); len(bad) > 0 && time.Since(begin) < patience; bad = look() {
		time.Sleep(every)
	}
	for _, b := range bad {
		t.Error(b)
	}
}

// booksClosed is G3, G4 and G5.
func (e *ebb) booksClosed(t *testing.T, backends []*backend) {
	t.Helper()
	agree(t, 5*time.Millisecond, func() (bad complaints) {
		var accepted uint64
		for _, l := range e.status(t).Listeners {
			accepted += l.Total
		}
		list := e.logs.ended()
		if uint64(len(list)) < accepted { // the line follows the count
			bad.add("G5: accepted %d, logged %d", accepted, len(list))
			return bad
		}
		m := e.metrics(t)
		var in, out int64
		byEnd := make(map[string]int)
		byID := make(map[uint64]int)
		clean := true
		for _, s := range list {
			in, out = in+s.In, out+s.Out
			byEnd[s.End]++
			byID[s.ID]++
			clean = clean && (s.End == "client_fin" || s.End == "server_fin")
		}
		if uint64(len(list)) != accepted || m.sum("ebb_sessions_total") != float64(accepted) {
			bad.add("G3: accepted %d, ended %v, logged %d", accepted, m.pick("ebb_sessions_total"), len(list))
		}
		for word, n := range byEnd {
			if got := m.sum("ebb_sessions_total", label("end", word)); word == "" || got != float64(n) {
				bad.add("G3: end %q: %d lines, counter %v", word, n, got)
			}
		}
		if got := m.sum("ebb_bytes_total"); got != float64(in+out) {
			bad.add("G3: bytes: %d in and %d out by the log, counters %v", in, out, m.pick("ebb_bytes_total"))
		}
		if len(backends) > 0 && clean && len(list) > 0 {
			var received, sent int64
			for _, b := range backends {
				received, sent = received+b.received.Load(), sent+b.sent.Load()
			}
			if received != in || (sent != out && !e.checks) { // a probe, too, is greeted
				bad.add("G3: ebb passed %d in and %d out, the peers got %d and sent %d", in, out, received, sent)
			}
		}
		if got := m.sum("ebb_rejected_total"); got != float64(byEnd["limit"]+byEnd["denied"]) {
			bad.add("G4: rejected %v, %d lines with end=limit and %d with end=denied", m.pick("ebb_rejected_total"), byEnd["limit"], byEnd["denied"])
		}
		for _, name := range []string{"ebb_rejected_total", "ebb_accept_errors_total", "ebb_udp_dropped_total"} {
			if none := m.pick(name, label("reason", "")); len(none) > 0 {
				bad.add("G4: no reason: %v", none)
			}
		}
		if n := m.sum("ebb_log_dropped_total"); n != 0 {
			bad.add("G5: %v lines dropped", n)
		}
		for id := uint64(1); id <= accepted; id++ {
			if byID[id] != 1 {
				bad.add("G5: session %d has %d lines", id, byID[id])
			}
		}
		return bad
	})
}
