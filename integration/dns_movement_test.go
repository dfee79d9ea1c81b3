//go:build linux

package integration

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

func TestDNS1(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	two, three := signed(t, 2, port), signed(t, 3, port)
	server.SetA("db.test", 1, host(2), host(3))
	s := names(server, port, "db.test")
	s.dns = patient
	e := start(t, s)
	begin, before := time.Now(), server.QueryCount("db.test", "A")
	const sessions = 1000
	served := make(map[byte]int)
	for range sessions {
		n, err := servedBy(e.addr)
		if err != nil {
			t.Fatal(err)
		}
		served[n]++
	}
	if served[2]+served[3] != sessions || served[2] < sessions*45/100 || served[3] < sessions*45/100 {
		t.Errorf("served: %v", served)
	}
	// At 1 s and up to 10 % after each answer; the first interval may be short.
	if n, most := server.QueryCount("db.test", "A")-before, 2+int(time.Since(begin)/time.Second); n > most {
		t.Errorf("%d questions while %d sessions came, expected at most %d", n, sessions, most)
	}
	oracle(t, e, two, three)
}

func TestDNS2(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	two, three := signed(t, 2, port), signed(t, 3, port)
	server.SetA("db.test", 1, host(2))
	s := names(server, port, "db.test")
	s.dns = patient
	e := start(t, s)
	load := drive(t, e.addr, 200)
	eventually(t, "traffic", func() bool { return load.count() >= 200 })
	change := time.Now()
	server.SetA("db.test", 1, host(3))
	e.awaitPeers(t, at(3, port).String())
	moved := time.Now()
	t.Logf("moved %v after the change", moved.Sub(change))
	if took := moved.Sub(change); took > 10*time.Second { // the TTL, its jitter, and much for a busy machine
		t.Errorf("moved after %v", took)
	}
	n := load.count()
	eventually(t, "traffic", func() bool { return load.count() >= n+200 })
	load.stop(t)
	if all := load.by(time.Time{}); !bytes.Equal(sorted(all), []byte{2, 3}) {
		t.Errorf("served: %v", all)
	}
	if after := load.by(moved); !bytes.Equal(sorted(after), []byte{3}) {
		t.Errorf("served after the move: %v", after)
	}
	oracle(t, e, two, three)
}

func TestDNS3(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	two, three := signed(t, 2, port), signed(t, 3, port)
	server.SetA("db.test", 0, host(2))
	e := start(t, names(server, port, "db.test"))
	c, n := dialSigned(t, e.addr)
	if n != 2 {
		t.Fatalf("served by %d", n)
	}
	server.SetA("db.test", 0, host(3))
	e.awaitPeers(t, at(3, port).String())
	for range 10 {
		if n, err := servedBy(e.addr); n != 3 || err != nil {
			t.Errorf("served by %d, %v", n, err)
		}
	}
	c.echoes(t, noise(3, 100_000))
	if p, ok := e.poolStatus(t).peer(at(2, port).String()); !ok || p.State != "draining" || p.Active != 1 {
		t.Errorf("the old peer: %+v", p)
	}
	c.Close()
	eventually(t, "the old peer to go", func() bool { _, ok := e.poolStatus(t).peer(at(2, port).String()); return !ok })
	oracle(t, e, two, three)
}

// shuffled answers with the same records, each time in another order.
func shuffled(seed uint64, addrs ...string) func(dnstest.Query) dnstest.Reply {
	return func(q dnstest.Query) dnstest.Reply {
		r := rand.New(rand.NewPCG(seed, uint64(q.N)))
		var records []string
		for _, i := range r.Perm(len(addrs)) {
			records = append(records, q.Name+". 0 IN A "+addrs[i])
		}
		return dnstest.Reply{RRs: records}
	}
}

