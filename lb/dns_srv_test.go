package lb

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// serviceRig has a pool of one service, _db._tcp.test.
func serviceRig(t *testing.T) *rig {
	t.Helper()
	r := newRig(t)
	b := named("_db._tcp.test", 0)
	b.Type = "srv"
	r.pool().Backends = []config.Backend{b}
	return r
}

// announce gives the service its records, each "PRIORITY WEIGHT PORT TARGET".
func (r *rig) announce(lines ...string) {
	for i := range lines {
		lines[i] = "_db._tcp.test. 0 IN SRV " + lines[i]
	}
	r.dns.Set("_db._tcp.test", "SRV", lines...)
}

// share makes n sessions and says how many each address served.
func (r *rig) share(n int) map[string]int {
	r.t.Helper()
	served := make(map[string]int)
	for range n {
		served[r.ask().Addr().String()]++
	}
	return served
}

func TestDNS44PrioritiesAreTiersAndWeightsAreShares(t *testing.T) {
	r := serviceRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	for i, name := range []string{"a.test", "b.test", "c.test"} {
		r.dns.SetA(name, 0, list[i].addr.Addr().String())
	}
	r.announce(fmt.Sprintf("10 3 %d a.test.", port), fmt.Sprintf("10 1 %d b.test.", port), fmt.Sprintf("20 9 %d c.test.", port))
	r.pool().Check = fastCheck()
	r.serve()
	r.awaitListed("127.0.0.2", "127.0.0.3", "127.0.0.4")
	state := func(i int, want string) {
		t.Helper()
		eventually(t, fmt.Sprint("peer ", i, " is ", want), func() bool { return r.status().Peers[i].State == want })
	}
	state(0, "up")
	state(1, "up")
	state(2, "standby")
	atStart := len(r.logs.find("another tier serves")) // if the backup's address was known first, it served for a moment
	served := r.share(4000)
	if a, b := served["127.0.0.2"], served["127.0.0.3"]; a < 2880 || a > 3120 || a+b != 4000 {
		t.Errorf("%v", served)
	}
	up := make(map[string]float64)
	r.server.sample(func(m *admin.Metric, value float64, labels ...string) {
		switch m {
		case admin.PeerUp:
			up[labels[1]] = value
		case admin.PoolTier, admin.PoolSelectable:
			up[fmt.Sprint(m == admin.PoolTier)] = value
		}
	})
	if len(up) != 5 || up[list[2].addr.String()] != 1 || up["true"] != 0 || up["false"] != 2 { // who stands by is fit
		t.Errorf("metrics: %v", up)
	}
	if p := r.status(); p.Selectable != 2 || p.Tier != 0 {
		t.Errorf("%d selectable in tier %d", p.Selectable, p.Tier)
	}
	list[0].stop()
	state(0, "down")
	if served := r.share(50); served["127.0.0.3"] != 50 {
		t.Errorf("one of the tier is down: %v", served)
	}
	list[1].stop()
	state(1, "down")
	state(2, "up")
	if served := r.share(50); served["127.0.0.4"] != 50 {
		t.Errorf("the tier is down: %v", served)
	}
	held := r.dial()
	greeting(t, held)
	serveBackend(t, "127.0.0.2", port)
	state(0, "up")
	if served := r.share(50); served["127.0.0.2"] != 50 {
		t.Errorf("the tier is back: %v", served)
	}
	fmt.Fprintln(held, "x")
	if n, err := held.Read(make([]byte, 2)); n == 0 {
		t.Errorf("the session on the other tier was harmed: %v", err)
	}
	held.Close()
	if lines := r.logs.find("another tier serves")[atStart:]; len(lines) != 2 || lines[0]["tier"] != 1.0 || lines[1]["tier"] != 0.0 {
		t.Errorf("%v", lines)
	}
	r.closed()
}

