//go:build linux

package integration

import (
	"maps"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

// soa lets an answer without records hold for one second.
var soa = []string{". 1 IN SOA ns.test. hostmaster.test. 1 3600 600 86400 1"}

var (
	nxdomain = dnstest.Reply{Rcode: dns.RcodeNameError, Auth: soa}
	nodata   = dnstest.Reply{Auth: soa}
)

// Every way not to get an answer keeps what there is; that there is no address has to last.
func TestDN3AndDNS9(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	ways := map[string]dnstest.Reply{
		"silent.test":   {Drop: true},
		"garbage.test":  {Garbage: []byte("this is no DNS message")},
		"servfail.test": {Rcode: dns.RcodeServerFailure},
		"refused.test":  {Rcode: dns.RcodeRefused},
		"formerr.test":  {Rcode: dns.RcodeFormatError},
		"notimp.test":   {Rcode: dns.RcodeNotImplemented},
		"rcode15.test":  {Rcode: 15},
	}
	hosts := slices.Sorted(maps.Keys(ways))
	var peers []string
	for i, h := range hosts {
		n := byte(2 + i)
		server.SetA(h, 0, host(n))
		signed(t, n, port)
		peers = append(peers, at(n, port).String())
	}
	const hold = 1500 * time.Millisecond // longer than it takes to get two empty answers
	s := names(server, port, hosts...)
	s.backend += "\nempty_hold = \"" + hold.String() + "\""
	e := start(t, s)
	e.awaitPeers(t, peers...)
	epoch := e.poolStatus(t).Epoch
	load := drive(t, e.addr, 50)

	server.Handle(func(q dnstest.Query) dnstest.Reply { return ways[q.Name] })
	failing := func(times int) {
		t.Helper()
		eventually(t, "all names to fail", func() bool {
			list := e.status(t).DNS
			return len(list) == len(hosts) && !slices.ContainsFunc(list, func(n nameStatus) bool {
				return n.Kind != "failure" || n.Failures < times || len(n.Records) != 1
			})
		})
	}
	failing(1)
	young := e.metrics(t)
	failing(2)
	eventually(t, "all peers to serve", func() bool { return len(load.by(time.Time{})) == len(hosts) })
	load.stop(t)
	if p := e.poolStatus(t); p.Epoch != epoch || !slices.Equal(p.listed(), peers) {
		t.Errorf("epoch %d became %d with %v", epoch, p.Epoch, p.listed())
	}
	old := e.metrics(t)
	for _, h := range hosts {
		name := label("name", h)
		if old.sum("ebb_dns_stale", name) != 1 || old.sum("ebb_dns_answer_age_seconds", name) <= young.sum("ebb_dns_answer_age_seconds", name) {
			t.Errorf("%s: stale %v, age %v and before %v", h, old.pick("ebb_dns_stale", name),
				old.pick("ebb_dns_answer_age_seconds", name), young.pick("ebb_dns_answer_age_seconds", name))
		}
		e.wantLines(t, 1, "dns failing", "name", h)
	}
	for _, result := range []string{"timeout", "servfail", "refused", "formerr", "notimp"} {
		if old.sum("ebb_dns_queries_total", label("result", result)) == 0 {
			t.Errorf("no %s is counted: %v", result, old.pick("ebb_dns_queries_total"))
		}
	}

	var mu sync.Mutex
	empty := make(map[string][]time.Time) // when each name was answered so
	server.Handle(func(q dnstest.Query) dnstest.Reply {
		mu.Lock()
		defer mu.Unlock()
		empty[q.Name] = append(empty[q.Name], time.Now())
		if q.Name < "rcode15.test" {
			return nxdomain
		}
		return nodata
	})
	e.awaitPeers(t)
	var removed map[string]time.Time
	eventually(t, "the lines that say so", func() bool { removed = e.removals(t); return len(removed) == len(peers) })
	mu.Lock()
	for i, h := range hosts {
		if len(empty[h]) < 2 {
			t.Errorf("%s: gone after %d answers", h, len(empty[h]))
			continue
		}
		if kept := removed[peers[i]].Sub(empty[h][0]); kept < hold-10*time.Millisecond {
			t.Errorf("%s: gone %v before the first empty answer was sent", h, kept)
		}
	}
	mu.Unlock()
	e.wantRefusal(t)
	server.Handle(nil)
	e.awaitPeers(t, peers...)
	if n, err := servedBy(e.addr); err != nil {
		t.Errorf("served by %d, %v", n, err)
	}
	oracle(t, e)
}

// An empty answer that does not last harms nobody.
func TestDNS10And12(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	backends := []*backend{signed(t, 2, port), signed(t, 3, port)}
	server.SetA("nxdomain.test", 0, host(2))
	server.SetA("nodata.test", 0, host(3))
	s := names(server, port, "nxdomain.test", "nodata.test") // empty_hold is 30 s
	s.dns = patient
	e := start(t, s)
	e.awaitPeers(t, at(2, port).String(), at(3, port).String())
	epoch := e.poolStatus(t).Epoch
	load := drive(t, e.addr, 50)
	server.Handle(func(q dnstest.Query) dnstest.Reply {
		if q.Name == "nodata.test" {
			return nodata
		}
		return nxdomain
	})
	for _, kind := range []string{"nxdomain", "nodata"} {
		e.awaitKind(t, kind+".test", "A", kind)
		awaitAnswers(t, server, kind+".test", 1)
		e.wantLines(t, 1, "dns answer empty", "name", kind+".test", "kind", kind)
	}
	server.Handle(nil)
	for _, name := range []string{"nxdomain.test", "nodata.test"} {
		e.awaitKind(t, name, "A", "ok")
	}
	load.stop(t)
	if p := e.poolStatus(t); p.Epoch != epoch {
		t.Errorf("epoch %d became %d", epoch, p.Epoch)
	}
	oracle(t, e, backends...)
}

// A name that is gone for good: new sessions are refused when the hold is over, those that live stay.
func TestDNS11(t *testing.T) {
	for _, c := range []struct {
		kind  string
		reply dnstest.Reply
	}{{"nxdomain", nxdomain}, {"nodata", nodata}} {
		t.Run(c.kind, func(t *testing.T) {
			port, server := freePort(t), startDNS(t)
			signed(t, 2, port)
			server.SetA("db.test", 0, host(2))
			s := names(server, port, "db.test")
			const hold = 1500 * time.Millisecond // longer than it takes to get two empty answers
			s.backend += "\nempty_hold = \"" + hold.String() + "\""
			e := start(t, s)
			live, _ := dialSigned(t, e.addr)
			change := time.Now()
			server.Handle(func(dnstest.Query) dnstest.Reply { return c.reply })
			kept, refused := 0, 0.0
			for time.Since(change) < hold { // the first empty answer came after the change
				if _, err := servedBy(e.addr); err == nil {
					kept++
				} else if refused++; time.Since(change) < hold { // one may come between clock and clock
					t.Errorf("refused %v after the change: %v", time.Since(change), err)
				}
				time.Sleep(10 * time.Millisecond)
			}
			e.awaitPeers(t)
			if kept == 0 || server.QueryCount("db.test", "A") < 3 {
				t.Errorf("%d sessions while the set was held, %d questions in all", kept, server.QueryCount("db.test", "A"))
			}
			eventually(t, "the line that says so", func() bool { return len(e.logs.find("no peer left")) == 1 })
			for range 5 {
				e.wantRefusal(t)
				refused++
			}
			eventually(t, "the refusals to be counted", func() bool {
				return e.metrics(t).sum("ebb_sessions_total", label("end", "no_peer")) == refused
			})
			live.echoes(t, []byte("still here"))
			live.Close()
			oracle(t, e)
		})
	}
}

// One family's trouble is not the other's.
func TestDNS28And29(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	backends := []*backend{signed(t, 2, port), signed(t, 3, port), signed(t, 4, port), signed(t, 5, port)}
	server.SetA("nxdomain.test", 0, host(2))
	server.SetA("servfail.test", 0, host(3))
	server.SetA("silent.test", 0, host(4))
	hosts := []string{"nxdomain.test", "servfail.test", "silent.test"}
	server.Handle(func(q dnstest.Query) dnstest.Reply {
		switch {
		case q.Type != "AAAA":
			return dnstest.Reply{Default: true}
		case q.Name == "nxdomain.test":
			return nxdomain
		case q.Name == "servfail.test":
			return dnstest.Reply{Rcode: dns.RcodeServerFailure}
		}
		return dnstest.Reply{Drop: true}
	})
	s := names(server, port, hosts...)
	s.backend = strings.Replace(s.backend, "ipv4", "both", 1)
	e := start(t, s)
	e.awaitPeers(t, at(2, port).String(), at(3, port).String(), at(4, port).String())
	load := drive(t, e.addr, 50)
	for _, h := range hosts { // each family keeps to its own pace
		awaitAnswers(t, server, h, 15)
		a, aaaa := server.QueryCount(h, "A"), server.QueryCount(h, "AAAA")
		if aaaa == 0 || aaaa > a/2 {
			t.Errorf("%s: asked %d times for A and %d times for AAAA", h, a, aaaa)
		}
	}
	server.SetA("silent.test", 0, host(5))
	e.awaitPeers(t, at(2, port).String(), at(3, port).String(), at(5, port).String())
	eventually(t, "three peers to serve", func() bool { return len(load.by(time.Time{})) >= 3 })
	load.stop(t)
	for name, kind := range map[string]string{"nxdomain.test": "nxdomain", "servfail.test": "failure", "silent.test": "failure"} {
		e.awaitKind(t, name, "AAAA", kind) // one answer may come too late
	}
	oracle(t, e, backends...)
}

// ebb starts without a DNS server, and serves when there is one.
func TestDN5(t *testing.T) {
	port := freePort(t)
	two := signed(t, 2, port)
	nobody := at(1, freePort(t))
	e := launch(t, setup{
		hosts: []string{"db.test"}, port: port, resolver: nobody.String(), backend: "family = \"ipv4\"",
		dns: "attempts = 1\ndeadline = \"1s\"",
	})
	eventually(t, "two failures", func() bool { n, ok := e.name(t, "db.test", "A"); return ok && n.Kind == "failure" && n.Failures >= 2 })
	if code, body, err := e.get("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "db.test") {
		t.Errorf("readyz: %d %q %v", code, body, err)
	}
	e.wantRefusal(t)
	server, err := dnstest.Start(nobody.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(server.Close)
	server.SetA("db.test", 1, host(2))
	begin := time.Now()
	e.awaitReady(t)
	t.Logf("ready %v after the server", time.Since(begin).Round(time.Millisecond))
	if n, err := servedBy(e.addr); n != 2 || err != nil {
		t.Errorf("served by %d, %v", n, err)
	}
	oracle(t, e, two)
}

// With two servers a name is as good as the better one.
func TestDN7(t *testing.T) {
	for _, c := range []string{"servfail", "silent"} {
		t.Run(c, func(t *testing.T) {
			port, bad, good := freePort(t), startDNS(t), startDNS(t)
			backends := []*backend{signed(t, 2, port), signed(t, 3, port)}
			bad.SetA("db.test", 0, host(3))
			good.SetA("db.test", 0, host(2))
			if c == "silent" {
				bad.Silent("", true)
			} else {
				bad.Rcode("db.test", dns.RcodeServerFailure)
			}
			addr := netip.AddrPortFrom(loopback, freePort(t))
			begin := time.Now()
			e := startFlags(t, addr, "--listen", "tcp://"+addr.String(), "--to", "db.test:"+strconv.Itoa(int(port)), "--min-refresh", "100ms",
				"--resolver", "udp://"+bad.Addr(), "--resolver", "udp://"+good.Addr(), "--allow-answers", "loopback")
			t.Logf("ready after %v", time.Since(begin).Round(time.Millisecond)) // attempt_timeout is 1 s
			if n, err := servedBy(e.addr); n != 2 || err != nil {
				t.Errorf("served by %d, %v", n, err)
			}
			m := e.metrics(t)
			if bad.QueryCount("db.test", "A") == 0 || m.sum("ebb_dns_queries_total", label("server", "udp://"+good.Addr()), label("result", "ok")) == 0 {
				t.Errorf("questions: %v", m.pick("ebb_dns_queries_total"))
			}
			if n := len(e.logs.find("dns failing")); n != 0 {
				t.Errorf("%d lines say that the name fails", n)
			}
			if c == "servfail" { // an error is not kept: the first server is asked first again
				bad.Rcode("db.test", 0)
				e.awaitPeers(t, at(3, port).String())
				if n, err := servedBy(e.addr); n != 3 || err != nil {
					t.Errorf("served by %d, %v", n, err)
				}
			}
			oracle(t, e, backends...)
		})
	}
}
