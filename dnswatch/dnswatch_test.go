package dnswatch

import (
	"cmp"
	"context"
	"fmt"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

func TestMain(m *testing.M) {
	if os.Getenv(responder) != "" {
		respond()
		return
	}
	goleak.VerifyTestMain(m)
}

func startServer(t testing.TB) *dnstest.Server {
	t.Helper()
	s, err := dnstest.Start("")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// rig is a resolver over scripted servers, with its counts of results and discards.
type rig struct {
	*resolver
	mu        sync.Mutex
	results   map[string]int
	discarded map[string]int
	onDiscard func() // may be nil
	warnings  []string
}

func newRig(t testing.TB, c ResolverConfig, servers ...*dnstest.Server) *rig {
	t.Helper()
	for _, s := range servers {
		c.Servers = append(c.Servers, "udp://"+s.Addr())
	}
	slow := patient()
	c.AttemptTimeout, c.Deadline = cmp.Or(c.AttemptTimeout, slow.AttemptTimeout), cmp.Or(c.Deadline, slow.Deadline)
	r := &rig{results: map[string]int{}, discarded: map[string]int{}}
	var err error
	r.resolver, err = newResolver(c, Options{
		OnQuery: func(_, _, result string) { r.mu.Lock(); r.results[result]++; r.mu.Unlock() },
		OnDiscard: func(reason string) {
			r.mu.Lock()
			defer r.mu.Unlock()
			if r.discarded[reason]++; r.onDiscard != nil {
				r.onDiscard()
			}
		},
		OnWarning: func(_, _, text string) { r.mu.Lock(); r.warnings = append(r.warnings, text); r.mu.Unlock() },
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func (r *rig) ask(name string, typ Type) Answer {
	return r.resolve(context.Background(), name, typ, nil)
}

func (r *rig) a(name string) Answer { return r.ask(name, TypeA) }

// text writes an answer in short: its kind and addresses.
func text(a Answer) string {
	s := a.Kind.String()
	for _, r := range a.Records {
		s += " " + strings.ReplaceAll(r.String(), " ", ",")
	}
	return s
}

func expect(t *testing.T, a Answer, want string) {
	t.Helper()
	if got := text(a); got != want {
		t.Errorf("%s %s: %s (error %v), expected %s", a.Name, a.Type, got, a.Err, want)
	}
}

func TestDNS6OrderOfRecordsDoesNotMatter(t *testing.T) {
	s := startServer(t)
	r := newRig(t, ResolverConfig{}, s)
	s.SetA("db.test", 1, "127.0.0.3", "127.0.0.2", "127.0.0.3")
	expect(t, r.a("db.test"), "ok 127.0.0.2 127.0.0.3")
}

func TestDNS9RcodesThatAreFailures(t *testing.T) {
	s := startServer(t)
	for _, code := range []int{2, 4, 5, 15} {
		s.Rcode("db.test", code)
		a := newRig(t, ResolverConfig{}, s).a("db.test")
		if a.Kind != KindFailure || a.Rcode != code || a.Err == nil || len(a.Records) > 0 {
			t.Errorf("rcode %d: %+v", code, a)
		}
	}
}

func TestDNS10And12EmptyAnswers(t *testing.T) {
	s := startServer(t)
	r := newRig(t, ResolverConfig{}, s)
	s.Set("nothing.test", "A")
	expect(t, r.a("nothing.test"), "nodata")
	a := r.a("missing.test")
	expect(t, a, "nxdomain")
	if a.TTL <= 0 || a.TTL > maxNegative {
		t.Errorf("a negative answer holds for %v", a.TTL)
	}
}

func TestDNS15SilentServerIsPassedOver(t *testing.T) {
	first, second := startServer(t), startServer(t)
	first.Silent("", true)
	second.SetA("db.test", 1, "127.0.0.2")
	r := newRig(t, ResolverConfig{}, first, second)
	exchange, silent := r.exchange, map[string]bool{"udp://" + first.Addr(): true}
	r.exchange = func(ctx context.Context, s server, q query) (*dns.Msg, error) { // who is silent has little time, who answers has all
		if silent[s.String()] {
			var cancel context.CancelFunc
			ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
			defer cancel()
		}
		return exchange(ctx, s, q)
	}
	for range 6 {
		expect(t, r.a("db.test"), "ok 127.0.0.2")
	}
	if n := first.QueryCount("db.test", "A"); n != failuresOut {
		t.Errorf("a server that is silent was asked %d times, expected %d", n, failuresOut)
	}
	silent["udp://"+second.Addr()] = true
	second.Silent("", true)
	for range failuresOut {
		r.a("db.test")
	}
	clear(silent)
	first.Silent("", false)
	first.SetA("db.test", 1, "127.0.0.9")
	expect(t, r.a("db.test"), "ok 127.0.0.9") // all are out: all are asked
}

func TestDNS16ServfailGoesToTheNextAtOnce(t *testing.T) {
	first, second := startServer(t), startServer(t)
	first.Rcode("db.test", 2)
	second.SetA("db.test", 1, "127.0.0.2")
	r := newRig(t, ResolverConfig{AttemptTimeout: time.Hour, Deadline: time.Hour}, first, second)
	expect(t, r.a("db.test"), "ok 127.0.0.2")
}

func TestDNS17ClosedPortGoesToTheNextAtOnce(t *testing.T) {
	gone, err := net.ListenPacket("udp", "127.0.0.9:0") // where no socket of this test, our question's included, can get the port
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	second := startServer(t)
	second.SetA("db.test", 1, "127.0.0.2")
	r := newRig(t, ResolverConfig{Servers: []string{"udp://" + gone.LocalAddr().String()}, AttemptTimeout: time.Hour, Deadline: time.Hour}, second)
	expect(t, r.a("db.test"), "ok 127.0.0.2")
	if r.results["unreachable"] != 1 {
		t.Errorf("results: %v", r.results)
	}
}

func TestDNS18NXDomainIsFinal(t *testing.T) {
	first, second := startServer(t), startServer(t)
	second.SetA("db.test", 1, "127.0.0.2")
	expect(t, newRig(t, ResolverConfig{}, first, second).a("db.test"), "nxdomain")
}

func TestDNS19TruncatedIsFetchedWholeByTCP(t *testing.T) {
	s := startServer(t)
	var all []string
	for i := range 60 {
		all = append(all, fmt.Sprintf("db.test. 1 IN A 127.0.1.%d", i+1))
	}
	s.Handle(func(q dnstest.Query) dnstest.Reply {
		if q.Transport == "udp" {
			return dnstest.Reply{RRs: all[:1], TC: true}
		}
		return dnstest.Reply{RRs: all}
	})
	if a := newRig(t, ResolverConfig{}, s).a("db.test"); len(a.Records) != 60 {
		t.Errorf("%d records of 60: %v", len(a.Records), a.Err)
	}
}

func TestDNS20TruncatedWithoutTCPIsAFailure(t *testing.T) {
	c, err := net.ListenPacket("udp", "127.0.0.1:0") // nothing listens on TCP there
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 1500)
		for {
			n, from, err := c.ReadFrom(b)
			if err != nil {
				return
			}
			b[2] |= 0x82 // QR and TC
			c.WriteTo(b[:n], from)
		}
	}()
	r := newRig(t, ResolverConfig{Servers: []string{"udp://" + c.LocalAddr().String()}})
	expect(t, r.a("db.test"), "failure")
	c.Close()
	<-done
}

func TestDNS21FormerrIsAskedOnceWithoutEDNS(t *testing.T) {
	s := startServer(t)
	s.SetA("db.test", 1, "127.0.0.2")
	s.Handle(func(q dnstest.Query) dnstest.Reply {
		if q.EDNS > 0 {
			return dnstest.Reply{Rcode: 1}
		}
		return dnstest.Reply{Default: true}
	})
	expect(t, newRig(t, ResolverConfig{}, s).a("db.test"), "ok 127.0.0.2")
	if q := s.Queries(); len(q) != 2 || q[0].EDNS != 1232 || q[1].EDNS != 0 {
		t.Errorf("queries: %+v", q)
	}
}

// What is not the reply is passed over, whatever it carries, and the reply that follows is used.
func TestDNS22To26LiesBeforeTheTruth(t *testing.T) {
	evil := []string{"db.test. 1 IN A 127.0.0.9"}
	loop := append(make([]byte, 12), 0xc0, 12, 0, 1, 0, 1)
	for what, lie := range map[string]struct {
		reply  dnstest.Reply
		reason string
	}{
		"22 wrong id":         {dnstest.Reply{RRs: evil, WrongID: true}, "id"},
		"23 other question":   {dnstest.Reply{RRs: []string{"evil.example. 1 IN A 127.0.0.9"}, Question: "evil.example"}, "question"},
		"25 other port":       {dnstest.Reply{RRs: evil, OtherPort: true}, ""}, // the kernel drops it
		"26 garbage":          {dnstest.Reply{Garbage: []byte("not a message at all, but long enough")}, "id"},
		"26 short":            {dnstest.Reply{Garbage: []byte("11 bytes...")}, "malformed"},
		"26 compression loop": {dnstest.Reply{Garbage: loop}, "id"},
		"a question":          {dnstest.Reply{RRs: evil, NotResponse: true}, "not_response"},
	} {
		t.Run(what, func(t *testing.T) {
			s := startServer(t)
			s.SetA("db.test", 1, "127.0.0.2")
			s.Handle(func(dnstest.Query) dnstest.Reply {
				return dnstest.Reply{Default: true, Before: []dnstest.Reply{lie.reply, lie.reply}}
			})
			r := newRig(t, ResolverConfig{}, s)
			expect(t, r.a("db.test"), "ok 127.0.0.2")
			if lie.reason != "" && r.discarded[lie.reason] != 2 {
				t.Errorf("discarded: %v, expected 2 for %s", r.discarded, lie.reason)
			}
			if r.results["ok"] != 1 || len(r.results) != 1 {
				t.Errorf("results: %v, a lie must not be an error", r.results)
			}
		})
	}
}

func TestDNSFloodOfLiesGoesToTCP(t *testing.T) {
	s := startServer(t)
	s.SetA("db.test", 1, "127.0.0.2")
	lies := make([]dnstest.Reply, maxMismatches)
	for i := range lies {
		lies[i] = dnstest.Reply{RRs: []string{"db.test. 1 IN A 127.0.0.9"}, WrongID: true}
	}
	s.Handle(func(q dnstest.Query) dnstest.Reply { return dnstest.Reply{Default: true, Before: lies} })
	expect(t, newRig(t, ResolverConfig{}, s).a("db.test"), "ok 127.0.0.2")
	if q := s.Queries(); len(q) != 2 || q[1].Transport != "tcp" {
		t.Errorf("queries: %+v", q)
	}
}

func TestDNS27PortsAndIDsAreFresh(t *testing.T) {
	s := startServer(t)
	s.SetA("db.test", 1, "127.0.0.2")
	r := newRig(t, ResolverConfig{}, s)
	for range 200 {
		r.a("db.test")
	}
	ports, ids, low := map[uint16]bool{}, map[uint16]bool{}, 0
	for _, q := range s.Queries() {
		ports[q.Source.Port()] = true
		ids[q.ID] = true
		if q.EDNS != 1232 {
			t.Fatalf("a question offers %d bytes", q.EDNS)
		}
		if q.ID < 1<<15 {
			low++
		}
	}
	if len(ports) < 190 || len(ids) < 190 || low < 60 || low > 140 {
		t.Errorf("200 queries: %d ports, %d ids, %d ids in the lower half", len(ports), len(ids), low)
	}
}

func TestDNS37Chains(t *testing.T) {
	s := startServer(t)
	chain := func(n int) (rrs []string) {
		for i := range n {
			rrs = append(rrs, fmt.Sprintf("c%d.test. %d IN CNAME c%d.test.", i, 100-i, i+1))
		}
		return append(rrs, fmt.Sprintf("c%d.test. 300 IN A 127.0.0.2", n), "other.test. 1 IN A 127.0.0.9")
	}
	s.Handle(func(q dnstest.Query) dnstest.Reply { return dnstest.Reply{RRs: chain(8)} })
	r := newRig(t, ResolverConfig{}, s)
	a := r.a("c0.test")
	expect(t, a, "ok 127.0.0.2")
	if a.TTL != 93*time.Second || len(a.Chain) != 8 || a.Chain[7] != "c8.test." {
		t.Errorf("TTL %v, chain %v: expected the smallest TTL of the chain, 93s", a.TTL, a.Chain)
	}
	s.Handle(func(q dnstest.Query) dnstest.Reply { return dnstest.Reply{RRs: chain(9)} })
	expect(t, r.a("c0.test"), "failure")

	s.Handle(func(q dnstest.Query) dnstest.Reply { // one link per reply
		switch q.Name {
		case "a.test":
			return dnstest.Reply{RRs: []string{"a.test. 9 IN CNAME b.test."}}
		case "b.test":
			return dnstest.Reply{RRs: []string{"b.test. 7 IN A 127.0.0.3"}}
		case "x.test":
			return dnstest.Reply{RRs: []string{"x.test. 9 IN CNAME y.test."}}
		default:
			return dnstest.Reply{RRs: []string{"y.test. 9 IN CNAME x.test."}}
		}
	})
	a = r.a("a.test")
	expect(t, a, "ok 127.0.0.3")
	if a.TTL != 7*time.Second {
		t.Errorf("TTL %v over two replies, expected 7s", a.TTL)
	}
	if a = r.a("x.test"); a.Kind != KindFailure || !strings.Contains(a.Err.Error(), "loop") {
		t.Errorf("a loop over two replies: %s, %v", text(a), a.Err)
	}
}

func TestDNSRecordsOfOthersAreNotTaken(t *testing.T) {
	s := startServer(t)
	s.Handle(func(dnstest.Query) dnstest.Reply {
		return dnstest.Reply{RRs: []string{
			"evil.test. 1 IN A 127.0.0.9", "db.test. 1 CH A 127.0.0.8", "db.test. 1 IN TXT \"127.0.0.7\"",
			"DB.Test. 5 IN A 127.0.0.2",
		}}
	})
	expect(t, newRig(t, ResolverConfig{}, s).a("db.test"), "ok 127.0.0.2")
}

func TestDNS54HostsFileFirst(t *testing.T) {
	s := startServer(t)
	path := t.TempDir() + "/hosts"
	write(t, path, "127.0.0.4 Db.Test alias # x\n::1 db.test\n127.0.0.5 db.test\nnonsense\n")
	r := newRig(t, ResolverConfig{HostsFile: path}, s)
	a := r.a("db.test")
	expect(t, a, "ok 127.0.0.4 127.0.0.5")
	if !a.Local {
		t.Error("an answer of the hosts file is not marked local")
	}
	expect(t, r.ask("db.test", TypeAAAA), "ok ::1")
	expect(t, r.ask("alias", TypeAAAA), "nodata")
	write(t, path, "127.0.0.6 db.test\n")
	if !r.changed() || r.changed() {
		t.Error("a changed file is seen once")
	}
	expect(t, r.a("db.test"), "ok 127.0.0.6")
	if n := len(s.Queries()); n != 0 {
		t.Errorf("%d questions for names of the hosts file", n)
	}
	s.Set("db.test", "SRV", "db.test. 1 IN SRV 0 0 5432 a.test.")
	expect(t, r.ask("db.test", TypeSRV), "ok 0,0,5432,a.test.") // a hosts file knows no services
}

func TestDNSLiteralsAndLocalhostStayHome(t *testing.T) {
	s := startServer(t)
	r := newRig(t, ResolverConfig{}, s)
	expect(t, r.a("192.0.2.1"), "ok 192.0.2.1")
	expect(t, r.ask("2001:db8::1", TypeAAAA), "ok 2001:db8::1")
	expect(t, r.ask("::ffff:192.0.2.1", TypeA), "ok 192.0.2.1")
	expect(t, r.a("localhost"), "ok 127.0.0.1")
	expect(t, r.ask("db.localhost.", TypeAAAA), "ok ::1")
	if n := len(s.Queries()); n != 0 {
		t.Errorf("%d questions went to the wire", n)
	}
}

func TestDNS55SearchList(t *testing.T) {
	conf := parseResolvConf("search a.test b.test\noptions ndots:1\n")
	c := &resolvConf{current: conf}
	for name, want := range map[string]string{
		"svc":  "svc.a.test. svc.b.test. svc.",
		"x.y":  "x.y. x.y.a.test. x.y.b.test.",
		"x.y.": "x.y.",
	} {
		if got := strings.Join(c.candidates(name), " "); got != want {
			t.Errorf("%s: %s, expected %s", name, got, want)
		}
	}
	if got := (*resolvConf)(nil).candidates("svc"); len(got) != 1 || got[0] != "svc." {
		t.Errorf("without resolv.conf: %v", got)
	}
}

func TestResolvConf(t *testing.T) {
	path := t.TempDir() + "/resolv.conf"
	write(t, path, "# c\nnameserver 192.0.2.1\nnameserver fe80::1%lo\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n"+
		"domain x\nsearch A.test. b.test\noptions ndots:2 timeout:3 attempts:4 rotate use-vc no-aaaa bogus:x ndots:-1\n")
	c := newResolvConf(path)
	s := c.settings()
	if len(s.servers) != 3 || s.servers[0].scheme != schemeTCP || s.ndots != 2 || s.timeout != 3*time.Second || s.attempts != 4 || !s.rotate || !s.noAAAA ||
		strings.Join(s.search, ",") != "a.test,b.test" {
		t.Errorf("settings: %+v", s)
	}
	write(t, path, "# being written\n")
	if c.reload(); len(c.settings().servers) != 3 {
		t.Error("a file without servers took the servers away")
	}
	write(t, path, "nameserver 192.0.2.9\n")
	if !c.reload() || len(c.settings().servers) != 1 {
		t.Error("a changed file was not read")
	}
}

func TestDNS57CapOnRecordsIsStable(t *testing.T) {
	s := startServer(t)
	var all []string
	for i := range 2000 {
		all = append(all, fmt.Sprintf("db.test. 1 IN A 127.1.%d.%d", i/250, 1+i%250))
	}
	s.Set("db.test", "A", all...)
	a := newRig(t, ResolverConfig{}, s).a("db.test")
	if len(a.Records) != maxRecords || a.Records[0].Addr.String() != "127.1.0.1" {
		t.Errorf("%d records", len(a.Records))
	}
}

func TestCheckName(t *testing.T) {
	long := strings.Repeat("a", 63)
	for _, good := range []string{"db", "db.example.com", "db.example.com.", "_pg._tcp.x", "1.2", long + "." + long + "." + long + "." + long[:61]} {
		if err := CheckName(good); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ".", "a..b", "-a", "a-", "a b", "ä", "a/b", long + "a", long + "." + long + "." + long + "." + long} {
		if CheckName(bad) == nil {
			t.Errorf("%q was taken", bad)
		}
	}
}

func TestResolverConfigRefusesBadServers(t *testing.T) {
	for _, bad := range [][]string{nil, {"1.2.3.4"}, {"udp://name"}, {"udp://1.2.3.4:0"}, {"udp://1.2.3.4:99999"}, {"doq://1.1.1.1#x"},
		{"udp://1.1.1.1#x"}, {"https://1.1.1.1"}, {"https://1.1.1.1/a?b"}, {"tls://dns.test"}, {"tls://1.1.1.1#-"}, {"udp://0.0.0.0"}, {"tcp://[ff02::1]:53"}, {"udp://1.1.1.1", "udp://1.1.1.1:53"}} {
		if err := (ResolverConfig{Name: "r", Servers: bad}).Validate(); err == nil || !strings.Contains(err.Error(), `"r"`) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	for _, good := range []string{"system", "udp://1.2.3.4", "udp://1.2.3.4:5353", "udp://[::1]:53", "udp://[::1]", "udp://::1",
		"tcp://1.2.3.4", "tls://1.2.3.4", "tls://[::1]:853#dns.test", "https://1.2.3.4/dns-query", "https://[::1]:8443/dns-query#dns.test"} {
		if err := (ResolverConfig{Name: "r", Servers: []string{good}}).Validate(); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}