func TestDNS46AnotherPortIsAnotherPeer(t *testing.T) {
	r := serviceRig(t)
	one, two := serveBackend(t, "127.0.0.2", 0), serveBackend(t, "127.0.0.2", 0)
	r.dns.SetA("a.test", 0, "127.0.0.2")
	r.announce(fmt.Sprintf("0 0 %d a.test.", one.addr.Port()))
	r.serve()
	held := r.dial()
	if who := greeting(t, held); who != one.addr {
		t.Fatalf("%v", who)
	}
	r.announce(fmt.Sprintf("0 0 %d a.test.", two.addr.Port()))
	eventually(t, "the other port", func() bool { return r.ask() == two.addr })
	eventually(t, "the old one drains", func() bool {
		return slices.ContainsFunc(r.server.Status().Pools[0].Peers, func(p admin.Peer) bool { return p.Addr == one.addr.String() && p.State == "draining" && p.Active == 1 })
	})
	fmt.Fprintln(held, "x")
	if n, err := held.Read(make([]byte, 2)); n == 0 {
		t.Errorf("the session was harmed: %v", err)
	}
	held.Close()
	r.closed()
}

func TestDNS47AnotherWeightTouchesNoSession(t *testing.T) {
	r := serviceRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("a.test", 0, "127.0.0.2")
	r.dns.SetA("b.test", 0, "127.0.0.3")
	r.announce(fmt.Sprintf("0 1 %d a.test.", port), fmt.Sprintf("0 1 %d b.test.", port))
	r.pool().On.Removed = "close" // so that a removal would be seen
	r.serve()
	r.awaitListed("127.0.0.2", "127.0.0.3")
	held := r.dial()
	who := greeting(t, held)
	for _, weight := range []int{3, 65535, 0, 9} {
		r.announce(fmt.Sprintf("0 %d %d a.test.", weight, port), fmt.Sprintf("0 1 %d b.test.", port))
		eventually(t, "the weight", func() bool { return r.status().Peers[0].Weight == weight })
	}
	if served := r.share(100); served["127.0.0.2"] != 90 {
		t.Errorf("9 to 1 gave %v", served)
	}
	fmt.Fprintln(held, "x")
	if n, err := held.Read(make([]byte, 2)); n == 0 {
		t.Errorf("the session on %v was harmed: %v", who, err)
	}
	held.Close()
	for _, msg := range []string{"peer gone", "sessions closed"} {
		if lines := r.logs.find(msg); len(lines) != 0 {
			t.Errorf("%v", lines)
		}
	}
	_ = list
	r.closed()
}

func TestDNS49RecordsOfOtherTypesAreNotLookedAt(t *testing.T) {
	r := serviceRig(t)
	list, port := backends(t, "127.0.0.2")
	r.dns.SetA("a.test", 0, "127.0.0.2")
	r.dns.Handle(func(q dnstest.Query) dnstest.Reply {
		if q.Type != "SRV" {
			return dnstest.Reply{Default: true}
		}
		return dnstest.Reply{
			RRs: []string{
				`_db._tcp.test. 1 IN TXT "weight=9"`,
				"_db._tcp.test. 1 IN RRSIG SRV 8 3 1 20300101000000 20200101000000 1 test. c2ln",
				fmt.Sprintf("_db._tcp.test. 1 IN SRV 0 0 %d a.test.", port),
				fmt.Sprintf("other.test. 1 IN SRV 0 0 %d b.test.", port),
			},
			Extra: []string{"a.test. 1 IN RRSIG A 8 2 1 20300101000000 20200101000000 1 test. c2ln", `a.test. 1 IN TXT "x"`, "evil.test. 1 IN A 127.0.0.9"},
		}
	})
	r.serve()
	r.awaitListed("127.0.0.2")
	if who := r.ask(); who != list[0].addr {
		t.Errorf("%v", who)
	}
	r.closed()
}

