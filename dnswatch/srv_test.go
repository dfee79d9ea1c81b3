package dnswatch

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

const service = "_pg._tcp.db.test"

func srv(lines ...string) dnstest.Reply {
	r := dnstest.Reply{}
	for _, l := range lines {
		r.RRs = append(r.RRs, service+". "+l)
	}
	return r
}

func TestDNS44SRVRecords(t *testing.T) {
	s := startServer(t)
	r := newRig(t, ResolverConfig{}, s)
	reply := srv("30 IN SRV 20 0 5432 c.db.test.", "20 IN SRV 10 1 5433 B.DB.test.", "40 IN SRV 10 3 5432 a.db.test.",
		"40 IN SRV 10 3 5432 a.db.test.", "40 IN SRV 10 2 5432 a.db.test.", "40 IN SRV 10 65535 5434 a.db.test.")
	s.Handle(func(dnstest.Query) dnstest.Reply { return reply })
	a := r.ask(service, TypeSRV)
	expect(t, a, "ok 10,3,5432,a.db.test. 10,65535,5434,a.db.test. 10,1,5433,b.db.test. 20,0,5432,c.db.test.")
	if a.TTL != 20*time.Second || a.Records[0].TTL != 40*time.Second {
		t.Errorf("TTL %v, of the first record %v", a.TTL, a.Records[0].TTL)
	}
}

func TestDNS49OtherRecordsAreIgnored(t *testing.T) {
	s := startServer(t)
	reply := srv("9 IN SRV 1 1 5432 a.db.test.", "9 IN TXT \"x\"",
		"9 IN RRSIG SRV 8 4 9 20300101000000 20200101000000 1 test. AAAA", "9 IN A 127.0.0.9")
	reply.RRs = append(reply.RRs, "other.test. 9 IN SRV 0 0 1 evil.test.", service+". 9 CH SRV 0 0 1 evil.test.")
	reply.Extra = []string{
		"a.db.test. 7 IN A 127.0.0.2", "A.db.test. 8 IN AAAA ::1", "evil.test. 9 IN A 127.0.0.9", "a.db.test. 9 CH A 127.0.0.8",
		"a.db.test. 9 IN TXT \"x\"", "a.db.test. 9 IN RRSIG A 8 4 9 20300101000000 20200101000000 1 test. AAAA",
	}
	s.Handle(func(dnstest.Query) dnstest.Reply { return reply })
	a := newRig(t, ResolverConfig{}, s).ask(service, TypeSRV)
	expect(t, a, "ok 1,1,5432,a.db.test.")
	if len(a.Hints) != 2 || a.Hints[0].Addr.String() != "127.0.0.2" || a.Hints[1].Addr.String() != "::1" ||
		a.Hints[0].Target != "a.db.test." || a.Hints[0].TTL != 7*time.Second {
		t.Errorf("hints: %+v", a.Hints)
	}
	a = newRig(t, ResolverConfig{}, s).a(service)
	if expect(t, a, "ok 127.0.0.9"); len(a.Hints) > 0 {
		t.Errorf("hints for addresses: %+v", a.Hints)
	}
}

func TestDNS50NoService(t *testing.T) {
	s := startServer(t)
	r := newRig(t, ResolverConfig{}, s)
	for want, reply := range map[string]dnstest.Reply{
		"nodata":                   srv("99 IN SRV 0 0 1 ."),
		"ok 1,0,5432,a.db.test.":   srv("9 IN SRV 0 0 1 .", "9 IN SRV 1 0 5432 a.db.test."),
		"ok 0,0,5432,a.db.test.":   srv("9 IN SRV 0 0 0 b.db.test.", "9 IN SRV 0 0 5432 a.db.test."),
		"ok 2,0,5432,127.0.0.1.":   srv("9 IN SRV 2 0 5432 127.0.0.1."), // a name like any other: asked for, and not found
		"failure":                  srv("9 IN SRV 0 0 0 b.db.test."),
		"ok 3,0,5432,a.db.test.":   srv("9 IN SRV 3 0 5432 a.db.test.", "9 IN SRV 0 0 5432 localhost.", `9 IN SRV 0 0 5432 a\032b.test.`),
		"ok 4,0,5432,_a_.db.test.": srv("9 IN SRV 4 0 5432 _A_.db.test."),
	} {
		s.Handle(func(dnstest.Query) dnstest.Reply { return reply })
		a := r.ask(service, TypeSRV)
		expect(t, a, want)
		if a.Kind == KindNoData && a.TTL > maxNegative {
			t.Errorf("no service holds for %v", a.TTL)
		}
	}
}

// A target that cannot be resolved takes nothing from the others: each is a watch of its own.
func TestDNS48TargetsAreWatchedOnTheirOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: func(_ int, q question) (*dns.Msg, error) {
			if q.name == "bad.test." {
				return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeServerFailure}}, nil
			}
			return reply(q, 1, "192.0.2.1"), nil
		}}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		_, good := listen(t, w, Watch{Name: "good.test."})
		_, bad := listen(t, w, Watch{Name: "bad.test."})
		_, same := listen(t, w, Watch{Name: "good.test"})
		time.Sleep(time.Minute)
		synctest.Wait()
		for _, a := range good() {
			expect(t, a, "ok 192.0.2.1")
		}
		for _, a := range bad() {
			expect(t, a, "failure")
		}
		if len(good()) < 50 || len(same()) != len(good()) || len(w.Status()) != 2 {
			t.Errorf("%d and %d answers, status %+v: expected the same entry with and without a dot", len(good()), len(same()), w.Status())
		}
	})
}

func TestDNS46And47ChangesOfServicesAreChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		lines := []string{"0 1 5432 a.test.", "0 1 5433 a.test.", "0 2 5433 a.test.", "1 2 5433 a.test.", "1 2 5433 a.test."}
		f := &fake{reply: func(n int, q question) (*dns.Msg, error) {
			rr, err := dns.NewRR(fmt.Sprintf("%s %d IN SRV %s", q.name, n, lines[min(n, len(lines))-1]))
			return &dns.Msg{Answer: []dns.RR{rr}}, err
		}}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		var serials []uint64
		var texts []string
		_, err := w.Subscribe(Watch{Resolver: "r", Name: service, Type: TypeSRV, MaxRefresh: time.Second, Notify: func(a Answer) {
			serials = append(serials, a.Serial)
			texts = append(texts, text(a))
		}})
		if err != nil {
			t.Fatal(err)
		}
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if got := fmt.Sprint(serials[:5]); got != "[1 2 3 4 4]" {
			t.Errorf("serials %s of %v", got, texts[:5])
		}
		if got := w.Status()[0].Records; len(got) != 1 || !strings.Contains(got[0], "1 2 5433 a.test.") {
			t.Errorf("status: %v", got)
		}
	})
}
