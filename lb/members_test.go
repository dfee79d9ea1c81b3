package lb

import (
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/pool"
)

// membership is members without a watcher: the test says the answers.
type membership struct {
	*members
	logs    *logLines
	passing map[netip.AddrPort]bool
	now     []pool.Member // the last published
}

func newMembership(hasIPv6 bool, conf ...config.Backend) *membership {
	m := &membership{logs: new(logLines), passing: make(map[netip.AddrPort]bool)}
	m.members = newMembers(conf, NewLogger(m.logs, NewLogForm("json"), slog.LevelDebug),
		func(a netip.AddrPort) bool { return m.passing[a] },
		func(list []pool.Member, _ pool.Cause) { m.now = list })
	m.prepare(hasIPv6)
	return m
}

func (m *membership) say(b int, typ dnswatch.Type, a dnswatch.Answer) {
	a.Name, a.Type = m.backends[b].conf.Host, typ
	m.take(m.backends[b], m.backends[b].watched, m.backends[b].wish, typ, a)
}

func (m *membership) want(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	var have []string
	for _, member := range m.now {
		have = append(have, member.Addr.String())
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Errorf("members %v, want %v", have, want)
	}
}

// bubble runs f with fake time and ends its timers.
func bubble(t *testing.T, m func() *membership, f func(*testing.T, *membership)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		held := m()
		defer held.close()
		f(t, held)
	})
}

func public(host, family string) config.Backend {
	b := named(host, 5432)
	b.Family, b.AllowAnswers = family, nil
	return b
}

const (
	four = dnswatch.TypeA
	six  = dnswatch.TypeAAAA
)

func TestDNS28OneFamilyDoesNotHarmTheOther(t *testing.T) {
	bubble(t, func() *membership { return newMembership(true, public("db.test", "both")) }, func(t *testing.T, m *membership) {
		m.say(0, four, ok("192.0.2.2"))
		m.want(t, "192.0.2.2:5432")
		for range 3 {
			m.say(0, six, nxdomain)
			time.Sleep(time.Minute)
		}
		m.want(t, "192.0.2.2:5432")
	})
}

func TestDNS29AFailingFamilyDoesNotHarmTheOther(t *testing.T) {
	bubble(t, func() *membership { return newMembership(true, public("db.test", "both")) }, func(t *testing.T, m *membership) {
		m.say(0, four, ok("192.0.2.2"))
		m.say(0, six, ok("2001:db8::1"))
		m.say(0, six, failure)
		m.say(0, four, ok("192.0.2.3"))
		m.want(t, "192.0.2.3:5432", "[2001:db8::1]:5432")
	})
}

func TestDNS31APreferredFamilyHoldsThroughFailures(t *testing.T) {
	bubble(t, func() *membership { return newMembership(true, public("db.test", "prefer_ipv6")) }, func(t *testing.T, m *membership) {
		m.say(0, four, ok("192.0.2.2"))
		m.want(t) // the other family may yet answer
		m.say(0, six, ok("2001:db8::1"))
		m.want(t, "[2001:db8::1]:5432")
		m.say(0, six, failure)
		time.Sleep(time.Hour)
		m.want(t, "[2001:db8::1]:5432")
		m.say(0, six, nodata)
		m.say(0, six, nodata)
		m.want(t, "[2001:db8::1]:5432") // held
		time.Sleep(30 * time.Second)
		m.want(t, "192.0.2.2:5432")
		m.say(0, six, failure) // says nothing: the last word was that there is none
		m.want(t, "192.0.2.2:5432")
		m.say(0, six, ok("2001:db8::2"))
		m.want(t, "[2001:db8::2]:5432")
	})
}

func TestAPreferredFamilyThatNeverAnsweredIsDoneWithout(t *testing.T) {
	bubble(t, func() *membership { return newMembership(true, public("db.test", "prefer_ipv6")) }, func(t *testing.T, m *membership) {
		m.say(0, six, failure)
		m.say(0, four, ok("192.0.2.2"))
		m.want(t, "192.0.2.2:5432")
	})
}

func TestDNS32FamiliesThatAreAsked(t *testing.T) {
	for _, tc := range []struct {
		host, family string
		hasIPv6      bool
		want         string
	}{
		{"db.test", "ipv4", true, "[A]"},
		{"db.test", "ipv6", false, "[AAAA]"},
		{"db.test", "auto", true, "[A AAAA]"},
		{"db.test", "auto", false, "[A]"},
		{"db.test", "both", false, "[A AAAA]"},
		{"db.test", "prefer_ipv4", false, "[A AAAA]"},
		{"192.0.2.1", "auto", true, "[A]"},
		{"::ffff:192.0.2.1", "ipv6", true, "[A]"},
		{"2001:db8::1", "auto", false, "[AAAA]"},
	} {
		b := &backend{conf: public(tc.host, tc.family)}
		if got := fmt.Sprint(b.types(tc.hasIPv6)); got != tc.want {
			t.Errorf("%s %s: %s, want %s", tc.host, tc.family, got, tc.want)
		}
	}
}

