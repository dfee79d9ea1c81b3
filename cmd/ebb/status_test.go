package main

import (
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
)

func TestWriteStatus(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ejected, since, lag := now.Add(12*time.Second), now.Add(-time.Minute), 0.25
	s := &admin.Status{
		Version: "v1.0.0", Engine: "portable", Loops: 2, PID: 7, Uptime: 3 * 3600, Reasons: []string{"pool pg: no peer"},
		Listeners: []admin.Listener{{Name: "pg", Address: "127.0.0.1:5432", Protocol: "tcp", Pool: "pg", Active: 3, Total: 120}},
		Pools: []admin.Pool{{
			Name: "pg", Balance: "leastconn", Epoch: 4, Selectable: 0, EpochsPublished: 4, EpochsReclaimed: 2,
			Epochs: []admin.Epoch{
				{ID: 2, Cause: "dns", Born: now.Add(-2 * time.Hour), Sessions: 3, Retired: true},
				{ID: 4, Cause: "health", Born: now.Add(-90 * time.Second)},
			},
			Peers: []admin.Peer{
				{Addr: "10.0.0.1:5432", Weight: 1, State: "ejected", Health: "up", Active: 3, Total: 119, Sources: []string{"a:5432", "b:5432"}, EjectedUntil: &ejected},
				{
					Addr: "10.0.0.2:5432", Weight: 1, State: "unwanted", Health: "up", Role: "replica", Lag: &lag, Since: &since, Sources: []string{"b:5432"},
					Reason: "role", Detail: "it is a replica, expected a primary",
				},
				{Addr: "[2001:db8::1]:5432", Weight: 1, Tier: 2, State: "draining", Health: "unknown", Total: 1, Failures: 3},
			},
		}},
		DNS: []admin.Name{{
			Name: "a", Type: "A", Resolver: "default", Kind: "failure", TTL: 30, Age: 61, Next: 0.25, Stale: true, Failures: 2, Records: []string{"10.0.0.1"},
			Error: "udp://192.0.2.53:53: servfail\n", Peers: []admin.Feed{{Pool: "pg", Addr: "10.0.0.1:5432"}},
		}},
	}
	const want = `ebb v1.0.0, pid 7, up 3h0m, engine portable, loops 2: not ready
  pool pg: no peer
  name a A: 2 failures, what an answer said 1m1s ago stays: 1 peer (udp://192.0.2.53:53: servfail?)

LISTENER  ADDRESS               POOL  ACTIVE  TOTAL
pg        tcp://127.0.0.1:5432  pg    3       120

POOL  BALANCE    EPOCH  PEERS  SELECTABLE  TIER  PUBLISHED  RECLAIMED
pg    leastconn  4      3      0           -     4          2

POOL  PEER                TIER  WEIGHT  STATE        HEALTH   ROLE     LAG    SINCE  ACTIVE  TOTAL  SOURCES        WHY
pg    10.0.0.1:5432       0     1       ejected 12s  up       -        -      -      3       119    a:5432,b:5432  sessions have failed on it in a row
pg    10.0.0.2:5432       0     1       unwanted     up       replica  250ms  1m0s   0       0      b:5432         role: it is a replica, expected a primary
pg    [2001:db8::1]:5432  2     1       draining     unknown  -        -      -      0       1      -              the last 3 sessions could not connect

POOL  EPOCH  CAUSE   AGE    SESSIONS  RETIRED
pg    2      dns     2h0m   3         yes
pg    4      health  1m30s  0         no

NAME  TYPE  RESOLVER  KIND     TTL  AGE   NEXT   STALE  FAILURES  RECORDS
a     A     default   failure  30s  1m1s  250ms  yes    2         10.0.0.1
`
	var out strings.Builder
	if err := writeStatus(&out, s, now); err != nil {
		t.Fatal(err)
	}
	if out.String() != want {
		t.Errorf("got\n%s\nwant\n%s", out.String(), want)
	}

	s.Ready, s.DNS = true, nil
	out.Reset()
	if err := writeStatus(&out, s, now); err != nil || !strings.Contains(out.String(), ": ready\n") || strings.Contains(out.String(), "NAME") {
		t.Errorf("%v, %s", err, out.String())
	}
	s.Stopping = true
	out.Reset()
	if err := writeStatus(&out, s, now); err != nil || !strings.Contains(out.String(), ": stopping\n") {
		t.Errorf("%v, %s", err, out.String())
	}
	if err := writeStatus(failing{}, s, now); !errors.Is(err, errFailing) {
		t.Errorf("a failed write gave %v", err)
	}
}

var errFailing = errors.New("full")

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errFailing }

// TestStatusStrangers asks what is not a running ebb.
func TestStatusStrangers(t *testing.T) {
	for _, c := range []struct {
		name   string
		answer http.HandlerFunc
		want   string
	}{
		{"other program", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("<html>")) }, "is not ebb"},
		{"refuses", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "go away", http.StatusForbidden) }, "403 Forbidden: go away"},
		{"hangs up", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }, "is ebb running?"},
	} {
		t.Run(c.name, func(t *testing.T) {
			stranger := httptest.NewServer(c.answer)
			defer stranger.Close()
			code, stdout, stderr := runAll(t, "status", "--admin", stranger.Listener.Addr().String())
			if code != exitFailed || stdout != "" || !strings.HasPrefix(stderr, "ebb: status: ") || !strings.Contains(stderr, c.want) {
				t.Errorf("%d, %q, %s", code, stdout, stderr)
			}
		})
	}
}

// TestStatusByName asks at localhost, as people do.
func TestStatusByName(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(admin.Status{Version: "v9"})
	}))
	defer server.Close()
	_, port, err := net.SplitHostPort(server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	code, stdout, stderr := runAll(t, "status", "--admin", "localhost:"+port)
	if code != exitDone || stderr != "" || !strings.HasPrefix(stdout, "ebb v9, ") {
		t.Errorf("%d, %s%s", code, stdout, stderr)
	}
}

func TestAge(t *testing.T) {
	for _, c := range []struct {
		d    time.Duration
		want string
	}{
		{-time.Second, "0s"}, {0, "0s"}, {1500 * time.Microsecond, "2ms"}, {12340 * time.Millisecond, "12.3s"}, {time.Minute, "1m0s"},
		{59*time.Minute + 59*time.Second, "59m59s"}, {3*time.Hour + 12*time.Minute, "3h12m"}, {52 * time.Hour, "2d4h"},
	} {
		if got := age(c.d); got != c.want {
			t.Errorf("age(%v) = %s, want %s", c.d, got, c.want)
		}
	}
}
