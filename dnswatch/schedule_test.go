package dnswatch

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/miekg/dns"
)

// fake is a server without a network, so that time can be a bubble's.
type fake struct {
	mu    sync.Mutex
	asked []time.Time
	reply func(n int, q question) (*dns.Msg, error)
}

func (f *fake) exchange(_ context.Context, _ server, q query) (*dns.Msg, error) {
	f.mu.Lock()
	f.asked = append(f.asked, time.Now())
	n := len(f.asked)
	reply := f.reply
	f.mu.Unlock()
	return reply(n, q.question)
}

func (f *fake) times() []time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.asked
}

func ok(ttl int) func(int, question) (*dns.Msg, error) {
	return func(_ int, q question) (*dns.Msg, error) { return reply(q, ttl, "192.0.2.1"), nil }
}

func reply(q question, ttl int, addrs ...string) *dns.Msg {
	m := new(dns.Msg)
	for _, a := range addrs {
		rr, err := dns.NewRR(fmt.Sprintf("%s %d IN A %s", q.name, ttl, a))
		if err != nil {
			panic(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	return m
}

var errFake = errors.New("no network in a bubble")

func failing(int, question) (*dns.Msg, error) { return nil, errFake }

// fakeWatcher is a watcher with resolvers "r" and "s" over fakes.
func fakeWatcher(t *testing.T, f, g *fake) *Watcher {
	t.Helper()
	conf := ResolverConfig{Servers: []string{"udp://192.0.2.53"}, Attempts: 1}
	conf.Name = "r"
	other := conf
	other.Name = "s"
	w, err := New(Options{Resolvers: []ResolverConfig{conf, other}})
	if err != nil {
		t.Fatal(err)
	}
	w.lanes["r"].resolver.exchange = f.exchange
	if g != nil {
		w.lanes["s"].resolver.exchange = g.exchange
	}
	return w
}

// listen subscribes and keeps the answers.
func listen(t *testing.T, w *Watcher, watch Watch) (s *Subscription, answers func() []Answer) {
	t.Helper()
	var mu sync.Mutex
	var list []Answer
	if watch.Resolver == "" {
		watch.Resolver = "r"
	}
	if watch.Name == "" {
		watch.Name = "db.test"
	}
	watch.Type = TypeA
	watch.Notify = func(a Answer) { mu.Lock(); list = append(list, a); mu.Unlock() }
	s, err := w.Subscribe(watch)
	if err != nil {
		t.Fatal(err)
	}
	return s, func() []Answer { mu.Lock(); defer mu.Unlock(); return list }
}

func gaps(times []time.Time) []time.Duration {
	var list []time.Duration
	for i := 1; i < len(times); i++ {
		list = append(list, times[i].Sub(times[i-1]))
	}
	return list
}

func TestDNS33To36IntervalsFollowTheTTLWithinBounds(t *testing.T) {
	for _, c := range []struct {
		ttl        uint32
		watch      Watch
		want, slop time.Duration
	}{
		{0, Watch{MinRefresh: 100 * time.Millisecond}, 100 * time.Millisecond, 10 * time.Millisecond},
		{86400, Watch{MaxRefresh: 2 * time.Second}, 2 * time.Second, 200 * time.Millisecond},
		{1<<32 - 1, Watch{MaxRefresh: 2 * time.Second}, 2 * time.Second, 200 * time.Millisecond},
		{20, Watch{}, 20 * time.Second, 2 * time.Second},
		{200, Watch{}, 200 * time.Second, 5 * time.Second},
		{20, Watch{Refresh: 3 * time.Second}, 3 * time.Second, 300 * time.Millisecond},
	} {
		synctest.Test(t, func(t *testing.T) {
			f := &fake{reply: ok(int(c.ttl))}
			w := fakeWatcher(t, f, nil)
			defer w.Close()
			listen(t, w, c.watch)
			time.Sleep(20 * c.want)
			for _, gap := range gaps(f.times())[1:] { // the first is shorter, to spread names
				if gap < c.want || gap > c.want+c.slop {
					t.Errorf("TTL %d, %+v: a gap of %v, expected %v to %v", c.ttl, c.watch, gap, c.want, c.want+c.slop)
				}
			}
			if len(f.times()) < 15 {
				t.Errorf("TTL %d: %d questions", c.ttl, len(f.times()))
			}
		})
	}
}

func TestDN5AnAnswerWithinASecondOfDNSComingUp(t *testing.T) {
	for _, up := range []time.Duration{time.Second, 5 * time.Second, 30 * time.Second, 50 * time.Second} {
		synctest.Test(t, func(t *testing.T) {
			begin := time.Now()
			f := &fake{reply: func(_ int, q question) (*dns.Msg, error) {
				if time.Since(begin) < up {
					return nil, errFake
				}
				return reply(q, 1, "192.0.2.1"), nil
			}}
			w := fakeWatcher(t, f, nil)
			defer w.Close()
			_, answers := listen(t, w, Watch{})
			time.Sleep(up + time.Second)
			synctest.Wait()
			if list := answers(); len(list) == 0 || list[len(list)-1].Kind != KindOK {
				t.Errorf("a second after DNS came up at %v: %+v", up, list)
			}
			if n := len(f.times()); n > 2+int((up+time.Second)/(600*time.Millisecond)) {
				t.Errorf("%d questions in %v", n, up+time.Second)
			}
		})
	}
}

// A name that never had an answer is asked for more than once a second for a minute, then as seldom as any that fails.
func TestDNS52UnansweredNamesBackOffToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: func(int, question) (*dns.Msg, error) { return nil, errFake }}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		listen(t, w, Watch{})
		time.Sleep(3 * time.Minute)
		before := len(f.times())
		if before < 80 || before > 90 {
			t.Errorf("%d questions in 3 minutes", before)
		}
		time.Sleep(5 * time.Minute)
		if n := len(f.times()) - before; n < 8 || n > 13 {
			t.Errorf("%d questions in the 5 minutes after", n)
		}
	})
}