func TestDNS6(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	backends := []*backend{signed(t, 2, port), signed(t, 3, port), signed(t, 4, port)}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	server.Handle(shuffled(seed, host(2), host(3), host(4)))
	e := start(t, names(server, port, "db.test"))
	e.awaitPeers(t, at(2, port).String(), at(3, port).String(), at(4, port).String())
	epoch := e.poolStatus(t).Epoch
	awaitAnswers(t, server, "db.test", 10)
	if p := e.poolStatus(t); p.Epoch != epoch {
		t.Errorf("epoch %d, then %d", epoch, p.Epoch)
	}
	e.wantLines(t, 1, "epoch")
	if n, err := servedBy(e.addr); err != nil {
		t.Errorf("served by %d, %v", n, err)
	}
	oracle(t, e, backends...)
}

// A thousand answers that say the same in other words: nothing begins anew.
func TestDN13(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	backends := []*backend{signed(t, 2, port), signed(t, 3, port), signed(t, 4, port)}
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	same := shuffled(seed, host(2), host(3), host(4))
	server.Handle(same)
	var hosts []string
	for i := range 50 { // each may be asked for ten times a second
		hosts = append(hosts, fmt.Sprintf("n%d.test", i))
	}
	s := names(server, port, hosts...)
	s.check = "kind = \"tcp\""
	e := start(t, s)
	peers := func() []peerStatus { return e.poolStatus(t).Peers }
	eventually(t, "all names in all peers", func() bool {
		return !slices.ContainsFunc(peers(), func(p peerStatus) bool { return p.Weight != len(hosts) || p.State != "up" })
	})
	for range 9 {
		if _, err := servedBy(e.addr); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "the sessions to end", func() bool { return len(e.logs.ended()) == 9 })
	before := e.poolStatus(t)
	answers := len(server.Queries())
	eventually(t, "1000 answers", func() bool { return len(server.Queries()) >= answers+1000 })
	after := e.poolStatus(t)
	if after.Epoch != before.Epoch {
		t.Errorf("epoch %d, then %d", before.Epoch, after.Epoch)
	}
	for i, p := range after.Peers {
		if p.State != "up" || p.Health != "up" || p.Weight != len(hosts) || p.Total != before.Peers[i].Total || p.Total != 3 {
			t.Errorf("peer before %+v, after %+v", before.Peers[i], p)
		}
	}
	e.wantLines(t, 3, "peer up")                        // each once
	server.Handle(func(q dnstest.Query) dnstest.Reply { // rest
		r := same(q)
		for i, rr := range r.RRs {
			r.RRs[i] = string(bytes.Replace([]byte(rr), []byte(" 0 IN "), []byte(" 300 IN "), 1))
		}
		return r
	})
	oracle(t, e, backends...)
}

// Whatever a name becomes, the pool follows.
func TestDN1(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	backends := []*backend{signed(t, 2, port), signed(t, 3, port), signed(t, 4, port)}
	four := func(n byte) string { return at(n, port).String() }
	s := names(server, port, "db.test")
	s.backend = "family = \"both\"\nmin_refresh = \"100ms\"\non_empty = \"remove\"\nallow_answers = [\"loopback\"]"
	server.SetA("db.test", 0, host(2))
	e := start(t, s)
	step := func(what string, serve []byte, peers ...string) {
		t.Helper()
		begin := time.Now()
		e.awaitPeers(t, peers...)
		t.Logf("%s: followed after %v", what, time.Since(begin).Round(time.Millisecond))
		served := make(map[byte]int)
		for range serve {
			n, err := servedBy(e.addr)
			if err != nil {
				t.Fatalf("%s: %v", what, err)
			}
			served[n]++
		}
		if !bytes.Equal(sorted(served), serve) {
			t.Errorf("%s: served by %v, expected %v", what, served, serve)
		}
	}
	step("A", []byte{2}, four(2))
	server.SetA("db.test", 0, host(3))
	step("changed A", []byte{3}, four(3))
	server.SetA("db.test", 0, host(2), host(3))
	step("one more A", []byte{2, 3}, four(2), four(3))
	six := func(addr string) string { return netip.AddrPortFrom(netip.MustParseAddr(addr), port).String() }
	server.SetA("db.test", 0, host(2), "::1", "2001:db8::1")
	step("two AAAA", nil, four(2), six("2001:db8::1"), six("::1"))
	server.SetA("db.test", 0)
	step("NODATA", nil)
	e.wantRefusal(t)
	server.SetA("db.test", 0, host(2))
	step("A again", []byte{2}, four(2))
	server.Set("db.test", "A")
	server.Set("db.test", "CNAME", "db.test. 0 IN CNAME other.test.")
	server.SetA("other.test", 0, host(4))
	step("CNAME", []byte{4}, four(4))
	epoch := e.poolStatus(t).Epoch
	server.Rcode("db.test", dns.RcodeServerFailure)
	e.awaitKind(t, "db.test", "A", "failure")
	step("SERVFAIL", []byte{4}, four(4))
	if p := e.poolStatus(t); p.Epoch != epoch {
		t.Errorf("SERVFAIL made epoch %d of %d", p.Epoch, epoch)
	}
	oracle(t, e)
	var in, out int64
	for _, l := range e.logs.ended() {
		in, out = in+l.In, out+l.Out
	}
	agree(t, 5*time.Millisecond, func() (bad complaints) {
		var sent int64
		for _, b := range backends {
			sent += b.sent.Load()
		}
		if in != 0 || out != sent {
			bad.add("ebb passed %d in and %d out, the peers sent %d", in, out, sent)
		}
		return bad
	})
}

