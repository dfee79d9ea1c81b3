package lb

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
)

var epoch0 = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func ok(addrs ...string) dnswatch.Answer {
	a := dnswatch.Answer{Kind: dnswatch.KindOK}
	for _, s := range addrs {
		a.Records = append(a.Records, dnswatch.Record{Addr: netip.MustParseAddr(s)})
	}
	return a
}

var (
	nodata   = dnswatch.Answer{Kind: dnswatch.KindNoData}
	nxdomain = dnswatch.Answer{Kind: dnswatch.KindNXDomain}
	failure  = dnswatch.Answer{Kind: dnswatch.KindFailure}
)

// at is one step of a set's life: an answer, or only time that passes, and what is in force after it.
type at struct {
	second float64
	answer *dnswatch.Answer
	want   []string
}

func say(second float64, a dnswatch.Answer, want ...string) at { return at{second, &a, want} }
func pass(second float64, want ...string) at                   { return at{second, nil, want} }

func TestDecisionTable(t *testing.T) {
	rule := answerRule{onEmpty: "hold", emptyHold: 30 * time.Second, maxStale: 72 * time.Hour}
	with := func(change func(*answerRule)) answerRule {
		r := rule
		change(&r)
		return r
	}
	for _, tc := range []struct {
		name  string
		rule  answerRule
		steps []at
	}{
		{"DNS2 a change applies at once", rule, []at{say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, ok("192.0.2.3"), "192.0.2.3")}},
		{"DNS6 order and repetition are no change", rule, []at{
			say(0, ok("192.0.2.2", "192.0.2.3"), "192.0.2.2", "192.0.2.3"), say(1, ok("192.0.2.3", "192.0.2.2", "192.0.2.3"), "192.0.2.2", "192.0.2.3"),
		}},
		{"DNS9 a failure changes nothing", rule, []at{
			say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, failure, "192.0.2.2"), say(100, failure, "192.0.2.2"), pass(3600, "192.0.2.2"),
		}},
		{"max_stale off: a set is never stale", with(func(r *answerRule) { r.maxStale = 0 }), []at{
			say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, failure, "192.0.2.2"), pass(1e7, "192.0.2.2"),
		}},
		{"on_error remove: one failure empties, one answer fills", with(func(r *answerRule) { r.onError = "remove" }), []at{
			say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, failure), say(2, failure), say(3, ok("192.0.2.3"), "192.0.2.3"), say(4, nxdomain, "192.0.2.3"),
		}},
		{"DNS10 an NXDOMAIN that passes is not seen", rule, []at{
			say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, nxdomain, "192.0.2.2"), say(6, nxdomain, "192.0.2.2"), say(11, ok("192.0.2.2"), "192.0.2.2"),
			say(20, nxdomain, "192.0.2.2"), say(32, nxdomain, "192.0.2.2"), pass(49, "192.0.2.2"), pass(50),
		}},
		{"DNS11 an NXDOMAIN that stays empties after the hold", rule, []at{
			say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, nxdomain, "192.0.2.2"), say(6, nxdomain, "192.0.2.2"), pass(30, "192.0.2.2"), pass(31),
		}},
		{"DNS11 one empty answer is never enough", rule, []at{
			say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, nxdomain, "192.0.2.2"), pass(100, "192.0.2.2"), say(101, nxdomain),
		}},
		{"DNS12 nodata is held like nxdomain", rule, []at{
			say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, nodata, "192.0.2.2"), say(6, nxdomain, "192.0.2.2"), pass(31),
		}},
		{"a failure stops the hold from running out", rule, []at{
			say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, nxdomain, "192.0.2.2"), say(2, nxdomain, "192.0.2.2"), say(3, failure, "192.0.2.2"),
			pass(40, "192.0.2.2"), say(41, nxdomain),
		}},
		{"DNS13 remove", with(func(r *answerRule) { r.onEmpty = "remove" }), []at{say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, nxdomain)}},
		{"DNS13 keep", with(func(r *answerRule) { r.onEmpty = "keep" }), []at{
			say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, nxdomain, "192.0.2.2"), say(2, nodata, "192.0.2.2"), pass(1e6, "192.0.2.2"),
		}},
		{"DNS14 an emptied set fills again", rule, []at{
			say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, nxdomain, "192.0.2.2"), say(6, nxdomain, "192.0.2.2"), pass(31), say(40, ok("192.0.2.5"), "192.0.2.5"),
		}},
		{"an absent address is held", with(func(r *answerRule) { r.absentHold = 10 * time.Second }), []at{
			say(0, ok("192.0.2.2", "192.0.2.3"), "192.0.2.2", "192.0.2.3"), say(1, ok("192.0.2.3"), "192.0.2.2", "192.0.2.3"),
			say(6, ok("192.0.2.3"), "192.0.2.2", "192.0.2.3"), pass(10, "192.0.2.2", "192.0.2.3"), pass(11, "192.0.2.3"),
		}},
		{"an absent address that returns is not absent", with(func(r *answerRule) { r.absentHold = 10 * time.Second }), []at{
			say(0, ok("192.0.2.2", "192.0.2.3"), "192.0.2.2", "192.0.2.3"), say(1, ok("192.0.2.3"), "192.0.2.2", "192.0.2.3"),
			say(6, ok("192.0.2.2", "192.0.2.3"), "192.0.2.2", "192.0.2.3"), pass(20, "192.0.2.2", "192.0.2.3"),
		}},
		{"an absence runs out while the set is held", with(func(r *answerRule) { r.absentHold = 5 * time.Second }), []at{
			say(0, ok("192.0.2.2", "192.0.2.3"), "192.0.2.2", "192.0.2.3"), say(1, ok("192.0.2.3"), "192.0.2.2", "192.0.2.3"),
			say(2, nxdomain, "192.0.2.2", "192.0.2.3"), say(3, nxdomain, "192.0.2.2", "192.0.2.3"), pass(6, "192.0.2.3"), pass(32),
		}},
		{"what is forbidden is left out", rule, []at{say(0, ok("127.0.0.2", "192.0.2.2", "0.0.0.0"), "192.0.2.2")}},
		{"all forbidden is a failure", rule, []at{say(0, ok("192.0.2.2"), "192.0.2.2"), say(1, ok("127.0.0.2"), "192.0.2.2"), say(100, ok("127.0.0.2"), "192.0.2.2")}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.rule.allowed = addressAllowed(nil)
			r := &rrset{rule: tc.rule}
			for _, s := range tc.steps {
				now := epoch0.Add(time.Duration(s.second * float64(time.Second)))
				if s.answer != nil {
					r.take(*s.answer, now)
				}
				if due := r.expire(now); !due.IsZero() && !due.After(now) {
					t.Errorf("at %v s: due at %v, which is over", s.second, due.Sub(epoch0))
				}
				var have []string
				for _, a := range r.inForce {
					have = append(have, a.String())
				}
				if !slices.Equal(have, s.want) {
					t.Errorf("at %v s: %v, want %v", s.second, have, s.want)
				}
			}
		})
	}
}

