package dnswatch

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

// patient are timeouts that a slow machine does not reach, and that no test of success waits for.
func patient(servers ...string) ResolverConfig {
	return ResolverConfig{Servers: servers, AttemptTimeout: 20 * time.Second, Deadline: time.Minute}
}

// front is a server with certificates for dns.test, and a file with its CA.
type front struct {
	*dnstest.Server
	tls, https, caFile string
}

func startFront(t testing.TB) front {
	t.Helper()
	f := front{Server: startServer(t)}
	ca, err := dnstest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	if f.tls, err = f.ServeTLS(ca, "dns.test"); err != nil {
		t.Fatal(err)
	}
	if f.https, err = f.ServeHTTPS(ca, "dns.test"); err != nil {
		t.Fatal(err)
	}
	f.caFile = filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(f.caFile, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	f.SetA("db.test", 1, "127.0.0.2")
	return f
}

// connections counts from how many sockets the questions came.
func connections(queries []dnstest.Query, transport string) int {
	ports := map[uint16]bool{}
	for _, q := range queries {
		if q.Transport == transport {
			ports[q.Source.Port()] = true
		}
	}
	return len(ports)
}

// kept are the transports with one kept connection.
func kept(f front) map[string]string {
	return map[string]string{
		"tcp": "tcp://" + f.Addr(), "tls": "tls://" + f.tls + "#dns.test", "https": "https://" + f.https + "/dns-query#dns.test",
	}
}

func TestDNS61OneConnectionIsKept(t *testing.T) {
	f := startFront(t)
	for transport, server := range kept(f) {
		t.Run(transport, func(t *testing.T) {
			c := patient(server)
			c.CAFile = f.caFile
			r := newRig(t, c)
			for range 10 {
				expect(t, r.a("db.test"), "ok 127.0.0.2")
			}
			var all sync.WaitGroup
			for range 50 {
				all.Go(func() { expect(t, r.a("db.test"), "ok 127.0.0.2") })
			}
			all.Wait()
			if n := connections(f.Queries(), transport); n != 1 {
				t.Errorf("%d connections for 60 questions, expected 1", n)
			}
			if r.results["ok"] != 60 || len(r.results) != 1 {
				t.Errorf("results: %v", r.results)
			}
			for _, q := range f.Queries() {
				if q.Transport == "https" && q.ID != 0 {
					t.Error("a question over HTTPS has an id: no cache can serve it")
				}
			}
		})
	}
}

// Questions that come at the same moment wait for one handshake.
func TestDNSFirstQuestionsShareAConnection(t *testing.T) {
	f := startFront(t)
	for transport, server := range kept(f) {
		c := patient(server)
		c.CAFile = f.caFile
		r := newRig(t, c)
		var all sync.WaitGroup
		for range 50 {
			all.Go(func() { expect(t, r.a("db.test"), "ok 127.0.0.2") })
		}
		all.Wait()
		if n := f.Connections(transport); n != 1 {
			t.Errorf("%s: %d connections, expected 1", transport, n)
		}
	}
}

func TestDNSKeptHTTPSConnectionThatEndedIsReplaced(t *testing.T) {
	f := startFront(t)
	c := patient(kept(f)["https"])
	c.CAFile, c.Attempts = f.caFile, 1
	r := newRig(t, c)
	before := 0
	for range 5 {
		expect(t, r.a("db.test"), "ok 127.0.0.2")
		got := f.Connections("https")
		if got <= before || got > before+2 { // a dial that was begun for an attempt on the old one may come too
			t.Errorf("%d connections after %d", got, before)
		}
		before = got
		f.Hangup()
	}
	expect(t, r.a("db.test"), "ok 127.0.0.2")
	asked := f.QueryCount("db.test", "A")
	f.Silent("", true) // while questions are out
	var out sync.WaitGroup
	for range 3 {
		out.Go(func() { expect(t, r.a("db.test"), "ok 127.0.0.2") })
	}
	waitFor(t, func() bool { return f.QueryCount("db.test", "A") == asked+3 })
	f.Silent("", false)
	f.Hangup()
	out.Wait()
	if r.results["ok"] != 9 || len(r.results) != 1 {
		t.Errorf("results: %v", r.results)
	}
}

// A slow answer does not hold up those behind it.
func TestDNSStreamsArePipelined(t *testing.T) {
	f := startFront(t)
	slow := make(chan struct{})
	f.SetA("slow.test", 1, "127.0.0.3")
	f.Handle(func(q dnstest.Query) dnstest.Reply {
		if q.Name == "slow.test" {
			<-slow
		}
		return dnstest.Reply{Default: true}
	})
	for _, server := range kept(f) {
		c := patient(server)
		c.CAFile = f.caFile
		r := newRig(t, c)
		expect(t, r.a("db.test"), "ok 127.0.0.2")
		var behind sync.WaitGroup
		behind.Go(func() { expect(t, r.a("slow.test"), "ok 127.0.0.3") })
		expect(t, r.a("db.test"), "ok 127.0.0.2")
		slow <- struct{}{}
		behind.Wait()
	}
}

func TestDNSKeptConnectionThatEndedIsReplaced(t *testing.T) {
	f := startFront(t)
	for _, transport := range []string{"tcp", "tls"} {
		c := patient(kept(f)[transport])
		c.CAFile, c.Attempts = f.caFile, 1
		r := newRig(t, c)
		for range 5 {
			expect(t, r.a("db.test"), "ok 127.0.0.2")
			f.Hangup()
		}
		f.Handle(func(q dnstest.Query) dnstest.Reply { // while the question is out
			return dnstest.Reply{Default: true, Hangup: connections(f.Queries(), transport) < 6}
		})
		expect(t, r.a("db.test"), "ok 127.0.0.2")
		f.Handle(func(q dnstest.Query) dnstest.Reply { return dnstest.Reply{Hangup: true} })
		before := len(f.Queries())
		a := r.a("db.test")
		expect(t, a, "failure")
		if n := len(f.Queries()) - before; n > 2 || !strings.Contains(a.Err.Error(), "lost") {
			t.Errorf("%s: a server that hangs up was asked %d times in one attempt: %v", transport, n, a.Err)
		}
		before = len(f.Queries())
		expect(t, newRig(t, c).a("db.test"), "failure")
		if n := len(f.Queries()) - before; n != 1 {
			t.Errorf("%s: a server that hung up on a new connection was asked %d times in one attempt", transport, n)
		}
		f.Handle(nil)
		if r.results["ok"] != 6 || r.results["error"] != 1 {
			t.Errorf("%s: results %v", transport, r.results)
		}
	}
}

// What is idle is let go, what waits for a slow answer is not.
func TestDNSIdleConnectionsAreLetGo(t *testing.T) {
	f := startFront(t)
	c := patient("tcp://" + f.Addr())
	r := newRig(t, c)
	s := r.wire.transport(r.servers()[0]).(*stream)
	s.idle = 50 * time.Millisecond
	f.Handle(func(dnstest.Query) dnstest.Reply { return dnstest.Reply{Default: true, Delay: 300 * time.Millisecond} })
	for n := range 2 {
		expect(t, r.a("db.test"), "ok 127.0.0.2")
		waitFor(t, func() bool { s.mu.Lock(); defer s.mu.Unlock(); return !s.conn.alive() })
		if got := connections(f.Queries(), "tcp"); got != n+1 {
			t.Errorf("%d connections, expected %d", got, n+1)
		}
	}
	if r.results["ok"] != 2 || len(r.results) != 1 {
		t.Errorf("results: %v", r.results)
	}
}

func TestDNS61CertificatesAreVerified(t *testing.T) {
	f := startFront(t)
	for what, c := range map[string]struct{ server, ca, want string }{
		"tls wrong name":     {"tls://" + f.tls + "#other.test", f.caFile, "not other.test"},
		"https wrong name":   {"https://" + f.https + "/dns-query#other.test", f.caFile, "not other.test"},
		"tls unknown CA":     {"tls://" + f.tls + "#dns.test", "", "unknown authority"},
		"https unknown CA":   {"https://" + f.https + "/dns-query#dns.test", "", "unknown authority"},
		"tls by address":     {"tls://" + f.tls, f.caFile, ""},
		"https by address":   {"https://" + f.https + "/dns-query", f.caFile, ""},
		"https without h2":   {"https://" + f.tls + "/dns-query#dns.test", f.caFile, "HTTP/2"},
		"https, other path":  {"https://" + f.https + "/query#dns.test", f.caFile, "HTTP status 400"},
		"tls to a plain one": {"tls://" + f.Addr() + "#dns.test", f.caFile, ""},
	} {
		t.Run(what, func(t *testing.T) {
			before := len(f.Queries())
			conf := patient(c.server)
			conf.CAFile, conf.Attempts = c.ca, 3
			if what == "tls to a plain one" {
				conf.AttemptTimeout = 100 * time.Millisecond
			}
			r := newRig(t, conf)
			a := r.a("db.test")
			if strings.HasSuffix(what, "by address") {
				expect(t, a, "ok 127.0.0.2")
				return
			}
			expect(t, a, "failure")
			if a.Err == nil || !strings.Contains(a.Err.Error(), c.want) || !strings.Contains(a.Err.Error(), "127.0.0.1") {
				t.Errorf("error: %v, expected %q", a.Err, c.want)
			}
			if n := len(f.Queries()); n != before {
				t.Error("a question went to a server that is not verified")
			}
			if c.want != "" && r.results["certificate"]+r.results["http"] != 1 {
				t.Errorf("results %v, expected one try: another will not change it", r.results)
			}
		})
	}
}

func TestDNSCAFileIsReadAtStart(t *testing.T) {
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, empty + ".not"} {
		_, err := New(Options{Resolvers: []ResolverConfig{{Name: "r", Servers: []string{"tls://127.0.0.1"}, CAFile: file}}})
		if err == nil || !strings.Contains(err.Error(), file) {
			t.Errorf("%s: %v", file, err)
		}
	}
}

