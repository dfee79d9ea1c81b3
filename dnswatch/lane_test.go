package dnswatch

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

// block is an exchange that hangs until its time is over.
func block(ctx context.Context, _ server, _ query) (*dns.Msg, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestDNSHangingResolverHoldsUpNoOther(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: ok(10)}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		w.lanes["s"].resolver.exchange = block
		for i := range 2 * maxRunning {
			listen(t, w, Watch{Resolver: "s", Name: fmt.Sprintf("n%d.test", i)})
		}
		_, answers := listen(t, w, Watch{})
		time.Sleep(time.Millisecond)
		synctest.Wait()
		if len(answers()) != 1 {
			t.Errorf("%d answers of the resolver that is well", len(answers()))
		}
		time.Sleep(time.Minute)
		if n := len(f.times()); n < 5 {
			t.Errorf("%d questions in a minute at a TTL of 10 s", n)
		}
	})
}

func TestDNSOneQuestionAtATime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := fakeWatcher(t, &fake{reply: ok(1)}, nil)
		defer w.Close()
		var now, most atomic.Int32
		w.lanes["r"].resolver.exchange = func(_ context.Context, _ server, q query) (*dns.Msg, error) {
			if n := now.Add(1); n > most.Load() {
				most.Store(n)
			}
			time.Sleep(time.Second / 2)
			now.Add(-1)
			return reply(q.question, 1, "192.0.2.1"), nil
		}
		for range 50 { // come, go and hasten while a question is under way
			s, _ := listen(t, w, Watch{MinRefresh: 10 * time.Millisecond})
			time.Sleep(130 * time.Millisecond)
			s.Refresh()
			s.Close()
			s.Close()
			s.Refresh()
		}
		if most.Load() != 1 {
			t.Errorf("up to %d questions at a time", most.Load())
		}
		time.Sleep(5 * time.Second)
		synctest.Wait()
		if w.mu.Lock(); len(w.entries) != 0 || len(w.lanes["r"].due) != 0 || w.lanes["r"].busy != 0 {
			t.Errorf("left behind: %d entries, %d due", len(w.entries), len(w.lanes["r"].due))
		}
		w.mu.Unlock()
	})
}

func TestDNSSubscriptionRefreshesAtMostOncePerMinRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: ok(1000)}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		s, _ := listen(t, w, Watch{MinRefresh: 2 * time.Second})
		other, _ := listen(t, w, Watch{Name: "other.test", MinRefresh: 2 * time.Second})
		time.Sleep(10 * time.Second)
		before := len(f.times())
		begin := time.Now()
		for time.Since(begin) < 20*time.Second { // as connects fail
			s.Refresh()
			time.Sleep(50 * time.Millisecond)
		}
		if n := len(f.times()) - before; n < 9 || n > 11 {
			t.Errorf("%d questions in 20 s at a MinRefresh of 2 s, expected 10", n)
		}
		other.Close()
		f.mu.Lock()
		f.reply = failing
		f.mu.Unlock()
		s.Refresh()
		time.Sleep(35 * time.Second) // far into the back-off: 1, 2, 4, 8, 16, 30 s
		before = len(f.times())
		for range 200 {
			s.Refresh()
			time.Sleep(100 * time.Millisecond)
		}
		if n := len(f.times()) - before; n > 2 {
			t.Errorf("%d questions in 20 s for a name that fails", n)
		}
		for _, gap := range gaps(f.times()[before:]) {
			if gap < 2*time.Second {
				t.Errorf("a gap of %v", gap)
			}
		}
	})
}

// A refresh of everything must not make everybody march in step for ever after.
func TestDNS40RefreshOfAllDoesNotSynchronise(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: ok(30)}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		for i := range 200 {
			listen(t, w, Watch{Name: fmt.Sprintf("n%d.test", i)})
		}
		time.Sleep(100 * time.Second)
		if n := w.Refresh(""); n != 200 {
			t.Errorf("%d entries refreshed", n)
		}
		time.Sleep(5 * time.Second)
		begin := time.Now()
		time.Sleep(60 * time.Second)
		seconds := make([]int, 60)
		for _, at := range f.times() {
			if i := int(at.Sub(begin) / time.Second); i >= 0 && i < 60 {
				seconds[i]++
			}
		}
		sum, most := 0, 0
		for _, n := range seconds {
			sum += n
			most = max(most, n)
		}
		if mean := float64(sum) / 60; float64(most) > 8*mean { // synchronised, they would be 30 times the mean
			t.Errorf("up to %d questions a second, the mean is %.1f: %v", most, mean, seconds)
		}
	})
}

func TestDN4TheSmallestLinkSetsTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: func(_ int, q question) (*dns.Msg, error) {
			m := reply(question{name: "x.test."}, 300, "192.0.2.1")
			alias, err := dns.NewRR(q.name + " 1 IN CNAME x.test.")
			m.Answer = append(m.Answer, alias)
			return m, err
		}}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		listen(t, w, Watch{})
		time.Sleep(30 * time.Second)
		for _, gap := range gaps(f.times())[1:] {
			if gap < time.Second || gap > 1100*time.Millisecond {
				t.Errorf("a gap of %v, expected 1s to 1.1s", gap)
			}
		}
	})
}

func TestDNSIntervalsKeepToTheirBounds(t *testing.T) {
	for _, c := range []struct {
		watch       Watch
		answer      Answer
		least, most time.Duration
	}{
		{Watch{}, Answer{TTL: 30 * time.Second}, 30 * time.Second, 33 * time.Second},
		{Watch{}, Answer{TTL: time.Hour}, 5 * time.Minute, 305 * time.Second},
		{Watch{}, Answer{}, time.Second, 1100 * time.Millisecond},
		{Watch{Refresh: 10 * time.Second}, Answer{TTL: time.Hour}, 10 * time.Second, 11 * time.Second},
		{Watch{Refresh: 10 * time.Second}, Answer{Kind: KindNXDomain, TTL: time.Second}, time.Second, 1100 * time.Millisecond},
		{Watch{MinRefresh: 10 * time.Second}, Answer{Kind: KindNoData, TTL: time.Second}, 10 * time.Second, 11 * time.Second},
		{Watch{}, Answer{Kind: KindNoData, TTL: time.Hour}, 5 * time.Second, 5500 * time.Millisecond},
		{Watch{}, Answer{Kind: KindFailure, Streak: 1}, time.Second, 1200 * time.Millisecond},
		{Watch{}, Answer{Kind: KindFailure, Streak: 4}, 6400 * time.Millisecond, 9600 * time.Millisecond},
		{Watch{}, Answer{Kind: KindFailure, Streak: 1000}, 24 * time.Second, 36 * time.Second},
		{Watch{MinRefresh: 10 * time.Second}, Answer{Kind: KindFailure, Streak: 1}, 10 * time.Second, 10 * time.Second},
		{Watch{}, Answer{Kind: KindFailure, Streak: 80, Unanswered: true}, 600 * time.Millisecond, 800 * time.Millisecond},
		{Watch{}, Answer{Kind: KindFailure, Streak: 84, Unanswered: true}, 6400 * time.Millisecond, 9600 * time.Millisecond},
		{Watch{MinRefresh: time.Hour}, Answer{TTL: time.Second}, time.Hour, time.Hour + 5*time.Second},
		{Watch{}, Answer{Local: true, TTL: 5 * time.Second}, 5 * time.Second, 5 * time.Second},
	} {
		if least, most := c.watch.Interval(c.answer); least != c.least || most != c.most {
			t.Errorf("%+v after %+v: %v to %v, expected %v to %v", c.watch, c.answer, least, most, c.least, c.most)
		}
	}
}

// The end comes while 100 questions are out: nobody is told afterwards, and nothing is left (goleak).
func TestDN18CloseWithQuestionsInFlight(t *testing.T) {
	f := startFront(t)
	f.Silent("", true)
	for transport, server := range map[string]string{
		"udp": "udp://" + f.Addr(), "tcp": kept(f)["tcp"], "tls": kept(f)["tls"], "https": kept(f)["https"],
	} {
		t.Run(transport, func(t *testing.T) {
			before := len(f.Queries())
			c := patient(server)
			c.Name, c.CAFile = "r", f.caFile
			w, err := New(Options{Resolvers: []ResolverConfig{c}})
			if err != nil {
				t.Fatal(err)
			}
			var mu sync.Mutex
			told := 0
			var subs []*Subscription
			for i := range 100 {
				s, err := w.Subscribe(Watch{Resolver: "r", Name: fmt.Sprintf("n%d.test", i), Type: TypeA, Notify: func(Answer) {
					mu.Lock()
					told++
					mu.Unlock()
				}})
				if err != nil {
					t.Fatal(err)
				}
				subs = append(subs, s)
			}
			waitFor(t, func() bool { return len(f.Queries())-before >= 100 })
			for _, s := range subs[:50] {
				s.Close()
			}
			w.Close()
			if told != 0 {
				t.Errorf("%d answers, though nobody answered", told)
			}
			if _, err := w.Resolve(t.Context(), "r", "db.test", TypeA); err != ErrClosed {
				t.Errorf("resolve on a closed watcher: %v", err)
			}
		})
	}
}