// A target is watched while a service names it, and no longer.
func TestTargetsAreWatchedWhileTheyAreNamed(t *testing.T) {
	r := serviceRig(t)
	_, port := backends(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	r.dns.SetA("a.test", 0, "127.0.0.2")
	r.dns.SetA("b.test", 0, "127.0.0.3")
	r.announce(fmt.Sprintf("0 0 %d A.test.", port))
	r.serve()
	r.awaitListed("127.0.0.2")
	r.dns.SetA("a.test", 0, "127.0.0.4") // by its own answers
	r.awaitListed("127.0.0.4")
	r.announce(fmt.Sprintf("0 0 %d b.test.", port))
	r.awaitListed("127.0.0.3")
	watched := func() (list []string) {
		for _, n := range r.server.Status().DNS {
			list = append(list, n.Name+" "+n.Type)
		}
		return list
	}
	eventually(t, "only what is named is watched", func() bool { return slices.Equal(watched(), []string{"_db._tcp.test SRV", "b.test A"}) })
	for range 20 { // names that come and go quickly leave nothing behind
		r.announce(fmt.Sprintf("0 0 %d a.test.", port))
		r.awaitListed("127.0.0.4")
		r.announce(fmt.Sprintf("0 0 %d b.test.", port))
		r.awaitListed("127.0.0.3")
	}
	eventually(t, "only what is named is watched", func() bool { return slices.Equal(watched(), []string{"_db._tcp.test SRV", "b.test A"}) })
	r.closed()
}

func TestDNS50AndDN19NoServiceAndNoAddress(t *testing.T) {
	r := serviceRig(t)
	r.pool().Backends[0].OnEmpty = "remove"
	_, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("a.test", 0, "127.0.0.2")
	r.dns.SetA("empty.test", 0)
	r.announce(fmt.Sprintf("0 0 %d a.test.", port), fmt.Sprintf("0 0 %d empty.test.", port), fmt.Sprintf("0 0 %d none.test.", port))
	r.serve()
	r.awaitListed("127.0.0.2")
	for range 20 {
		r.ask()
	}
	for _, line := range r.logs.find("session") {
		if attempts := fmt.Sprint(line["attempts"]); strings.Contains(attempts, ",") {
			t.Errorf("%s", attempts)
		}
	}
	r.announce("0 0 0 .")
	eventually(t, "no peer", func() bool { return len(r.listed()) == 0 })
	if _, why := r.server.Ready(); len(why) == 0 || !strings.Contains(why[0], "srv+_db._tcp.test SRV: nodata") {
		t.Errorf("%q", why)
	}
	r.announce(fmt.Sprintf("0 0 %d a.test.", port))
	r.awaitListed("127.0.0.2")
	r.closed()
}

// DN-2: a service that is too large for UDP, and then cannot be had whole.
func TestDN2ATruncatedServiceIsNeverApplied(t *testing.T) {
	r := serviceRig(t)
	_, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("a.test", 0, "127.0.0.2")
	r.dns.SetA("b.test", 0, "127.0.0.3")
	r.announce(fmt.Sprintf("0 0 %d a.test.", port), fmt.Sprintf("0 0 %d b.test.", port))
	part := dnstest.Reply{TC: true, RRs: []string{fmt.Sprintf("_db._tcp.test. 0 IN SRV 0 0 %d a.test.", port)}}
	r.dns.Handle(func(q dnstest.Query) dnstest.Reply {
		if q.Type == "SRV" && q.Transport == "udp" {
			return part
		}
		return dnstest.Reply{Default: true}
	})
	r.serve()
	r.awaitListed("127.0.0.2", "127.0.0.3")
	r.dns.Handle(func(q dnstest.Query) dnstest.Reply {
		switch {
		case q.Type == "SRV" && q.Transport == "udp":
			return part
		case q.Type == "SRV":
			return dnstest.Reply{Hangup: true}
		}
		return dnstest.Reply{Default: true}
	})
	eventually(t, "a failure", func() bool { return len(r.logs.find("dns failing")) > 0 })
	if got := r.listed(); len(got) != 2 {
		t.Errorf("peers %v", got)
	}
}

func TestDNS57ASetIsCutAlwaysTheSame(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	var addrs []string
	for i := range 2000 {
		addrs = append(addrs, fmt.Sprintf("127.1.%d.%d", i/250, 1+i%250))
	}
	r.dns.SetA("many.test", 0, addrs...)
	r.pool().Backends = []config.Backend{named("many.test", port)}
	r.serve()
	if n := len(r.listed()); n != 1024 {
		t.Fatalf("%d peers", n)
	}
	epoch, asked := r.status().Epoch, r.dns.QueryCount("many.test", "A")
	slices.Reverse(addrs)
	r.dns.SetA("many.test", 0, addrs...)
	eventually(t, "more answers", func() bool { return r.dns.QueryCount("many.test", "A") > asked+8 })
	if now := r.status().Epoch; now != epoch {
		t.Errorf("epoch %d became %d", epoch, now)
	}
	if lines := r.logs.find("dns answer too large"); len(lines) != 1 || lines[0]["omitted"] != 976.0 {
		t.Errorf("%v", lines)
	}
}

func TestDNS59ASlowServerDelaysNoConnection(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.conf.Resolvers[0].AttemptTimeout, r.conf.Resolvers[0].Deadline = 2*patience, 2*patience
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.serve()
	waits, release := make(chan struct{}, 1), make(chan struct{})
	r.dns.Handle(func(dnstest.Query) dnstest.Reply {
		select {
		case waits <- struct{}{}:
		default:
		}
		select {
		case <-release:
		case <-t.Context().Done():
		}
		return dnstest.Reply{Default: true}
	})
	<-waits
	asked := r.dns.QueryCount("db.test", "A")
	for range 20 {
		r.ask()
	}
	if n := r.dns.QueryCount("db.test", "A"); n != asked {
		t.Errorf("%d questions, want %d: the one that has no answer yet is the last", n, asked)
	}
	close(release)
	eventually(t, "the next question", func() bool { return r.dns.QueryCount("db.test", "A") > asked })
	r.closed()
}

func TestDNS61TheNameOfTheCertificate(t *testing.T) {
	for name, right := range map[string]bool{"dns.test": true, "other.test": false} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t)
			list, port := backends(t, "127.0.0.2")
			ca, err := dnstest.NewCA()
			if err != nil {
				t.Fatal(err)
			}
			at, err := r.dns.ServeTLS(ca, "dns.test")
			if err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "ca.pem")
			if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
				t.Fatal(err)
			}
			r.conf.Resolvers[0].Servers = []string{"tls://" + at + "#" + name}
			r.conf.Resolvers[0].CAFile = file
			r.conf.Resolvers[0].AttemptTimeout, r.conf.Resolvers[0].Deadline = patience, patience // who times out connects anew
			r.dns.SetA("db.test", 0, "127.0.0.2")
			r.pool().Backends = []config.Backend{named("db.test", port)}
			if !right {
				r.start()
				eventually(t, "a failure", func() bool { return len(r.logs.find("dns failing")) > 0 })
				if text := fmt.Sprint(r.logs.find("dns failing")[0]["error"]); !strings.Contains(text, "other.test") || !strings.Contains(text, "dns.test") {
					t.Errorf("the error names neither: %s", text)
				}
				if n := r.dns.QueryCount("db.test", "A"); n != 0 {
					t.Errorf("%d questions", n)
				}
				return
			}
			r.serve()
			if who := r.ask(); who != list[0].addr {
				t.Errorf("%v", who)
			}
			eventually(t, "more answers", func() bool { return r.dns.QueryCount("db.test", "A") > 8 })
			if n := r.dns.Connections("tls"); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestDNS61ACertificateThatTurnsBadKeepsTheSet(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3")
	ca, err := dnstest.NewCA()
	if err != nil {
		t.Fatal(err)
	}
	at, err := r.dns.ServeTLS(ca, "dns.test")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, ca.PEM(), 0o600); err != nil {
		t.Fatal(err)
	}
	r.conf.Resolvers[0].Servers = []string{"tls://" + at + "#dns.test"}
	r.conf.Resolvers[0].CAFile = file
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.serve()
	ca.Rename("other.test")
	r.dns.Hangup()
	eventually(t, "a failure", func() bool { return len(r.logs.find("dns failing")) > 0 })
	r.dns.SetA("db.test", 0, "127.0.0.3") // whoever believes it now is deceived
	if text := fmt.Sprint(r.logs.find("dns failing")[0]["error"]); !strings.Contains(text, "dns.test") {
		t.Errorf("the error does not name the certificate: %s", text)
	}
	eventually(t, "more failures", func() bool { return r.server.Status().DNS[0].Failures > 1 })
	if who := r.ask(); who != list[0].addr {
		t.Errorf("served by %v", who)
	}
	ca.Rename("dns.test")
	eventually(t, "the new address", func() bool { return r.ask() == list[1].addr })
}