// Over a stream nobody else can reply: what is not the reply is the server's fault, and final.
func TestDNS23RepliesToOtherQuestionsOverStreams(t *testing.T) {
	f := startFront(t)
	for _, server := range kept(f) {
		for reason, reply := range map[string]dnstest.Reply{
			"question":     {RRs: []string{"evil.example. 1 IN A 127.0.0.9"}, Question: "evil.example"},
			"not_response": {Default: true, NotResponse: true},
		} {
			f.Handle(func(dnstest.Query) dnstest.Reply { return reply })
			c := patient(server)
			c.CAFile = f.caFile
			r := newRig(t, c)
			expect(t, r.a("db.test"), "failure")
			if r.results["malformed"] != 1 || r.discarded[reason] != 1 {
				t.Errorf("%s: results %v, discarded %v, expected one %s", server, r.results, r.discarded, reason)
			}
		}
	}
}

func TestDNSHTTPSResponses(t *testing.T) {
	f := startFront(t)
	second := startServer(t)
	second.SetA("db.test", 1, "127.0.0.9")
	c := patient(kept(f)["https"])
	c.CAFile = f.caFile
	r := newRig(t, c, second)
	f.SetA("db.test", 100, "127.0.0.2")
	f.Handle(func(dnstest.Query) dnstest.Reply { return dnstest.Reply{Default: true, Age: 60} })
	a := r.a("db.test")
	expect(t, a, "ok 127.0.0.2")
	if a.TTL != 40*time.Second {
		t.Errorf("TTL %v of a response that is 60 s old, expected 40s", a.TTL)
	}
	f.Handle(func(dnstest.Query) dnstest.Reply { return dnstest.Reply{Default: true, Age: 1 << 30} })
	if a = r.a("db.test"); a.TTL != 0 {
		t.Errorf("TTL %v of a response that is too old", a.TTL)
	}
	for what, reply := range map[string]dnstest.Reply{
		"http":      {Default: true, Status: 503},
		"malformed": {Garbage: bytes.Repeat([]byte{0}, 100)},
	} {
		f.Handle(func(dnstest.Query) dnstest.Reply { return reply })
		expect(t, r.a("db.test"), "ok 127.0.0.9")
		if r.results[what] != 1 {
			t.Errorf("results %v, expected one %s", r.results, what)
		}
	}
	f.Handle(func(dnstest.Query) dnstest.Reply { return dnstest.Reply{Garbage: make([]byte, 70000)} })
	expect(t, r.a("db.test"), "ok 127.0.0.9")
	if r.results["malformed"] != 2 {
		t.Errorf("results %v, expected a second malformed", r.results)
	}
}