func waitFor(t *testing.T, done func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !done(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("not within 30 s")
		}
	}
}

func TestDN11BigSets(t *testing.T) {
	s := startServer(t)
	addrs := func(n int) []string {
		var list []string
		for i := range n {
			list = append(list, fmt.Sprintf("db.test. 1 IN A 10.%d.%d.%d", i>>16, i>>8&255, i&255))
		}
		return list
	}
	for n, want := range map[int]int{1000: 1000, 1024: 1024, 1025: 1024, 3000: 1024} {
		s.Set("db.test", "A", addrs(n)...)
		a := newRig(t, ResolverConfig{AttemptTimeout: 20 * time.Second, Deadline: time.Minute}, s).a("db.test")
		if len(a.Records) != want || a.Omitted != n-want || a.Records[0].Addr.String() != "10.0.0.0" {
			t.Errorf("%d addresses: %d taken, %d left out: %v", n, len(a.Records), a.Omitted, a.Err)
		}
	}
	s.Set("db.test", "A", addrs(100_000)...) // no message has room for them: the server truncates over TCP, too
	expect(t, newRig(t, ResolverConfig{AttemptTimeout: 20 * time.Second, Deadline: time.Minute}, s).a("db.test"), "failure")
}

func TestDN17TheExactNameIsAsked(t *testing.T) {
	s := startServer(t)
	for _, name := range []string{"db.test", "_srv._tcp.test", "single"} {
		s.SetA(name, 1, "127.0.0.2")
	}
	r := newRig(t, ResolverConfig{}, s)
	for asked, want := range map[string]string{
		"DB.Test": "db.test", "db.test.": "db.test", "_SRV._tcp.test": "_srv._tcp.test", "single": "single", "missing": "missing",
	} {
		before := len(s.Queries())
		a := r.a(canonical(asked))
		q := s.Queries()[before:]
		if len(q) != 1 || q[0].Name != want || a.Name != want {
			t.Errorf("%s: asked for %+v, answered %s", asked, q, a.Name)
		}
	}
	s.Handle(func(dnstest.Query) dnstest.Reply {
		return dnstest.Reply{RRs: []string{"DB.TEST. 1 IN A 127.0.0.3"}, Question: "dB.tEsT"}
	})
	expect(t, r.a("db.test"), "ok 127.0.0.3")
}

// systemRig is a resolver by a resolv.conf, over a fake.
func systemRig(t *testing.T, conf string, reply func(n int, q question) (*dns.Msg, error)) (r *resolver, asked *[]string, path string) {
	t.Helper()
	path = t.TempDir() + "/resolv.conf"
	write(t, path, conf)
	r, err := newResolver(ResolverConfig{Servers: []string{"system"}, ResolvConf: path}, Options{}.withDefaults())
	if err != nil {
		t.Fatal(err)
	}
	asked = new([]string)
	r.exchange = func(_ context.Context, s server, q query) (*dns.Msg, error) {
		*asked = append(*asked, s.addr.Addr().String()+"/"+strings.TrimSuffix(q.name, "."))
		return reply(len(*asked), q.question)
	}
	return r, asked, path
}

func rcodeReply(code int) *dns.Msg { return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: code}} }

