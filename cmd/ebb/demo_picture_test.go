package main

import (
	"bytes"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
)

// TestDemoWatchEpochs looks seldom: no epoch is missed.
func TestDemoWatchEpochs(t *testing.T) {
	start := time.Now()
	w := &demoWatch{born: make(map[uint64]time.Time), backends: demoBackends{
		{name: "backend-a", addr: netip.MustParseAddrPort("127.0.0.2:1")}, {name: "backend-b", addr: netip.MustParseAddrPort("127.0.0.3:1")}}}
	listed := []string{"db.demo:1"}
	for i, step := range []struct {
		at   time.Duration
		pool admin.Pool
		want []string
	}{
		{0, admin.Pool{Epoch: 1, Epochs: []admin.Epoch{{ID: 1, Cause: "config", Born: start}}}, []string{"epoch 1 published by config: no peers"}},
		{0, admin.Pool{Epoch: 1, Epochs: []admin.Epoch{{ID: 1, Cause: "config", Born: start}}}, nil},
		{2 * time.Second, admin.Pool{
			Epoch:  4,
			Epochs: []admin.Epoch{{ID: 2, Cause: "dns", Born: start.Add(time.Second), Retired: true}, {ID: 4, Cause: "dns", Born: start.Add(2 * time.Second)}},
			Peers:  []admin.Peer{{Addr: "127.0.0.2:1", Sources: listed}, {Addr: "127.0.0.3:1"}},
		}, []string{"epoch 2 published by dns", "epoch 3 published", "epoch 4 published by dns: backend-a", "reclaimed 1 after 2.0s", "reclaimed 3 after 0.0s"}},
		{5 * time.Second, admin.Pool{Epoch: 4}, []string{"reclaimed 2 after 4.0s", "reclaimed 4 after 3.0s"}},
	} {
		var got []string
		for _, e := range w.epochs(step.pool, start.Add(step.at)) {
			got = append(got, e.kind+" "+e.text)
		}
		if !slices.Equal(got, step.want) {
			t.Errorf("look %d: %q, want %q", i, got, step.want)
		}
	}
	if got := fmt.Sprint(w.freed); got != "[4 after 3.0s 2 after 4.0s 3 after 0.0s 1 after 2.0s]" {
		t.Errorf("freed %s", got)
	}
}

func demoTestScene() demoScene {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	addr := netip.MustParseAddrPort
	return demoScene{
		at: 12345 * time.Millisecond, now: now,
		answer: demoAnswer{serial: 3, records: []string{"db.demo A 127.0.0.2 127.0.0.4"}, change: "+backend-a -backend-b", since: ago(1500 * time.Millisecond)},
		backends: demoBackends{
			{name: "backend-a", addr: addr("127.0.0.2:40000")}, {name: "backend-b", addr: addr("127.0.0.3:40000")}, {name: "backend-c", addr: addr("127.0.0.4:40000")}},
		pool: admin.Pool{
			Epoch: 5, EpochsPublished: 5, EpochsReclaimed: 2,
			Epochs: []admin.Epoch{
				{ID: 3, Cause: "dns", Born: ago(9 * time.Second), Sessions: 1, Retired: true},
				{ID: 4, Cause: "dns", Born: ago(3 * time.Second), Sessions: 0, Retired: true},
				{ID: 5, Cause: "dns", Born: ago(time.Second), Sessions: 3},
			},
			Peers: []admin.Peer{
				{Addr: "127.0.0.2:40000", State: "up", Active: 3}, {Addr: "127.0.0.3:40000", State: "draining", Active: 1},
			},
		},
		count: demoCount{connections: 2400, bytes: 4567890, datagrams: 2300, long: 4, met: map[string]int{"backend-a": 1300, "backend-b": 1100}},
		rate:  199.6,
		freed: []demoFreed{{2, 6200 * time.Millisecond}, {1, 10 * time.Millisecond}},
	}
}

