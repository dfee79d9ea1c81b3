//go:build linux

package integration

import (
	"testing"
	"time"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

// Lies that arrive before the truth are heard by nobody: the liar's address never gets a connection.
func TestDNS22And23And25(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	three, liar := signed(t, 3, port), signed(t, 9, port)
	lie := []string{"db.test. 0 IN A " + host(9)}
	server.Handle(func(dnstest.Query) dnstest.Reply {
		return dnstest.Reply{
			RRs: []string{"db.test. 0 IN A " + host(3)}, Delay: 50 * time.Millisecond,
			Before: []dnstest.Reply{
				{RRs: lie, WrongID: true},
				{RRs: []string{"evil.test. 0 IN A " + host(9)}, Question: "evil.test"},
				{RRs: lie, Question: "evil.test"},
				{RRs: lie, OtherPort: true},
				{RRs: lie, NotResponse: true},
				{Garbage: []byte("0123456789a")},
			},
		}
	})
	s := names(server, port, "db.test")
	s.dns = patient
	e := start(t, s)
	load := drive(t, e.addr, 50)
	awaitAnswers(t, server, "db.test", 10)
	load.stop(t)
	if served := load.by(time.Time{}); len(served) != 1 || served[3] == 0 {
		t.Errorf("served: %v", served)
	}
	if n := liar.accepted.Load(); n != 0 {
		t.Errorf("the liar got %d connections", n)
	}
	m := e.metrics(t)
	for _, reason := range []string{"id", "question", "not_response", "malformed"} {
		if m.sum("ebb_dns_discarded_total", label("reason", reason)) < 10 {
			t.Errorf("discarded: %v", m.pick("ebb_dns_discarded_total"))
		}
	}
	if all, good := m.sum("ebb_dns_queries_total"), m.sum("ebb_dns_queries_total", label("result", "ok")); all != good {
		t.Errorf("%v questions, %v answered: %v", all, good, m.pick("ebb_dns_queries_total"))
	}
	e.wantLines(t, 1, "epoch")
	e.wantLines(t, 0, "dns failing")
	oracle(t, e, three, liar)
}
