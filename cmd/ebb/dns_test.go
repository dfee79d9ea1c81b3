package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
	"github.com/ebb-lb/ebb/lb"
	"github.com/ebb-lb/ebb/lb/admin"
)

// TestDNS asks a running ebb what it knows of names, and makes it ask again.
func TestDNS(t *testing.T) {
	dns, err := dnstest.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	peer := echo(t)
	_, port, _ := strings.Cut(peer, ":")
	dns.Set("db.test", "CNAME", "db.test. 300 IN CNAME db-1.test.")
	dns.SetA("db-1.test", 300, "127.0.0.1")
	adminAddr := freeAddr(t)
	c := begin(t, "run", "--listen", "tcp://"+freeAddr(t), "--to", "db.test:"+port, "--resolver", "udp://"+dns.Addr(), "--allow-answers", "loopback",
		"--min-refresh", "100ms", "--admin", adminAddr)
	defer func() { c.stop(); c.wait(t) }()
	var list []admin.Name
	for give := time.Now().Add(20 * time.Second); len(list) == 0 || len(list[0].Peers) == 0; {
		_, stdout, _ := runAll(t, "dns", "DB.test.", "--json", "--admin", adminAddr)
		_ = json.Unmarshal([]byte(stdout), &list)
		if time.Now().After(give) {
			t.Fatalf("no name: %s", stdout)
		}
	}
	if n := list[0]; n.Name != "db.test" || n.Type != "A" || n.Kind != "ok" || n.Rcode != "NOERROR" || len(n.Chain) != 1 ||
		n.Peers[0] != (admin.Feed{Pool: "default", Addr: peer}) {
		t.Errorf("%+v", n)
	}
	for _, tc := range []struct {
		code int
		args []string
		says []string // that the output has
	}{
		{0, []string{"dns"}, []string{"NAME     TYPE", "db.test  A "}},
		{0, []string{"dns", "db.test"}, []string{";; db.test A, resolver default\n", ";; by way of db-1.test.\n127.0.0.1\n;; peer " + peer + " of pool default\n"}},
		{0, []string{"dns", "refresh", "--json"}, []string{`"questions": `}},
		{1, []string{"dns", "none.test"}, []string{`ebb: dns: the name "none.test" is not watched`}},
		{1, []string{"dns", "refresh", "none.test"}, []string{`ebb: refresh: the name "none.test" is not watched`}},
	} {
		code, stdout, stderr := runAll(t, append(tc.args, "--admin", adminAddr)...)
		for _, want := range tc.says {
			if code != tc.code || !strings.Contains(stdout+stderr, want) {
				t.Errorf("%q: %d\n%s%s", tc.args, code, stdout, stderr)
			}
		}
	}
	before := dns.QueryCount("db.test", "A")
	if code, stdout, stderr := runAll(t, "dns", "refresh", "db.test", "--admin", adminAddr); code != exitDone || !strings.HasSuffix(stdout, " on the way\n") {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
	for give := time.Now().Add(20 * time.Second); dns.QueryCount("db.test", "A") == before; time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			t.Fatal("the name was not asked for again")
		}
	}
}

// TestResolve asks a server that truncates, lies and has services.
func TestResolve(t *testing.T) {
	dns, err := dnstest.Start("")
	if err != nil {
		t.Fatal(err)
	}
	defer dns.Close()
	dns.Set("db.test", "CNAME", "db.test. 30 IN CNAME db-1.test.")
	dns.SetA("db-1.test", 300, "192.0.2.7", "127.0.0.1")
	dns.Set("_pg._tcp.test", "SRV", "_pg._tcp.test. 60 IN SRV 10 3 5432 a.test.", "_pg._tcp.test. 60 IN SRV 20 0 5433 b.test.")
	dns.Handle(func(q dnstest.Query) dnstest.Reply {
		return dnstest.Reply{Default: true, TC: q.Transport == "udp" && strings.HasPrefix(q.Name, "db.")}
	})
	server := "udp://" + dns.Addr()
	code, stdout, stderr := runAll(t, "resolve", "db.test", "--type", "a", "--resolver", server)
	for _, want := range []string{
		";; db.test A, resolver default\n;; 1. db.test. at udp://", ": truncated in ", ";; 2. db.test. at tcp://", "db.test.\t30\tIN\tCNAME\tdb-1.test.\n",
		";; answer: ok (NOERROR) from udp://", ", ttl 30s\n;; by way of db-1.test.\n;;   127.0.0.1\n;;   192.0.2.7\n",
		";;   drop [127.0.0.1]: not in allow_answers\n;;   put in force at once what is not yet: 1 of A\n;;   ask again in 30s to 33s\n",
	} {
		if code != exitDone || stderr != "" || !strings.Contains(stdout, want) {
			t.Errorf("%d, no %q in\n%s%s", code, want, stdout, stderr)
		}
	}
	code, stdout, stderr = runAll(t, "resolve", "_pg._tcp.test", "--resolver", server, "--json")
	var list []lb.Resolution
	if err := json.Unmarshal([]byte(stdout), &list); err != nil || code != exitDone || len(list) != 1 {
		t.Fatalf("%d, %v\n%s%s", code, err, stdout, stderr)
	}
	want := "send to a.test. port 5432 in tier 0 with weight 3, and watch its addresses|send to b.test. port 5433 in tier 1 with weight 1, and watch its addresses|ask again in 1m0s to 1m5s"
	if r := list[0]; r.Type != "SRV" || r.TTL != 60 || len(r.Records) != 2 || len(r.Steps) != 1 || r.Steps[0].EDNS != 1232 || strings.Join(r.Effect, "|") != want {
		t.Errorf("%+v", r)
	}
	code, stdout, _ = runAll(t, "resolve", "none.test", "--resolver", server)
	if code != exitDone || !strings.Contains(stdout, ";; answer: nxdomain (NXDOMAIN) from udp://") || !strings.Contains(stdout, "at least 2 times in a row") {
		t.Errorf("%d\n%s", code, stdout)
	}
}