func TestDN15ForbiddenAddresses(t *testing.T) {
	r := serviceRig(t)
	_, port := backends(t, "127.0.0.2")
	plain := named("db.test", port)
	plain.Family, plain.AllowAnswers = "both", nil
	r.pool().Backends[0].AllowAnswers = nil
	r.pool().Backends = append(r.pool().Backends, plain)
	r.announce(fmt.Sprintf("0 0 %d a.test.", port))
	forbidden := []string{"127.0.0.1", "::1", "::ffff:127.0.0.1", "0.0.0.0", "::", "169.254.169.254", "224.0.0.1", "255.255.255.255"}
	r.dns.SetA("a.test", 0, forbidden...)
	r.dns.SetA("db.test", 0, append([]string{"192.0.2.1"}, forbidden...)...)
	r.start()
	r.awaitListed("192.0.2.1")
	eventually(t, "they are counted", func() bool { return r.server.refused.all()[refusedKey{"db", "allow_answers"}] > 0 })
	asked := r.dns.QueryCount("db.test", "A")
	r.dns.SetA("db.test", 0, forbidden...) // nothing but forbidden ones: a failure, and what was stays
	eventually(t, "more answers", func() bool { return r.dns.QueryCount("db.test", "A") > asked+3 })
	if got := r.listed(); !slices.Equal(got, []string{"192.0.2.1"}) {
		t.Errorf("peers %v", got)
	}
}

