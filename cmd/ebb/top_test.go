package main

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	tea "charm.land/bubbletea/v2"

	"github.com/ebb-lb/ebb/lb/admin"
)

// looks are two samples, ten seconds apart, of an ebb as it describes itself.
func looks() (first, second topSample) {
	sample := func(at time.Time, more int64) topSample {
		return topSample{at: at, matched: 900, Status: admin.Status{
			Version: "v1.0.0", PID: 7, Uptime: 3 * 3600, Ready: true,
			Listeners: []admin.Listener{
				{Name: "pg", Address: "127.0.0.1:5432", Protocol: "tcp", Pool: "pg", Active: 3, Total: uint64(120 + more), In: 1 << 20 * more, Out: 10 << 20 * more},
				{Name: "web", Address: "[::]:8080", Protocol: "tcp", Pool: "web", Active: 10, Total: 10},
			},
			Pools: []admin.Pool{
				{Name: "pg", Selectable: 1, Epochs: []admin.Epoch{{ID: 2, Cause: "dns", Born: at.Add(-2 * time.Hour), Sessions: 3, Retired: true}, {ID: 4, Cause: "health", Born: at}},
					Peers: []admin.Peer{
						{Addr: "10.0.0.1:5432", Weight: 1, State: "up", Health: "up", Active: 3, Total: uint64(119 + more)},
						{Addr: "10.0.0.2:5432", Weight: 1, State: "down", Health: "down", Total: 5},
					}},
				{Name: "web", Selectable: 1, Waiting: 2, Peers: []admin.Peer{{Addr: "[2001:db8:1234:5678:9abc:def0:1234:5678]:65535", Weight: 3, State: "up", Health: "up", Active: 10, Total: 10}}},
			},
			DNS: []admin.Name{{Name: "a.test\x1b[2J", Type: "A", Kind: "ok", TTL: 30, Records: []string{"10.0.0.1"}}},
		}, conns: []admin.Conn{{ID: 1, Client: "10.9.9.9:1", Age: 10, In: 5}, {ID: 2, Client: "10.9.9.8:1", Age: 100, Out: 2048, Epoch: 4}}}
	}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.Local)
	return sample(now, 0), sample(now.Add(10*time.Second), 45)
}

func press(m *topModel, keys ...tea.KeyPressMsg) {
	for _, k := range keys {
		m.Update(k)
	}
}

func letter(r rune) tea.KeyPressMsg { return tea.KeyPressMsg{Code: r, Text: string(r)} }

// visible is the screen without attributes, and fails the test if it does not fit.
func visible(t *testing.T, m *topModel) []string {
	t.Helper()
	lines := strings.Split(m.View().Content, "\n")
	if len(lines) != m.height {
		t.Errorf("%d lines, want %d", len(lines), m.height)
	}
	for i := range lines {
		lines[i] = strings.NewReplacer(bold, "", reverse, "", plain, "").Replace(lines[i])
		if n := len([]rune(lines[i])); n > m.width || strings.ContainsRune(lines[i], 0x1b) {
			t.Errorf("%d columns of %d: %q", n, m.width, lines[i])
		}
	}
	return lines
}