func TestDNS41TwoNamesOnePeer(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2")
	r.dns.SetA("a.test", 0, "127.0.0.2")
	r.dns.SetA("b.test", 0, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("a.test", port), named("b.test", port)}
	for i := range r.pool().Backends {
		r.pool().Backends[i].OnEmpty = "remove"
	}
	r.pool().Check = fastCheck()
	r.serve()
	weight := func(want int, sources ...string) {
		t.Helper()
		for i := range sources {
			sources[i] = fmt.Sprintf("%s:%d", sources[i], port)
		}
		eventually(t, fmt.Sprint("weight ", want), func() bool {
			p := r.status().Peers
			return len(p) == 1 && p[0].Weight == want && slices.Equal(p[0].Sources, sources)
		})
	}
	weight(2, "a.test", "b.test")
	p := r.server.running().pools[0]
	p.mu.Lock()
	if len(p.checks) != 1 {
		t.Errorf("%d checks", len(p.checks))
	}
	p.mu.Unlock()
	c := r.dial()
	greeting(t, c)
	r.dns.NXDomain("a.test")
	weight(1, "b.test")
	fmt.Fprintln(c, "x")
	if b := make([]byte, 2); must(c.Read(b)) == 0 {
		t.Error("the session was harmed")
	}
	r.dns.NXDomain("b.test")
	eventually(t, "the peer to drain", func() bool { p := r.status().Peers; return len(p) == 1 && p[0].State == "draining" })
	c.Close()
	eventually(t, "the peer to go", func() bool { return len(r.status().Peers) == 0 })
	p.mu.Lock()
	if len(p.checks) != 0 {
		t.Errorf("%d checks of gone peers", len(p.checks))
	}
	p.mu.Unlock()
	eventually(t, "the probes to end", func() bool {
		before := list[0].seen.Load()
		time.Sleep(10 * fastCheck().Interval)
		return list[0].seen.Load() == before
	})
	r.closed()
}

func TestDNS33TTLZeroAsksAtTheFloor(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.dns.SetA("db.test", 0, "127.0.0.2")
	b := named("db.test", port)
	b.MinRefresh, b.MaxRefresh = 100*time.Millisecond, time.Minute
	r.pool().Backends = []config.Backend{b}
	start := time.Now()
	r.serve()
	eventually(t, "five questions", func() bool { return r.dns.QueryCount("db.test", "A") >= 5 })
	if n, most := r.dns.QueryCount("db.test", "A"), 2+int(time.Since(start)/(100*time.Millisecond)); n > most {
		t.Errorf("%d questions, want at most %d", n, most)
	}
}

func TestMaxStaleLeavesWhatItsCheckVouchesFor(t *testing.T) {
	b := public("db.test", "ipv4")
	b.MaxStale = time.Hour
	bubble(t, func() *membership { return newMembership(false, b) }, func(t *testing.T, m *membership) {
		m.passing[netip.MustParseAddrPort("192.0.2.3:5432")] = true
		m.say(0, four, ok("192.0.2.2", "192.0.2.3"))
		m.say(0, four, failure)
		time.Sleep(time.Hour - time.Second)
		m.want(t, "192.0.2.2:5432", "192.0.2.3:5432")
		time.Sleep(time.Second)
		m.want(t, "192.0.2.3:5432")
		m.say(0, four, ok("192.0.2.2", "192.0.2.3"))
		m.want(t, "192.0.2.2:5432", "192.0.2.3:5432")
	})
}

func TestOneLineForEachChangeOfState(t *testing.T) {
	bubble(t, func() *membership { return newMembership(true, public("db.test", "both"), public("two.test", "both")) }, func(t *testing.T, m *membership) {
		fail := func(text string) dnswatch.Answer {
			return dnswatch.Answer{Kind: dnswatch.KindFailure, Err: errors.New(text)}
		}
		for _, a := range []dnswatch.Answer{
			ok("192.0.2.2"), ok("192.0.2.3"), // nothing to tell
			fail("one server"), fail("another server"), fail("one server"), // one line
			ok("192.0.2.2"),    // well again
			nxdomain, nxdomain, // one line
			ok("192.0.2.2", "127.0.0.1"),     // filtered
			ok("192.0.2.2", "127.0.0.1"),     //
			ok("192.0.2.2"), ok("192.0.2.2"), // well again
		} {
			m.say(0, four, a)
		}
		m.say(0, six, nodata) // a name with one family only is no news
		m.say(1, six, nodata) // nor is it while the other family has not been answered
		m.say(1, four, ok("192.0.2.4"))
		want := []string{"dns failing", "dns well again", "dns answer empty", "dns answer filtered", "dns well again"}
		if have := m.logs.messages(); !slices.Equal(have, want) {
			t.Errorf("lines:\n%s\nwant:\n%s", strings.Join(have, "\n"), strings.Join(want, "\n"))
		}
		if line := m.logs.find("dns answer filtered"); fmt.Sprint(line[0]["filtered"], line[0]["key"]) != "[127.0.0.1]allow_answers" {
			t.Errorf("line: %v", line)
		}
	})
}

func TestDescribeSaysTheLastState(t *testing.T) {
	bubble(t, func() *membership { return newMembership(false, public("a.test", "ipv4"), public("b.test", "ipv4")) }, func(t *testing.T, m *membership) {
		m.say(1, four, dnswatch.Answer{Kind: dnswatch.KindFailure, Err: errors.New("no answer within 1s")})
		if got, want := m.describe(), "a.test:5432 A: no answer yet; b.test:5432 A: failure, no answer within 1s"; got != want {
			t.Errorf("%q, want %q", got, want)
		}
		if got := m.answered(); !slices.Equal(got, []string{"a.test:5432"}) {
			t.Errorf("waiting for %v", got)
		}
		m.say(0, four, ok("127.0.0.1"))
		if got := m.describe(); !strings.Contains(got, "a.test:5432 A: ok, not in allow_answers: [127.0.0.1]") {
			t.Errorf("%q", got)
		}
	})
}