func TestDN17NamesAreAskedAsTheyAre(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.dns.SetA("single", 0, "127.0.0.3")
	r.dns.SetA("_a._tcp.test", 0, "127.0.0.4")
	r.pool().Backends = []config.Backend{named("DB.Test.", port), named("single", port), named("_a._tcp.TEST", port)}
	r.serve()
	r.awaitListed("127.0.0.2", "127.0.0.3", "127.0.0.4")
	for _, q := range r.dns.Queries() {
		if !slices.Contains([]string{"db.test", "single", "_a._tcp.test"}, strings.ToLower(q.Name)) {
			t.Errorf("asked for %s", q.Name)
		}
	}
}

func TestDNS62AHabitOfAServerIsToldOnce(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.conf.Resolvers[0].CaseRandomization = true
	r.dns.SetA("a-name-with-many-letters.test", 0, "127.0.0.2")
	r.dns.Handle(func(dnstest.Query) dnstest.Reply { return dnstest.Reply{Default: true, Lower: true} })
	r.pool().Backends = []config.Backend{named("a-name-with-many-letters.test", port)}
	r.serve()
	eventually(t, "more answers", func() bool { return r.dns.QueryCount("a-name-with-many-letters.test", "A") > 8 })
	if lines := r.logs.find("dns server"); len(lines) != 1 || lines[0]["server"] != "udp://"+r.dns.Addr() {
		t.Errorf("%v", lines)
	}
}

func TestARaceIsWonByWhoAnswers(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	silent, err := dnstest.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	silent.Silent("", true)
	res := &r.conf.Resolvers[0]
	res.Servers = append([]string{"udp://" + silent.Addr()}, res.Servers...)
	res.Strategy, res.AttemptTimeout, res.Deadline = "race", patience, patience
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.serve() // in order, it would take the patience
}