func TestDNS8FailuresBackOffAndRecoveryIsSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: func(n int, q question) (*dns.Msg, error) {
			if n == 1 {
				return reply(q, 1, "192.0.2.1"), nil
			}
			return nil, errFake
		}}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		_, answers := listen(t, w, Watch{})
		time.Sleep(3 * time.Minute)
		synctest.Wait()
		want := []time.Duration{1, 2, 4, 8, 16, 30, 30}
		for i, gap := range gaps(f.times())[1:] {
			d := want[min(i, len(want)-1)] * time.Second
			if gap < d*8/10 || gap > d*12/10 {
				t.Errorf("gap %d is %v, expected %v ±20 %%", i, gap, d)
			}
		}
		s := w.Status()[0]
		if !s.Stale || s.Failures < 7 || s.Records[0] != "192.0.2.1" || s.Age < 2*time.Minute {
			t.Errorf("status: %+v", s)
		}
		f.mu.Lock()
		f.reply = ok(1)
		f.mu.Unlock()
		time.Sleep(40 * time.Second)
		synctest.Wait()
		list := answers()
		last := list[len(list)-1]
		if last.Kind != KindOK || last.Serial != 3 || list[3].Kind != KindFailure || list[3].Streak != 3 {
			t.Errorf("last %+v", last)
		}
	})
}

func TestDNSNegativeAnswersAreAskedAgainSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: func(_ int, q question) (*dns.Msg, error) {
			soa, _ := dns.NewRR(". 3600 IN SOA a. b. 1 2 3 4 3600")
			return &dns.Msg{MsgHdr: dns.MsgHdr{Rcode: dns.RcodeNameError}, Ns: []dns.RR{soa}}, nil
		}}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		listen(t, w, Watch{})
		time.Sleep(time.Minute)
		for _, gap := range gaps(f.times()) {
			if gap < 5*time.Second || gap > 5500*time.Millisecond {
				t.Errorf("a gap of %v, expected 5s to 5.5s", gap)
			}
		}
	})
}

func TestDNS38SharedByEverySubscription(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: ok(10)}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		var first func() []Answer
		var subs []*Subscription
		for i := range 50 {
			s, answers := listen(t, w, Watch{Name: []string{"db.test", "DB.test"}[i%2]})
			subs = append(subs, s)
			if i == 0 {
				first = answers
			}
		}
		time.Sleep(time.Second / 5) // before the shortest first interval of the late one, 0.3 s
		if n := len(f.times()); n != 1 {
			t.Errorf("%d questions for 50 subscriptions", n)
		}
		_, late := listen(t, w, Watch{Refresh: 3 * time.Second})
		synctest.Wait()
		if len(late()) != 1 || len(first()) != 1 {
			t.Errorf("a late subscriber has %d answers, the first %d; expected the known one", len(late()), len(first()))
		}
		time.Sleep(7 * time.Second)
		if n := len(f.times()); n < 3 {
			t.Errorf("%d questions: the shortest interval counts", n)
		}
		before := len(first())
		for _, s := range subs {
			s.Close()
		}
		time.Sleep(time.Minute)
		if len(first()) != before {
			t.Error("an answer after Close")
		}
	})
}

