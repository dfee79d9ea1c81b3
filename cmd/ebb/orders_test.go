package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
)

// TestOrders takes a peer of a running ebb out and back.
func TestOrders(t *testing.T) {
	peer, other, at, adminAddr := echo(t), echo(t), freeAddr(t), freeAddr(t)
	c := begin(t, "run", "--listen", "tcp://"+at, "--to", peer, "--to", other, "--admin", adminAddr)
	defer func() { c.stop(); c.wait(t) }()
	for give := time.Now().Add(20 * time.Second); ; time.Sleep(5 * time.Millisecond) {
		if code, stdout, _ := runAll(t, "status", "--admin", adminAddr); code == 0 && strings.Contains(stdout, ": ready\n") {
			break
		}
		if time.Now().After(give) {
			t.Fatal("not ready")
		}
	}
	for _, tc := range []struct {
		code int
		args []string
		says string
	}{
		{0, []string{"drain", "default", peer}, peer + " of default: drain, weight 1, 0 sessions on it, epoch "},
		{0, []string{"drain", "default", peer}, ", as before\n"},
		{0, []string{"status"}, "drain"},
		{0, []string{"explain", "default", "192.0.2.7"}, "a new client from 192.0.2.7 of listener default would go to " + other + "\n"},
		{0, []string{"explain", "default"}, "an operator drains it\n"},
		{0, []string{"explain", "default", "--json"}, `"standing": "drain"`},
		{1, []string{"explain", "web"}, "ebb: explain: no listener is named \"web\", expected one of default\n"},
		{2, []string{"explain"}, "explain: missing: the name of a listener\n"},
		{2, []string{"explain", "default", "here"}, "explain: found \"here\", expected the ADDRESS or ADDRESS:PORT of a client"},
		{2, []string{"explain", "default", "::1", "now"}, "explain: unexpected argument \"now\"\n"},
		{0, []string{"maint", "default", peer}, peer + " of default: maint"},
		{0, []string{"ready", "default", peer}, peer + " of default: up"},
		{0, []string{"weight", "default", peer, "7"}, "weight 7"},
		{0, []string{"weight", "default", peer, "default"}, "weight 1"},
		{0, []string{"weight", "default", peer, "0", "--json"}, `"admin_weight": 0`},
		{1, []string{"drain", "web", peer}, "ebb: drain: no pool is named \"web\", expected one of default\n"},
		{1, []string{"weight", "default", "127.0.0.1:1", "1"}, "ebb: weight: pool default has no peer \"127.0.0.1:1\", expected one of "},
		{2, []string{"drain", "default"}, "drain: missing: the ADDRESS:PORT of a peer\n"},
		{2, []string{"weight", "default", peer}, "weight: missing: a weight\n"},
		{2, []string{"weight", "default", peer, "65536"}, "weight: found \"65536\", expected a whole number from 0 to 65535"},
		{2, []string{"maint", "default", peer, "now"}, "maint: unexpected argument \"now\"\n"},
	} {
		code, stdout, stderr := runAll(t, append(tc.args, "--admin", adminAddr)...)
		if code != tc.code || !strings.Contains(stdout+stderr, tc.says) {
			t.Errorf("%q: %d\n%s%s", tc.args, code, stdout, stderr)
		}
	}
	var r admin.PeerReply
	if _, stdout, _ := runAll(t, "ready", "default", other, "--json", "--admin", adminAddr); json.Unmarshal([]byte(stdout), &r) != nil || r.Changed || r.Peer.Addr != other {
		t.Errorf("%s", stdout)
	}
}