func TestDNSOneByteAtATime(t *testing.T) {
	f := startFront(t)
	for _, transport := range []string{"tcp", "tls"} {
		c := patient(kept(f)[transport])
		c.CAFile = f.caFile
		f.Handle(func(dnstest.Query) dnstest.Reply { return dnstest.Reply{Default: true, Dribble: time.Millisecond} })
		expect(t, newRig(t, c).a("db.test"), "ok 127.0.0.2")
		f.Handle(func(dnstest.Query) dnstest.Reply { return dnstest.Reply{Default: true, Dribble: time.Hour} })
		c.AttemptTimeout, c.Attempts = 50*time.Millisecond, 2
		r := newRig(t, c)
		expect(t, r.a("db.test"), "failure")
		if r.results["timeout"] != 2 {
			t.Errorf("%s: results %v", transport, r.results)
		}
	}
}

// A length that lies ends the attempt, not the resolver: the next one has a connection of its own.
func TestDN10LengthsThatLie(t *testing.T) {
	f := startFront(t)
	f.SetA("db.test", 1, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	for _, lie := range []int{1, 11, 12, 40, 65535} {
		c := ResolverConfig{Servers: []string{"tcp://" + f.Addr()}, AttemptTimeout: 100 * time.Millisecond, Attempts: 1, Deadline: time.Minute}
		r := newRig(t, c)
		f.Handle(func(dnstest.Query) dnstest.Reply { return dnstest.Reply{Default: true, Length: lie} })
		a := r.a("db.test")
		expect(t, a, "failure")
		f.Handle(nil)
		r.conf.AttemptTimeout = 20 * time.Second
		expect(t, r.a("db.test"), "ok 127.0.0.2 127.0.0.3 127.0.0.4")
		if n := connections(f.Queries(), "tcp"); n < 2 {
			t.Errorf("a length of %d: the connection was kept", lie)
		}
	}
}

func TestDN10TruncatedAndTCPNeverAnswers(t *testing.T) {
	s := startServer(t)
	s.Handle(func(q dnstest.Query) dnstest.Reply {
		return dnstest.Reply{RRs: []string{"db.test. 1 IN A 127.0.0.9"}, TC: true, Drop: q.Transport == "tcp"}
	})
	r := newRig(t, ResolverConfig{Attempts: 1, AttemptTimeout: time.Second}, s)
	a := r.a("db.test")
	expect(t, a, "failure")
	if !strings.Contains(a.Err.Error(), "tcp://") || !strings.Contains(a.Err.Error(), "truncated over UDP") {
		t.Errorf("error: %v", a.Err)
	}
	if r.results["truncated"] != 1 || r.results["timeout"] != 1 {
		t.Errorf("results: %v", r.results)
	}

	// The process is told to end meanwhile.
	asked := make(chan struct{}, 16)
	s.Handle(func(q dnstest.Query) dnstest.Reply {
		if q.Transport == "tcp" {
			asked <- struct{}{}
		}
		return dnstest.Reply{TC: true, Drop: q.Transport == "tcp"}
	})
	c := patient("udp://" + s.Addr())
	c.Name = "r"
	w, err := New(Options{Resolvers: []ResolverConfig{c}})
	if err != nil {
		t.Fatal(err)
	}
	_, answers := listen(t, w, Watch{})
	<-asked
	w.Close()
	if len(answers()) > 0 {
		t.Errorf("an answer after the end: %+v", answers())
	}
}

func TestDNS19TruncatedOverTCPIsAFailure(t *testing.T) {
	s := startServer(t)
	s.Handle(func(q dnstest.Query) dnstest.Reply {
		return dnstest.Reply{RRs: []string{"db.test. 1 IN A 127.0.0.9"}, TC: true}
	})
	r := newRig(t, ResolverConfig{}, s)
	expect(t, r.a("db.test"), "failure")
	if n := s.QueryCount("db.test", "A"); n != 2 {
		t.Errorf("%d questions, expected UDP and TCP once: another round will not change it", n)
	}
}

// Garbage with the right id may be a forger's or the server's; TCP tells.
func TestDNS26GarbageWithTheRightID(t *testing.T) {
	s := startServer(t)
	s.SetA("db.test", 1, "127.0.0.2")
	s.Handle(func(q dnstest.Query) dnstest.Reply {
		if q.Transport == "tcp" {
			return dnstest.Reply{Default: true}
		}
		return dnstest.Reply{Default: true, Mangle: func(b []byte) []byte { return append(b[:12], 0xc0, 12, 0, 1, 0, 1) }}
	})
	r := newRig(t, ResolverConfig{}, s)
	expect(t, r.a("db.test"), "ok 127.0.0.2")
	if r.results["malformed"] != 1 || r.results["ok"] != 1 {
		t.Errorf("results: %v", r.results)
	}
}

func TestDNS62CaseRandomization(t *testing.T) {
	s := startServer(t)
	const name = "a-long-name-with-many-letters.db.test"
	s.SetA(name, 1, "127.0.0.2")
	r := newRig(t, ResolverConfig{CaseRandomization: true}, s)
	for range 5 {
		expect(t, r.a(name), "ok 127.0.0.2")
	}
	mixed := map[string]bool{}
	for _, q := range s.Queries() {
		if q.Transport != "udp" || q.Name == strings.ToLower(q.Name) || !strings.EqualFold(q.Name, name) {
			t.Errorf("asked for %s by %s", q.Name, q.Transport)
		}
		mixed[q.Name] = true
	}
	if len(mixed) < 4 {
		t.Errorf("%d spellings in 5 questions", len(mixed))
	}
	s.Handle(func(dnstest.Query) dnstest.Reply { return dnstest.Reply{Default: true, Lower: true} })
	before := len(s.Queries())
	for range 3 {
		expect(t, r.a(name), "ok 127.0.0.2")
	}
	if q := s.Queries()[before:]; len(q) != 4 || q[0].Transport != "udp" || q[1].Transport != "tcp" || q[3].Transport != "tcp" {
		t.Errorf("queries: %+v, expected UDP once, then TCP", q)
	}
	if len(r.warnings) != 1 || !strings.Contains(r.warnings[0], "case") {
		t.Errorf("warnings: %v, expected one", r.warnings)
	}
}

// A server that answers without EDNS only is not asked twice for ever.
func TestDNS21PlainServersAreRemembered(t *testing.T) {
	s := startServer(t)
	s.SetA("db.test", 1, "127.0.0.2")
	s.Handle(func(q dnstest.Query) dnstest.Reply {
		if q.EDNS > 0 {
			return dnstest.Reply{Rcode: 1}
		}
		return dnstest.Reply{Default: true}
	})
	r := newRig(t, ResolverConfig{}, s)
	for range 3 {
		expect(t, r.a("db.test"), "ok 127.0.0.2")
	}
	if n := len(s.Queries()); n != 4 {
		t.Errorf("%d questions, expected 4", n)
	}
	s.Handle(func(dnstest.Query) dnstest.Reply { return dnstest.Reply{Rcode: 1} })
	fresh := newRig(t, ResolverConfig{}, s)
	expect(t, fresh.a("db.test"), "failure")
	if plain, _ := fresh.health.habits(fresh.servers()[0]); plain {
		t.Error("a server that answers FORMERR to everything counts as one without EDNS")
	}
}

func TestDNSRotate(t *testing.T) {
	var servers []*dnstest.Server
	for range 3 {
		s := startServer(t)
		s.SetA("db.test", 1, "127.0.0.2")
		servers = append(servers, s)
	}
	c := patient()
	c.Strategy = StrategyRotate
	r := newRig(t, c, servers...)
	for range 9 {
		expect(t, r.a("db.test"), "ok 127.0.0.2")
	}
	for i, s := range servers {
		if n := len(s.Queries()); n != 3 {
			t.Errorf("server %d was asked %d times of 9", i, n)
		}
	}
}

func TestDNSRace(t *testing.T) {
	silent, failing, good := startServer(t), startServer(t), startServer(t)
	silent.Silent("", true)
	failing.Rcode("db.test", 2)
	good.SetA("db.test", 1, "127.0.0.2")
	c := patient()
	c.Strategy = StrategyRace
	r := newRig(t, c, silent, failing, good)
	for range 5 { // never waits for the silent one: the timeout is 20 s
		expect(t, r.a("db.test"), "ok 127.0.0.2")
	}
	if n := len(good.Queries()); n != 5 {
		t.Errorf("the good server was asked %d times of 5", n)
	}
	if r.results["ok"] != 5 || r.results["timeout"] != 0 {
		t.Errorf("results %v: who loses a race has not failed", r.results)
	}
	good.Rcode("db.test", 5)
	r.conf.AttemptTimeout = 50 * time.Millisecond
	a := r.a("db.test")
	expect(t, a, "failure")
	if a.Rcode == 0 {
		t.Errorf("no rcode, though two servers gave one: %+v", a)
	}
	good.NXDomain("db.test")
	r.conf.AttemptTimeout = 20 * time.Second
	expect(t, r.a("db.test"), "nxdomain")
}

func TestDN21AtMostSixteenQuestions(t *testing.T) {
	first, second := startServer(t), startServer(t)
	link := func(from, to int) dnstest.Reply {
		return dnstest.Reply{RRs: []string{fmt.Sprintf("c%d.test. 9 IN CNAME c%d.test.", from, to)}}
	}
	for what, script := range map[string]func(q dnstest.Query) dnstest.Reply{
		"20 links": func(q dnstest.Query) dnstest.Reply {
			var n int
			fmt.Sscanf(q.Name, "c%d.test", &n)
			return link(n, n+1)
		},
		"loop": func(q dnstest.Query) dnstest.Reply {
			var n int
			fmt.Sscanf(q.Name, "c%d.test", &n)
			return link(n, (n+1)%4)
		},
		"to a silent name": func(q dnstest.Query) dnstest.Reply {
			if q.Name == "c0.test" {
				return link(0, 1)
			}
			return dnstest.Reply{Drop: true}
		},
		"all at once, all silent": func(q dnstest.Query) dnstest.Reply { return dnstest.Reply{Drop: true} },
		"FORMERR to everything":   func(q dnstest.Query) dnstest.Reply { return dnstest.Reply{Rcode: 1} },
	} {
		t.Run(what, func(t *testing.T) {
			first.Handle(script)
			second.Handle(script)
			c := ResolverConfig{AttemptTimeout: 5 * time.Millisecond, Attempts: 30, Deadline: time.Minute}
			if strings.HasPrefix(what, "all") {
				c.Strategy = StrategyRace
			}
			before := len(first.Queries()) + len(second.Queries())
			a := newRig(t, c, first, second).a("c0.test")
			expect(t, a, "failure")
			if n := len(first.Queries()) + len(second.Queries()) - before; n > maxQueries || n == 0 {
				t.Errorf("%d questions, expected at most %d", n, maxQueries)
			}
			t.Log(a.Err)
		})
	}
}

func TestDNS17EveryTransportGoesOnFromAClosedPort(t *testing.T) {
	gone, err := net.Listen("tcp", "127.0.0.9:0") // where nobody else listens
	if err != nil {
		t.Fatal(err)
	}
	gone.Close()
	second := startServer(t)
	second.SetA("db.test", 1, "127.0.0.2")
	for _, server := range []string{"tcp://%s", "tls://%s#dns.test", "https://%s/dns-query#dns.test"} {
		r := newRig(t, patient(fmt.Sprintf(server, gone.Addr())), second)
		expect(t, r.a("db.test"), "ok 127.0.0.2")
		if r.results["unreachable"] != 1 {
			t.Errorf("%s: results %v", server, r.results)
		}
	}
}
