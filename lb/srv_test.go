package lb

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
	"github.com/ebb-lb/ebb/lb/config"
)

// svc is an answer of SRV records, each "PRIORITY WEIGHT PORT TARGET", and of hints, each "TARGET ADDRESS".
func svc(lines ...string) dnswatch.Answer {
	a := dnswatch.Answer{Kind: dnswatch.KindOK}
	for _, line := range lines {
		var r dnswatch.Record
		if n, _ := fmt.Sscan(line, &r.Priority, &r.Weight, &r.Port, &r.Target); n == 4 {
			a.Records = append(a.Records, r)
			continue
		}
		target, addr, _ := strings.Cut(line, " ")
		a.Hints = append(a.Hints, dnswatch.Record{Target: target, Addr: netip.MustParseAddr(addr)})
	}
	return a
}

func service4(change func(*config.Backend)) config.Backend {
	b := public("_pg._tcp.test", "ipv4")
	b.Type, b.Port, b.Weight = "srv", 0, 1
	if change != nil {
		change(&b)
	}
	return b
}

// target says an answer for the addresses of a target of the first backend.
func (m *membership) target(t *testing.T, name string, a dnswatch.Answer) {
	t.Helper()
	m.mu.Lock()
	w := m.backends[0].targets[name]
	m.mu.Unlock()
	if w == nil {
		t.Fatalf("there is no target %s", name)
	}
	a.Name, a.Type = name, four
	m.take(m.backends[0], w, w.wish, four, a)
}

// shares wants members as "ADDR:PORT TIER WEIGHT".
func (m *membership) shares(t *testing.T, want ...string) {
	t.Helper()
	synctest.Wait()
	m.mu.Lock()
	defer m.mu.Unlock()
	var have []string
	for _, member := range m.now {
		have = append(have, fmt.Sprint(member.Addr, " ", member.Tier, " ", member.Weight))
	}
	slices.Sort(have)
	if !slices.Equal(have, want) {
		t.Errorf("members %v, want %v", have, want)
	}
}

func (m *membership) named() (list []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range m.backends[0].targets {
		list = append(list, name)
	}
	slices.Sort(list)
	return list
}

func TestDN2ServicesBecomeMembers(t *testing.T) {
	bubble(t, func() *membership { return newMembership(false, service4(func(b *config.Backend) { b.Tier = 5 })) }, func(t *testing.T, m *membership) {
		m.say(0, dnswatch.TypeSRV, svc("10 3 5432 a.", "10 1 5433 b.", "20 0 5432 c.", "30 7 1 d."))
		m.shares(t) // no target has an address yet
		m.target(t, "a.", ok("192.0.2.1"))
		m.target(t, "b.", ok("192.0.2.2", "192.0.2.3"))
		m.target(t, "c.", ok("192.0.2.4"))
		m.target(t, "d.", nodata) // DN-19: never a member
		m.shares(t, "192.0.2.1:5432 5 3", "192.0.2.2:5433 5 1", "192.0.2.3:5433 5 1", "192.0.2.4:5432 6 1")
		// Another port, weight and priority; what is the same record twice is one.
		m.say(0, dnswatch.TypeSRV, svc("10 4 5442 a.", "10 4 5442 a.", "20 0 5432 c.", "20 9 5432 b."))
		m.shares(t, "192.0.2.1:5442 5 4", "192.0.2.2:5432 6 9", "192.0.2.3:5432 6 9", "192.0.2.4:5432 6 0")
		if got := m.named(); !slices.Equal(got, []string{"a.", "b.", "c."}) {
			t.Errorf("targets %v", got)
		}
		// Two services on one target.
		m.say(0, dnswatch.TypeSRV, svc("10 1 1 a.", "10 1 2 a."))
		m.shares(t, "192.0.2.1:1 5 1", "192.0.2.1:2 5 1")
		m.say(0, dnswatch.TypeSRV, failure)
		m.shares(t, "192.0.2.1:1 5 1", "192.0.2.1:2 5 1")
		// A target that comes back is asked anew.
		m.say(0, dnswatch.TypeSRV, svc("10 1 1 b."))
		m.shares(t)
		m.target(t, "b.", ok("192.0.2.9"))
		m.shares(t, "192.0.2.9:1 5 1")
	})
}