func TestDN14(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	two := signed(t, 2, port)
	server.Set("a.test", "A", "a.test. 0 IN A "+host(2), "a.test. 0 IN A "+host(2))
	server.SetA("b.test", 0, host(2))
	s := names(server, port, "a.test", "b.test")
	s.backend += "\non_empty = \"remove\""
	e := start(t, s)
	peer := func() peerStatus {
		e.awaitPeers(t, two.addr.String())
		p, _ := e.poolStatus(t).peer(two.addr.String())
		return p
	}
	source := func(name string) string { return name + ":" + strconv.Itoa(int(port)) }
	// An address that stands twice in an answer is one; two names are two.
	eventually(t, "both names", func() bool { return len(peer().Sources) == 2 })
	if p := peer(); p.Weight != 2 || !slices.Equal(p.Sources, []string{source("a.test"), source("b.test")}) {
		t.Errorf("%+v", p)
	}
	server.NXDomain("a.test")
	eventually(t, "one name to go", func() bool { return len(peer().Sources) == 1 })
	if p := peer(); p.Weight != 1 || p.Sources[0] != source("b.test") {
		t.Errorf("%+v", p)
	}
	if n, err := servedBy(e.addr); n != 2 || err != nil {
		t.Errorf("served by %d, %v", n, err)
	}
	oracle(t, e, two)
}

func TestDNS41(t *testing.T) {
	port, server := freePort(t), startDNS(t)
	two := signed(t, 2, port)
	server.SetA("a.test", 0, host(2))
	server.SetA("b.test", 0, host(2))
	s := names(server, port, "a.test", "b.test")
	s.backend += "\non_empty = \"remove\""
	s.check = "kind = \"tcp\""
	e := start(t, s)
	weight := func(want int) {
		t.Helper()
		eventually(t, fmt.Sprintf("weight %d", want), func() bool {
			p, ok := e.poolStatus(t).peer(two.addr.String())
			return ok && p.State == "up" && p.Weight == want
		})
	}
	weight(2)
	if p := e.poolStatus(t); len(p.Peers) != 1 {
		t.Errorf("%d peers", len(p.Peers))
	}
	if checks := e.metrics(t).pick("ebb_check_seconds"); len(checks) != 1 {
		t.Errorf("checks: %v", checks)
	}
	c, _ := dialSigned(t, e.addr)
	server.NXDomain("a.test")
	weight(1)
	c.echoes(t, []byte("untouched"))
	server.NXDomain("b.test")
	e.awaitPeers(t)
	c.echoes(t, []byte("untouched"))
	if p, ok := e.poolStatus(t).peer(two.addr.String()); !ok || p.State != "draining" || p.Active != 1 {
		t.Errorf("%+v", p)
	}
	e.wantRefusal(t)
	c.Close()
	eventually(t, "the peer to go", func() bool { return len(e.poolStatus(t).Peers) == 0 })
	oracle(t, e)
}
