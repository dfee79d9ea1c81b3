package dnswatch

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

func traceWatcher(t *testing.T, servers ...*dnstest.Server) *Watcher {
	t.Helper()
	c := patient()
	c.Name = "r"
	for _, s := range servers {
		c.Servers = append(c.Servers, "udp://"+s.Addr())
	}
	w, err := New(Options{Resolvers: []ResolverConfig{c}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Close)
	return w
}

func TestDNSResolveShowsEveryStep(t *testing.T) {
	first, second := startServer(t), startServer(t)
	first.Rcode("db.test", 2)
	first.Rcode("x.test", 2)
	second.Handle(func(q dnstest.Query) dnstest.Reply {
		switch {
		case q.Name == "db.test" && q.EDNS > 0:
			return dnstest.Reply{Rcode: 1}
		case q.Name == "db.test" && q.Transport == "udp":
			return dnstest.Reply{TC: true}
		case q.Name == "db.test":
			return dnstest.Reply{RRs: []string{"db.test. 9 IN CNAME x.test."}}
		}
		return dnstest.Reply{RRs: []string{"x.test. 7 IN A 127.0.0.2", "x.test. 8 IN A 127.0.0.3"}}
	})
	w := traceWatcher(t, first, second)
	trace, err := w.Resolve(t.Context(), "r", "DB.test", TypeA)
	if err != nil {
		t.Fatal(err)
	}
	expect(t, trace.Answer, "ok 127.0.0.2 127.0.0.3")
	if a := trace.Answer; a.TTL != 7*time.Second || len(a.Chain) != 1 || a.Server != "udp://"+second.Addr() || a.At.IsZero() {
		t.Errorf("answer: %+v", a)
	}
	var got []string
	for _, s := range trace.Steps {
		transport, _, _ := strings.Cut(s.Server, "://")
		got = append(got, s.Name+" "+transport+" "+s.Result)
		if s.Took <= 0 || s.At < 0 {
			t.Errorf("step %s began at %v", s, s.At)
		}
	}
	const want = "db.test. udp servfail, db.test. udp formerr, db.test. udp truncated, db.test. tcp ok, x.test. udp servfail, x.test. udp ok"
	if s := strings.Join(got, ", "); s != want {
		t.Errorf("steps: %s\nexpected %s", s, want)
	}
	last := trace.Steps[len(trace.Steps)-1]
	if len(last.Lines) != 2 || !strings.Contains(last.Lines[0], "127.0.0.2") {
		t.Errorf("lines of the last step: %q", last.Lines)
	}
}

func TestDNSResolveOfFailuresLocalNamesAndNonsense(t *testing.T) {
	s := startServer(t)
	s.Rcode("db.test", 5)
	w := traceWatcher(t, s)
	trace, err := w.Resolve(t.Context(), "r", "db.test", TypeA)
	if err != nil || trace.Answer.Kind != KindFailure || len(trace.Steps) != 1 || !strings.Contains(trace.Answer.Err.Error(), "refused") {
		t.Errorf("%+v, %v", trace, err)
	}
	trace, err = w.Resolve(t.Context(), "r", "localhost", TypeA)
	if err != nil || !trace.Answer.Local || len(trace.Steps) != 0 {
		t.Errorf("localhost: %+v, %v", trace, err)
	}
	for _, bad := range [][2]string{{"x", "db.test"}, {"r", "a..b"}} {
		if _, err := w.Resolve(t.Context(), bad[0], bad[1], TypeA); err == nil {
			t.Errorf("%v was asked for", bad)
		}
	}
	s.Silent("", true)
	s.Rcode("db.test", 0)
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		for s.QueryCount("silent.test", "A") == 0 {
			time.Sleep(time.Millisecond)
		}
		cancel()
	}()
	trace, err = w.Resolve(ctx, "r", "silent.test", TypeA)
	if err != nil || trace.Answer.Kind != KindFailure {
		t.Errorf("given up: %+v, %v", trace, err)
	}
}