// The moment that expire names is the moment at which something happens.
func TestExpireNamesTheNextMoment(t *testing.T) {
	r := &rrset{rule: answerRule{onEmpty: "hold", emptyHold: 30 * time.Second, absentHold: 5 * time.Second, maxStale: time.Hour, allowed: addressAllowed(nil)}}
	sec := func(s float64) time.Time { return epoch0.Add(time.Duration(s * float64(time.Second))) }
	r.take(ok("192.0.2.2", "192.0.2.3"), sec(0))
	if due := r.expire(sec(0)); !due.IsZero() {
		t.Errorf("nothing is held, but due at %v", due)
	}
	r.take(ok("192.0.2.3"), sec(1))
	if due := r.expire(sec(1)); !due.Equal(sec(6)) {
		t.Errorf("due at %v, want the end of the absence", due.Sub(epoch0))
	}
	r.take(nxdomain, sec(2))
	r.take(nxdomain, sec(3))
	if due := r.expire(sec(3)); !due.Equal(sec(6)) {
		t.Errorf("due at %v, want the end of the absence", due.Sub(epoch0))
	}
	if due := r.expire(sec(6)); !due.Equal(sec(32)) {
		t.Errorf("due at %v, want the end of the hold", due.Sub(epoch0))
	}
	r.take(failure, sec(7))
	if due := r.expire(sec(7)); !due.Equal(sec(7 + 3600)) {
		t.Errorf("due at %v, want max_stale", due.Sub(epoch0))
	}
	if r.stale(sec(3606)) || !r.stale(sec(3607)) {
		t.Error("stale at the wrong moment")
	}
	r.take(ok("192.0.2.3"), sec(4000))
	if r.stale(sec(1e6)) {
		t.Error("stale after an answer")
	}
}

func TestLocalAnswersAreNotFiltered(t *testing.T) {
	r := &rrset{rule: answerRule{allowed: addressAllowed(nil)}}
	a := ok("127.0.0.2")
	a.Local = true
	if filtered := r.take(a, epoch0); len(filtered) != 0 || len(r.inForce) != 1 {
		t.Errorf("filtered %v, in force %v", filtered, r.inForce)
	}
}

func TestAddressAllowed(t *testing.T) {
	for _, tc := range []struct {
		addr  string
		allow []string
		want  bool
	}{
		{"192.0.2.1", nil, true},
		{"2001:db8::1", nil, true},
		{"10.0.0.1", nil, true},
		{"127.0.0.1", nil, false},
		{"::1", nil, false},
		{"::ffff:127.0.0.1", nil, false},
		{"127.0.0.1", []string{"loopback"}, true},
		{"::1", []string{"link-local"}, false},
		{"169.254.169.254", nil, false},
		{"169.254.169.254", []string{"loopback"}, false},
		{"169.254.169.254", []string{"link-local"}, true},
		{"fe80::1", nil, false},
		{"0.0.0.0", []string{"loopback", "link-local"}, false},
		{"::", []string{"loopback", "link-local"}, false},
		{"::ffff:0.0.0.0", []string{"loopback", "link-local"}, false},
		{"224.0.0.1", []string{"loopback", "link-local"}, false},
		{"ff02::1", []string{"loopback", "link-local"}, false},
		{"255.255.255.255", []string{"loopback", "link-local"}, false},
	} {
		if got := addressAllowed(tc.allow)(netip.MustParseAddr(tc.addr)); got != tc.want {
			t.Errorf("%s with %q: %v", tc.addr, tc.allow, got)
		}
	}
}