func TestDNS55SearchOrderOnTheWire(t *testing.T) {
	const conf = "nameserver 192.0.2.1\nsearch a.test b.test localhost\noptions ndots:1\n"
	for _, c := range []struct {
		name, replies, asked, want string
	}{
		{"svc", "nxdomain ok", "svc.a.test svc.b.test", "ok 192.0.2.9"},
		{"svc", "nxdomain nodata nxdomain", "svc.a.test svc.b.test svc", "nodata"},
		{"svc", "nxdomain nxdomain nxdomain", "svc.a.test svc.b.test svc", "nxdomain"},
		{"svc", "nxdomain refused ok", "svc.a.test svc.b.test", "failure"}, // past a failure another suffix could match
		{"x.y", "nxdomain ok", "x.y x.y.a.test", "ok 192.0.2.9"},
		{"x.y", "ok", "x.y", "ok 192.0.2.9"},
		{"x.y.", "nxdomain ok", "x.y", "nxdomain"},
	} {
		replies := strings.Fields(c.replies)
		r, asked, _ := systemRig(t, conf, func(n int, q question) (*dns.Msg, error) {
			switch replies[n-1] {
			case "ok":
				return reply(q, 1, "192.0.2.9"), nil
			case "nodata":
				return rcodeReply(0), nil
			case "refused":
				return rcodeReply(dns.RcodeRefused), nil
			}
			return rcodeReply(dns.RcodeNameError), nil
		})
		a := r.resolve(t.Context(), c.name, TypeA, nil)
		got := strings.ReplaceAll(strings.Join(*asked, " "), "192.0.2.1/", "")
		if got != c.asked || text(a) != c.want {
			t.Errorf("%s after %s: asked for %s and got %s, expected %s and %s", c.name, c.replies, got, text(a), c.asked, c.want)
		}
		if a.Kind == KindNoData && a.Rcode != 0 {
			t.Errorf("nodata with rcode %d", a.Rcode)
		}
		r.close()
	}
}

func TestDNSCNAMEToLocalhostIsNotFollowed(t *testing.T) {
	s := startServer(t)
	s.Handle(func(q dnstest.Query) dnstest.Reply {
		return dnstest.Reply{RRs: []string{q.Name + ". 9 IN CNAME localhost."}}
	})
	expect(t, newRig(t, ResolverConfig{}, s).a("db.test"), "failure")
	if n := len(s.Queries()); n != 1 {
		t.Errorf("%d questions: localhost went to the wire", n)
	}
	s.Handle(nil)
	expect(t, newRig(t, ResolverConfig{}, s).ask("_pg._tcp.localhost", TypeSRV), "nodata")
	if n := len(s.Queries()); n != 1 {
		t.Errorf("%d questions: a name under localhost went to the wire", n)
	}
}

func TestDNSResolvConfOptionsAndChange(t *testing.T) {
	r, asked, path := systemRig(t, "nameserver 192.0.2.1\nnameserver 192.0.2.2\nsearch .\noptions rotate attempts:1 no-aaaa\n",
		func(_ int, q question) (*dns.Msg, error) { return reply(q, 1, "192.0.2.9"), nil })
	defer r.close()
	for range 4 {
		expect(t, r.resolve(t.Context(), "db.test", TypeA, nil), "ok 192.0.2.9")
	}
	if got := strings.Join(*asked, " "); strings.Count(got, "192.0.2.1/") != 2 || strings.Count(got, "192.0.2.2/") != 2 {
		t.Errorf("asked %s, expected both in turn", got)
	}
	expect(t, r.resolve(t.Context(), "db.test", TypeAAAA, nil), "nodata")
	if len(*asked) != 4 {
		t.Error("AAAA was asked for despite no-aaaa")
	}
	write(t, path, "nameserver 192.0.2.3\n")
	if !r.changed() {
		t.Error("the change was not seen")
	}
	r.resolve(t.Context(), "db.test", TypeA, nil)
	if got := (*asked)[4]; got != "192.0.2.3/db.test" {
		t.Errorf("asked %s after the change", got)
	}
}

// As files that are mounted from a ConfigMap change: a link is turned, and size and time may be equal.
func TestDNS54FileBehindATurnedLinkIsSeen(t *testing.T) {
	dir := t.TempDir()
	write(t, dir+"/one", "127.0.0.4 db.test\n")
	write(t, dir+"/two", "127.0.0.5 db.test\n")
	for _, name := range []string{"/one", "/two"} {
		if err := os.Chtimes(dir+name, fileClock, fileClock); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Symlink(dir+"/one", dir+"/hosts"); err != nil {
		t.Fatal(err)
	}
	h := newHostsFile(dir + "/hosts")
	if err := os.Symlink(dir+"/two", dir+"/next"); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir+"/next", dir+"/hosts"); err != nil {
		t.Fatal(err)
	}
	if !h.reload() || h.reload() {
		t.Error("a turned link is seen once")
	}
	if a, _ := h.find("db.test"); len(a) != 1 || a[0].String() != "127.0.0.5" {
		t.Errorf("db.test is %v", a)
	}
}