func TestDNSLastSubscriptionStopsTheQuestions(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: ok(1)}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		s, _ := listen(t, w, Watch{})
		time.Sleep(5 * time.Second)
		s.Close()
		n := len(f.times())
		time.Sleep(time.Minute)
		if len(f.times()) != n || len(w.Status()) != 0 {
			t.Errorf("%d questions after the last subscription, status %v", len(f.times())-n, w.Status())
		}
	})
}

func TestDNS39ResolversNeverShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g := &fake{reply: ok(1)}, &fake{reply: failing}
		w := fakeWatcher(t, f, g)
		defer w.Close()
		_, r := listen(t, w, Watch{})
		_, s := listen(t, w, Watch{Resolver: "s"})
		time.Sleep(time.Second / 2)
		synctest.Wait()
		if r()[0].Kind != KindOK || s()[0].Kind != KindFailure {
			t.Errorf("r says %v, s says %v", text(r()[0]), text(s()[0]))
		}
	})
}

func TestDNS40NamesDriftApart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: ok(1)}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		for i := range 100 {
			listen(t, w, Watch{Name: fmt.Sprintf("n%d.test", i)})
		}
		begin := time.Now()
		time.Sleep(60 * time.Second)
		buckets := make([]int, 600)
		for _, at := range f.times() {
			if i := int(at.Sub(begin) / (100 * time.Millisecond)); i < len(buckets) {
				buckets[i]++
			}
		}
		sum, most := 0, 0
		for _, n := range buckets[200:] {
			sum += n
			most = max(most, n)
		}
		if mean := float64(sum) / 400; float64(most) > 3*mean {
			t.Errorf("up to %d questions in 100 ms, the mean is %.1f", most, mean)
		}
	})
}

func TestDNSRefreshAsksEarlyButNotTooEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fake{reply: ok(100)}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		listen(t, w, Watch{MinRefresh: 2 * time.Second})
		synctest.Wait()
		for range 5 {
			if n := w.Refresh("DB.test."); n != 1 {
				t.Errorf("refreshed %d names", n)
			}
		}
		time.Sleep(time.Second)
		if n := len(f.times()); n != 1 {
			t.Errorf("%d questions within MinRefresh", n)
		}
		time.Sleep(1100 * time.Millisecond)
		if n := len(f.times()); n != 2 {
			t.Errorf("%d questions after a refresh, expected 2", n)
		}
		if w.Refresh("other.test") != 0 || w.Refresh("") != 1 {
			t.Error("Refresh counts wrong")
		}
	})
}

func TestDNS54ChangedFilesAreSeen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		path := t.TempDir() + "/hosts"
		f := &fake{reply: ok(1000)}
		w := fakeWatcher(t, f, nil)
		defer w.Close()
		r := w.lanes["r"].resolver
		r.hosts.file.path = path
		_, answers := listen(t, w, Watch{})
		time.Sleep(7 * time.Second)
		write(t, path, "192.0.2.7 db.test\n")
		time.Sleep(6 * time.Second)
		list := answers()
		if last := list[len(list)-1]; !last.Local || text(last) != "ok 192.0.2.7" {
			t.Errorf("6 s after the change: %s", text(last))
		}
	})
}

func TestDNSSubscribeRefusesWhatCannotBe(t *testing.T) {
	w := fakeWatcher(t, &fake{reply: failing}, nil)
	for _, watch := range []Watch{
		{Resolver: "x", Name: "db.test", Type: TypeA}, {Resolver: "r", Name: "a..b", Type: TypeA}, {Resolver: "r", Name: "db.test"},
		{Resolver: "r", Name: "192.0.2.1", Type: TypeSRV}, {Resolver: "r", Name: "db.test", Type: 16},
	} {
		if _, err := w.Subscribe(watch); err == nil {
			t.Errorf("%+v was taken", watch)
		}
	}
	w.Close()
	if _, err := w.Subscribe(Watch{Resolver: "r", Name: "db.test", Type: TypeA}); err != ErrClosed {
		t.Errorf("subscribe on a closed watcher: %v", err)
	}
}