func TestDNS48ATargetThatFailsKeepsItsAddresses(t *testing.T) {
	bubble(t, func() *membership { return newMembership(false, service4(nil)) }, func(t *testing.T, m *membership) {
		m.say(0, dnswatch.TypeSRV, svc("0 0 1 a.", "0 0 1 b."))
		m.target(t, "a.", ok("192.0.2.1"))
		m.target(t, "b.", ok("192.0.2.2"))
		for range 5 {
			m.target(t, "a.", failure)
			time.Sleep(time.Hour)
		}
		m.target(t, "b.", ok("192.0.2.3"))
		m.shares(t, "192.0.2.1:1 0 1", "192.0.2.3:1 0 1")
		time.Sleep(72 * time.Hour) // then only a check vouches for a
		m.shares(t, "192.0.2.3:1 0 1")
		m.passing[netip.MustParseAddrPort("192.0.2.1:1")] = true
		m.target(t, "b.", ok("192.0.2.3"))
		m.shares(t, "192.0.2.1:1 0 1", "192.0.2.3:1 0 1")
	})
}

func TestAServiceFollowsTheDecisionTable(t *testing.T) {
	bubble(t, func() *membership { return newMembership(false, service4(nil)) }, func(t *testing.T, m *membership) {
		m.say(0, dnswatch.TypeSRV, svc("0 0 1 a."))
		m.target(t, "a.", ok("192.0.2.1"))
		m.say(0, dnswatch.TypeSRV, nodata) // DNS50: what the target "." gives
		m.say(0, dnswatch.TypeSRV, nxdomain)
		m.shares(t, "192.0.2.1:1 0 1")
		time.Sleep(29 * time.Second)
		m.shares(t, "192.0.2.1:1 0 1")
		time.Sleep(2 * time.Second)
		m.shares(t)
		if got := m.named(); len(got) != 0 {
			t.Errorf("targets %v outlive their service", got)
		}
		m.say(0, dnswatch.TypeSRV, svc("0 0 1 a."))
		m.target(t, "a.", ok("192.0.2.1"))
		m.shares(t, "192.0.2.1:1 0 1")
		m.say(0, dnswatch.TypeSRV, failure)
		time.Sleep(71 * time.Hour)
		m.shares(t, "192.0.2.1:1 0 1")
		time.Sleep(2 * time.Hour) // max_stale of the service itself
		m.shares(t)
	})
	bubble(t, func() *membership {
		return newMembership(false, service4(func(b *config.Backend) { b.OnEmpty = "remove" }))
	}, func(t *testing.T, m *membership) {
		m.say(0, dnswatch.TypeSRV, svc("0 0 1 a."))
		m.target(t, "a.", ok("192.0.2.1"))
		m.say(0, dnswatch.TypeSRV, nodata)
		m.shares(t)
	})
}

func TestAServiceThatIsAbsentIsHeld(t *testing.T) {
	bubble(t, func() *membership {
		return newMembership(false, service4(func(b *config.Backend) { b.AbsentHold = 10 * time.Second }))
	}, func(t *testing.T, m *membership) {
		m.say(0, dnswatch.TypeSRV, svc("0 1 1 a.", "0 1 1 b."))
		m.target(t, "a.", ok("192.0.2.1"))
		m.target(t, "b.", ok("192.0.2.2"))
		m.say(0, dnswatch.TypeSRV, svc("0 5 1 b.")) // a is absent, b has another weight and is not
		m.shares(t, "192.0.2.1:1 0 1", "192.0.2.2:1 0 5")
		time.Sleep(11 * time.Second)
		m.shares(t, "192.0.2.2:1 0 5")
	})
}