func TestTopScreen(t *testing.T) {
	first, second := looks()
	m := newTopModel(nil, time.Second)
	m.take(first)
	m.Update(topLooked{sample: second})
	want := `ebb v1.0.0  up 3h0m  03:04:15  ready: pool web: 2 clients waiting for a peer
sessions 13  new 4.5/s  in 4.5M/s  out 45.0M/s  peers 2 of 3  epochs 2  waiting 2
 1 peers  2 listeners  3 epochs  4 names  5 sessions 
PEER                         POOL  STATE  HEALTH  ROLE  WEIGHT  ACTIVE▼  NEW/S  TOTAL
[2001:db8:1234:5678:9abc:d…  web   up     up      -          3       10      0     10
`
	m.width = 85
	got := strings.Join(visible(t, m), "\n")
	if !strings.HasPrefix(got, want) {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
	m.width = 80
	rows := visible(t, m)
	for i, prefix := range []string{"[2001:db8:", "10.0.0.1:5432", "10.0.0.2:5432", ""} {
		if !strings.HasPrefix(rows[4+i], prefix) || prefix == "" && rows[4+i] != "" {
			t.Errorf("row %d: %q, want %q", i, rows[4+i], prefix)
		}
	}
	if fields := strings.Fields(rows[5]); strings.Join(fields, " ") != "10.0.0.1:5432 pg up up - 1 3 4.5 164" {
		t.Errorf("%q", rows[5])
	}
	if last := rows[len(rows)-1]; last != "q quit  1-5 view  ←→ sort  r reverse  ↑↓ scroll  space pause" {
		t.Errorf("keys: %q", last)
	}

	press(m, letter('r'))
	if rows := visible(t, m); !strings.HasPrefix(rows[4], "10.0.0.2:5432") || !strings.Contains(rows[3], "ACTIVE▲") {
		t.Errorf("reversed: %q", rows[3:5])
	}
	right := tea.KeyPressMsg{Code: tea.KeyRight}
	press(m, letter('r'), right, right, right, right)
	if rows := visible(t, m); !strings.HasPrefix(rows[4], "10.0.0.1:5432") || !strings.Contains(rows[3], "PEER▼") {
		t.Errorf("by name: %q", rows[3:5])
	}
	press(m, tea.KeyPressMsg{Code: tea.KeyLeft}, tea.KeyPressMsg{Code: tea.KeyLeft})
	if rows := visible(t, m); !strings.Contains(rows[3], "TOTAL▼") {
		t.Errorf("by total: %q", rows[3])
	}
	for key, want := range map[rune][]string{
		'2': {"LISTENER", "web"}, '3': {"EPOCH", "2"}, '4': {"NAME", "a.test?[2J"}, '5': {"CLIENT", "10.9.9.8:1"},
	} {
		press(m, letter(key))
		rows := visible(t, m)
		if !strings.HasPrefix(strings.TrimSpace(rows[3]), want[0]) || !strings.HasPrefix(strings.TrimSpace(rows[4]), want[1]) {
			t.Errorf("view %c: %q", key, rows[3:5])
		}
	}
	press(m, letter('5'))
	if rows := visible(t, m); !strings.HasSuffix(rows[len(rows)-1], "1-2/2 (900)") {
		t.Errorf("%q", rows[len(rows)-1])
	}
	press(m, tea.KeyPressMsg{Code: tea.KeyTab})
	if m.view != 0 {
		t.Errorf("after the last view: %d", m.view)
	}
	press(m, tea.KeyPressMsg{Code: tea.KeyTab, Mod: tea.ModShift})
	if m.view != topConns {
		t.Errorf("before the first view: %d", m.view)
	}
	if _, cmd := m.Update(letter('q')); cmd == nil || cmd() != tea.Quit() {
		t.Error("q does not quit")
	}
}

func TestTopScrollsAndShrinks(t *testing.T) {
	first, _ := looks()
	peer := first.Pools[0].Peers[0]
	for range 50 {
		first.Pools[0].Peers = append(first.Pools[0].Peers, peer)
	}
	m := newTopModel(nil, time.Second)
	m.take(first)
	press(m, tea.KeyPressMsg{Code: tea.KeyEnd})
	rows := visible(t, m)
	if last := rows[len(rows)-1]; !strings.HasSuffix(last, "35-53/53") {
		t.Errorf("at the end: %q", last)
	}
	press(m, tea.KeyPressMsg{Code: tea.KeyPgUp}, tea.KeyPressMsg{Code: tea.KeyPgUp}, tea.KeyPressMsg{Code: tea.KeyPgUp}, letter('j'))
	rows = visible(t, m)
	if last := rows[len(rows)-1]; !strings.HasSuffix(last, "1-19/53") && !strings.HasSuffix(last, "2-20/53") {
		t.Errorf("near the start: %q", last)
	}
	for _, size := range [][2]int{{40, 10}, {20, 6}, {15, 6}, {200, 60}} {
		m.Update(tea.WindowSizeMsg{Width: size[0], Height: size[1]})
		visible(t, m)
	}
}

func TestTopGoesOnWithoutAnswers(t *testing.T) {
	first, second := looks()
	m := newTopModel(func(conns bool) (topSample, error) {
		second.matched = 0
		if conns {
			second.matched = 1
		}
		return second, nil
	}, time.Millisecond)
	m.take(first)
	if _, cmd := m.Update(topLooked{err: errors.New("refused\x1b[2J")}); cmd == nil {
		t.Error("it does not look again")
	}
	if rows := visible(t, m); !strings.Contains(rows[0], "NO ANSWER: refused?[2J") || !strings.Contains(rows[1], "sessions 13") {
		t.Errorf("%q", rows[:2])
	}
	press(m, letter('5'), tea.KeyPressMsg{Code: tea.KeySpace})
	_, ask := m.Update(m.Init()())
	if got := ask().(topLooked); got.sample.matched != 1 {
		t.Error("the sessions are shown and were not asked for")
	} else {
		m.Update(got)
	}
	if rows := visible(t, m); m.now.at != first.at || !strings.Contains(rows[0], "ready, PAUSED: pool web") {
		t.Errorf("paused: %q", rows[0])
	}
}

// What takes a peer out of service is in the row where one looks for it, and gives way where there is no room.
func TestTopSaysWhy(t *testing.T) {
	_, s := looks()
	s.Pools[0].Peers[1].Reason, s.Pools[0].Peers[1].Detail = "refused", "dial tcp 10.0.0.2:5432: connect: connection\x1b[2J refused"
	m := newTopModel(nil, time.Second)
	m.take(s)
	m.width = 200
	if rows := visible(t, m); !strings.HasSuffix(rows[3], "TOTAL  WHY") || !strings.HasSuffix(rows[6], "5  refused: dial tcp 10.0.0.2:5432: connect: connection?[2J refused") {
		t.Errorf("%q", rows[3:7])
	}
	m.width = 80
	if rows := visible(t, m); !strings.HasPrefix(rows[6], "10.0.0.2:5432 ") || !strings.HasSuffix(rows[6], "  ref…") {
		t.Errorf("%q", rows[6])
	}
}

// A table without rows has its whole head.
func TestTopOfNothing(t *testing.T) {
	m := newTopModel(nil, time.Second)
	m.take(topSample{})
	m.width = 120
	for i, table := range topTables {
		press(m, letter(rune('1'+i)))
		if rows := visible(t, m); !strings.Contains(rows[3], table.head[len(table.head)-1]) {
			t.Errorf("%s: %q", table.name, rows[3])
		}
	}
}

func TestTopRatesOfAnotherProcess(t *testing.T) {
	first, second := looks()
	second.PID++
	if r := second.since(&first); r != (topRates{}) {
		t.Errorf("%+v", r)
	}
	second.PID--
	if r := first.since(&second); r != (topRates{}) {
		t.Errorf("backwards: %+v", r)
	}
}

// Where there is no terminal, top writes lines.
func TestTopLines(t *testing.T) {
	first, _ := looks()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(first.Status)
	}))
	defer server.Close()
	at := strings.TrimPrefix(server.URL, "http://")
	code, stdout, stderr := runAll(t, "top", "--admin", at, "--interval", "100ms", "--samples", "2")
	lines := strings.Split(stdout, "\n")
	if code != 0 || stderr != "" || len(lines) != 3 || !strings.HasSuffix(lines[0], " ready sessions=13 peers=2/3 epochs=2 waiting=2") ||
		!strings.HasSuffix(lines[1], " ready sessions=13 new=0/s in=0/s out=0/s peers=2/3 epochs=2 waiting=2") {
		t.Errorf("%d %q %q", code, stdout, stderr)
	}
	code, stdout, _ = runAll(t, "top", "--admin", at, "--json", "--samples", "1")
	var s admin.Status
	if err := json.Unmarshal([]byte(stdout), &s); code != 0 || err != nil || s.PID != 7 || strings.Count(stdout, "\n") != 1 {
		t.Errorf("--json: %d %v %q", code, err, stdout)
	}
	server.Close()
	for _, args := range [][]string{{"--interval", "1ms"}, {"--samples", "-1"}} {
		if code, _, stderr := runAll(t, append([]string{"top", "--admin", at}, args...)...); code != 2 || !strings.Contains(stderr, args[0]) {
			t.Errorf("%v: %d %q", args, code, stderr)
		}
	}
	if code, _, stderr := runAll(t, "top", "--admin", at); code != 1 || !strings.Contains(stderr, "is ebb running?") {
		t.Errorf("without ebb: %d %q", code, stderr)
	}
}