func TestDemoRender(t *testing.T) {
	whole := []string{
		"ebb demo: a name that moves under load                                     12.3s",
		"",
		"dns       db.demo A 127.0.0.2 127.0.0.4",
		"          +backend-a -backend-b  1.5s ago",
		"client    200/s, 2400 connections, 4.6 MB echoed, 0 failed",
		"          2300 datagrams by UDP, 0 lost",
		"",
		"EPOCH     CAUSE          AGE  SESSIONS",
		"5         dns           1.0s         3  current ###",
		"4         dns           3.0s         0  retired ",
		"3         dns           9.0s         1  retired #",
		"reclaimed 2 of 5; epoch 2 after 6.2s, 1 after 0.0s",
		"",
		"PEER                  SAYS        STATE       ACTIVE    SERVED",
		"127.0.0.2:40000       backend-a   up               3      1300",
		"127.0.0.3:40000       backend-b   draining         1      1100",
		"127.0.0.4:40000       backend-c   unlisted         0         0",
	}
	failing := demoTestScene()
	failing.count.failed, failing.failure = 2, "backend-b: EOF"
	for _, test := range []struct {
		name          string
		scene         demoScene
		width, height int
		want          []string
	}{
		{"fits", demoTestScene(), 80, 23, whole},
		{"failing", failing, 80, 23, slices.Concat(whole[:4],
			[]string{"client    200/s, 2400 connections, 4.6 MB echoed, 2 failed", "          2300 datagrams by UDP, 0 lost", "          backend-b: EOF"}, whole[6:])},
		{"low", demoTestScene(), 80, 16, slices.Concat(whole[:9], []string{"...       2 older"}, whole[11:])},
		{"lowest", demoTestScene(), 80, 0, whole[:1]},
		{"narrow", demoTestScene(), 35, 23, []string{
			"ebb demo: a name that moves under l", "", "dns       db.demo A 127.0.0.2 127.0", "          +backend-a -backend-b  1.", "client    200/s, 2400 connections, ", "          2300 datagrams by UDP, 0 ", "",
			"EPOCH     CAUSE          AGE  SESSI", "5         dns           1.0s       ", "4         dns           3.0s       ", "3         dns           9.0s       ",
			"reclaimed 2 of 5", "", "PEER                  SAYS        S", "127.0.0.2:40000       backend-a   u", "127.0.0.3:40000       backend-b   d", "127.0.0.4:40000       backend-c   u"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, line := range renderDemo(test.scene, test.width, test.height) {
				got = append(got, line.text)
			}
			if !slices.Equal(got, test.want) {
				t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "|\n"), strings.Join(test.want, "|\n"))
			}
		})
	}
}

// TestDemoPicture draws over itself, at its own pace, and what is written last stands below.
func TestDemoPicture(t *testing.T) {
	for _, color := range []bool{false, true} {
		var out bytes.Buffer
		p := &demoPicture{out: &out, color: color, size: func() (int, int) { return 80, 24 }}
		s := demoTestScene()
		p.show(s)
		if strings.Contains(out.String(), "\x1b[17A") || strings.Count(out.String(), "\r\n") != 17 {
			t.Errorf("first %q", &out)
		}
		if got := strings.Contains(out.String(), "m"+"client ") && strings.Contains(out.String(), "\x1b[0m"); got != color {
			t.Errorf("color %v: %q", color, &out)
		}
		out.Reset()
		s.at += 50 * time.Millisecond
		p.show(s)
		if out.Len() > 0 {
			t.Errorf("too soon %q", &out)
		}
		s.at += demoRedraw
		p.show(s)
		if !strings.HasPrefix(out.String(), "\x1b[17A\r") {
			t.Errorf("second %q", &out)
		}
		out.Reset()
		s.count.connections = 4321
		s.at += time.Millisecond
		p.show(s)
		fmt.Fprintln(p, "the end")
		if !strings.HasPrefix(out.String(), "\x1b[17A\r") || !strings.Contains(out.String(), "4321 connections") || !strings.HasSuffix(out.String(), "\x1b[Jthe end\n") {
			t.Errorf("last %q", &out)
		}
	}
}

// TestDemoSize is about bytes for people.
func TestDemoSize(t *testing.T) {
	for n, want := range map[int64]string{0: "0 B", 9999: "9999 B", 12345: "12.3 kB", 1_250_000: "1.2 MB"} {
		if got := size(n); got != want {
			t.Errorf("%d: %q, want %q", n, got, want)
		}
	}
}