func TestHintsHoldUntilATargetAnswers(t *testing.T) {
	bubble(t, func() *membership {
		return newMembership(true, service4(func(b *config.Backend) { b.Family = "both" }))
	}, func(t *testing.T, m *membership) {
		m.say(0, dnswatch.TypeSRV, svc("0 0 1 a.", "0 0 1 b.", "a. 192.0.2.1", "a. 2001:db8::1", "b. 127.0.0.1", "c. 192.0.2.9"))
		m.shares(t, "192.0.2.1:1 0 1", "[2001:db8::1]:1 0 1") // loopback is forbidden, c is no target
		if got := m.answered(); len(got) != 1 {
			t.Errorf("waiting for %v, want one: b", got)
		}
		m.target(t, "a.", failure)
		m.shares(t, "192.0.2.1:1 0 1", "[2001:db8::1]:1 0 1")
		m.say(0, dnswatch.TypeSRV, svc("0 0 1 a.", "0 0 1 b.", "a. 192.0.2.2"))
		m.shares(t, "192.0.2.2:1 0 1", "[2001:db8::1]:1 0 1")
		m.target(t, "a.", ok("192.0.2.3"))
		m.shares(t, "192.0.2.3:1 0 1", "[2001:db8::1]:1 0 1")
		m.say(0, dnswatch.TypeSRV, svc("0 0 1 a.", "0 0 1 b.", "a. 192.0.2.4"))
		m.shares(t, "192.0.2.3:1 0 1", "[2001:db8::1]:1 0 1") // its own answer is better
		m.target(t, "b.", nodata)
		m.say(0, dnswatch.TypeSRV, svc("0 0 1 a.", "0 0 1 b.", "b. 192.0.2.5"))
		m.shares(t, "192.0.2.3:1 0 1", "[2001:db8::1]:1 0 1") // also if that is that there is none
		if got := m.answered(); len(got) != 0 {
			t.Errorf("waiting for %v", got)
		}
	})
}

func TestAnswersOfTargetsThatAreGoneAreNotLookedAt(t *testing.T) {
	bubble(t, func() *membership { return newMembership(false, service4(nil)) }, func(t *testing.T, m *membership) {
		m.say(0, dnswatch.TypeSRV, svc("0 0 1 a."))
		old := m.backends[0].targets["a."]
		m.say(0, dnswatch.TypeSRV, svc("0 0 1 b."))
		a := failure
		a.Name, a.Type = "a.", four
		m.take(m.backends[0], old, old.wish, four, a)
		for _, line := range m.logs.find("dns failing") {
			t.Errorf("%v", line)
		}
	})
}

func TestDNS57TooManyRecordsAreToldOnce(t *testing.T) {
	bubble(t, func() *membership { return newMembership(false, public("db.test", "ipv4")) }, func(t *testing.T, m *membership) {
		counted := 0
		m.refuse = func(reason string, n int) {
			if reason == "cap" {
				counted += n
			}
		}
		a := ok("192.0.2.1")
		a.Omitted = 976
		for range 3 {
			m.say(0, four, a)
			m.say(0, four, failure)
		}
		if lines := m.logs.find("dns answer too large"); len(lines) != 1 || lines[0]["omitted"] != 976.0 || counted != 976 {
			t.Errorf("%v, %d counted", lines, counted)
		}
	})
}

func TestFeedsAreThePeersOfAName(t *testing.T) {
	bubble(t, func() *membership { return newMembership(false, service4(nil), public("db.test.", "ipv4")) }, func(t *testing.T, m *membership) {
		m.own = func(a netip.AddrPort, _ bool) bool { return a.Addr() == netip.MustParseAddr("192.0.2.7") }
		m.say(0, dnswatch.TypeSRV, svc("0 0 1 a.", "0 0 2 a."))
		m.target(t, "a.", ok("192.0.2.1", "192.0.2.7"))
		m.say(1, four, ok("192.0.2.1"))
		got := make(map[feedKey][]netip.AddrPort)
		m.feeds(func(k feedKey, addr netip.AddrPort) { got[k] = append(got[k], addr) })
		want := "map[{_pg._tcp.test 33}:[192.0.2.1:1 192.0.2.1:2] {a 1}:[192.0.2.1:1 192.0.2.1:2] {db.test 1}:[192.0.2.1:5432]]"
		if fmt.Sprint(got) != want {
			t.Errorf("%v\nwant %v", got, want)
		}
		if lines := m.logs.find("peer refused: ebb listens there itself"); len(lines) != 2 { // by port
			t.Errorf("%v", lines)
		}
	})
}
