package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// fake is a source that says what it is told to say.
type fake struct {
	mu        sync.Mutex
	status    Status
	refreshed []string
	conns     []Conn
	filters   []ConnFilter // that were asked for
	orders    []Order
	planned   []PlanRequest
	changes   []string // of a reload or a plan
	reloadErr error
}

func (f *fake) Reload() ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changes, f.reloadErr
}

func (f *fake) Plan(file, text string) ([]string, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.planned = append(f.planned, PlanRequest{file, text})
	return f.changes, f.reloadErr
}

func (f *fake) HoldPool(pool string, on bool) (HoldReply, error) {
	if pool != "db" {
		return HoldReply{}, &Unknown{Text: "no pool is named " + pool, Pools: []string{"db"}}
	}
	return HoldReply{Pool: pool, Held: on, Changed: true, Waiting: 3}, nil
}

func (f *fake) SwitchPool(ctx context.Context, pool, to string, timeout time.Duration, tell func(SwitchStep)) error {
	if pool != "db" {
		return &Unknown{Text: "no pool is named " + pool, Pools: []string{"db"}}
	}
	step := SwitchStep{Step: "held", Pool: pool, To: to, Held: true, Detail: timeout.String()}
	tell(step)
	if to == "nobody" {
		<-ctx.Done()
	}
	if step.Step, step.Held = "done", false; to == "other" {
		step.Step, step.Detail = "failed", "it was another"
	}
	tell(step)
	return nil
}

func (f *fake) OrderPeer(pool, peer string, o Order) (PeerReply, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, p := range f.status.Pools {
		if p.Name != pool {
			continue
		}
		for _, known := range p.Peers {
			if known.Addr == peer {
				f.orders = append(f.orders, o)
				return PeerReply{Pool: pool, Epoch: 8, Changed: true, Peer: known}, nil
			}
		}
		return PeerReply{}, &Unknown{Text: "pool db has no peer " + peer, Peers: []string{p.Peers[0].Addr}}
	}
	return PeerReply{}, &Unknown{Text: "no pool is named " + pool, Pools: []string{"db"}}
}

func (f *fake) Explain(listener string, client netip.AddrPort, sni string) (Explanation, error) {
	if listener != "front" {
		return Explanation{}, &Unknown{Text: "no listener is named " + listener, Listeners: []string{"front"}}
	}
	return Explanation{Listener: listener, Source: client.String(), Outcome: "peer", Reason: sni, Next: []string{"192.0.2.1:5432"}}, nil
}

func (f *fake) Named(filter ConnFilter) error {
	if filter.Pool != "" && filter.Pool != "db" {
		return &Unknown{Text: "no pool is named " + filter.Pool, Pools: []string{"db"}}
	}
	return nil
}

func (f *fake) Conns(filter ConnFilter) ([]Conn, int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filters = append(f.filters, filter)
	return f.conns, len(f.conns) + 1
}

func (f *fake) KillConns(filter ConnFilter) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.filters = append(f.filters, filter)
	if filter.ID > 0 && (len(f.conns) == 0 || filter.ID != f.conns[0].ID) {
		return 0
	}
	return len(f.conns)
}

func (f *fake) RefreshNames(name string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.refreshed = append(f.refreshed, name)
	n := 0
	for _, known := range f.status.DNS {
		if name == "" || name == known.Name {
			n++
		}
	}
	return n
}

func (f *fake) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

func (f *fake) Ready() (bool, []string) { s := f.Status(); return s.Ready, s.Reasons }

var quiet = slog.New(slog.DiscardHandler)

func serve(t *testing.T, source Source, sample func(Emit)) *Server {
	t.Helper()
	s, err := NewServer(Settings{Listen: "127.0.0.1:0"}, source, NewMetrics(sample), NewEvents(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s.Shutdown(ctx)
	})
	return s
}

func nothing(Emit) {}

func example() *fake {
	return &fake{status: Status{
		Version: "1", Ready: true, Reasons: []string{},
		Pools: []Pool{{
			Name: "db", Epoch: 7, Selectable: 2, EpochsPublished: 7, EpochsReclaimed: 5,
			Epochs: []Epoch{{ID: 6, Cause: "dns", Sessions: 1, Retired: true}, {ID: 7, Cause: "dns"}},
			Peers:  []Peer{{Addr: "192.0.2.1:5432"}},
		}},
		DNS: []Name{{Name: "db.test", Type: "A", Records: []string{"192.0.2.1"}}},
	}}
}

// request sends a request with a host and gives code, header and body.
func request(t *testing.T, s *Server, method, host, path string) (int, http.Header, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.Addr()+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	if host != "" {
		req.Host = host
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func TestPaths(t *testing.T) {
	s := serve(t, example(), nothing)
	for _, tc := range []struct {
		method, path string
		code         int
		body         string
	}{
		{"GET", "/livez", 200, "ok\n"},
		{"HEAD", "/livez", 200, ""},
		{"GET", "/readyz", 200, "ok\n"},
		{"GET", "/readyz/db", 200, "ok\n"},
		{"GET", "/readyz/db?min=2", 200, "ok\n"},
		{"GET", "/readyz/db?min=3", 503, "pool db: 2 of 3 peers\n"},
		{"GET", "/readyz/db?min=0", 400, "min=0: expected a number from 1\n"},
		{"GET", "/readyz/db?min=x", 400, "min=x: expected a number from 1\n"},
		{"GET", "/readyz/db?min=", 400, "min=: expected a number from 1\n"},
		{"GET", "/readyz/none", 404, "no pool is named \"none\"\n"},
		{"GET", "/v1/status", 200, `"version": "1"`},
		{"GET", "/v1/pools", 200, `"name": "db"`},
		{"GET", "/v1/pools/db", 200, `"selectable": 2`},
		{"GET", "/v1/pools/none", 404, `no pool is named \"none\"`},
		{"GET", "/v1/epochs", 200, `"reclaimed": 5`},
		{"GET", "/v1/dns", 200, `"name": "db.test"`},
		{"GET", "/metrics", 200, "go_goroutines"},
		{"GET", "/", 200, "<title>ebb</title>"},
		{"GET", "/nothing", 404, `"/v1/status"`},
		{"GET", "/metricsX", 404, "no such path: /metricsX"},
		{"GET", "/metrics/%2e%2e/v1/config", 404, "no such path"},
		{"GET", "/v1/pools/db/peers", 404, "no such path"},
		{"POST", "/v1/status", 405, "is read only"},
		{"DELETE", "/v1/pools/db", 405, "is read only"},
		{"PUT", "/readyz", 405, "is read only"},
	} {
		code, header, body := request(t, s, tc.method, "", tc.path)
		if code != tc.code || !strings.Contains(body, tc.body) {
			t.Errorf("%s %s: %d %q, want %d %q", tc.method, tc.path, code, body, tc.code, tc.body)
		}
		if code == http.StatusMethodNotAllowed && header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: Allow %q", tc.method, tc.path, header.Get("Allow"))
		}
		if strings.HasPrefix(tc.path, "/v1/") && header.Get("Content-Type") != "application/json" {
			t.Errorf("%s %s: %q", tc.method, tc.path, header.Get("Content-Type"))
		}
	}
}

func TestNotReady(t *testing.T) {
	f := &fake{status: Status{Reasons: []string{"pool a has no peer", "pool b has no peer"}, Pools: []Pool{{Name: "db", Selectable: 9}}}}
	s := serve(t, f, nothing)
	if code, _, body := request(t, s, "GET", "", "/readyz"); code != 503 || body != "pool a has no peer\npool b has no peer\n" {
		t.Errorf("%d %q", code, body)
	}
	if code, _, _ := request(t, s, "GET", "", "/readyz/db"); code != 200 { // that pool is well
		t.Errorf("pool: %d", code)
	}
	f.mu.Lock()
	f.status.Stopping, f.status.Reasons = true, []string{"stopping"}
	f.mu.Unlock()
	if code, _, body := request(t, s, "GET", "", "/readyz/db"); code != 503 || body != "stopping\n" {
		t.Errorf("stopping: %d %q", code, body)
	}
	if code, _, _ := request(t, s, "GET", "", "/livez"); code != 200 {
		t.Errorf("livez: %d", code)
	}
}

func TestSE2HostsThatAreNotThisMachine(t *testing.T) {
	s := serve(t, example(), nothing)
	for host, want := range map[string]int{
		"127.0.0.1:9321": 200, "127.0.0.1": 200, "localhost:9321": 200, "LOCALHOST": 200, "[::1]:9321": 200, "[::1]": 200, "127.9.9.9": 200,
		"evil.example": 403, "evil.example:9321": 403, "127.0.0.1.evil.example": 403, "localhost.evil.example": 403,
		"192.0.2.1": 403, "0.0.0.0": 403, "[2001:db8::1]:80": 403,
	} {
		for _, path := range []string{"/v1/status", "/metrics", "/nothing"} {
			code, _, body := request(t, s, "GET", host, path)
			if want == 200 && path == "/nothing" {
				continue
			}
			if code != want || (want == 403 && strings.Contains(body, "version")) {
				t.Errorf("Host %s %s: %d, want %d", host, path, code, want)
			}
		}
	}
}

func TestSE1OnlyLoopback(t *testing.T) {
	for _, addr := range []string{"0.0.0.0:0", "[::]:0", "192.0.2.1:0", ":0", "localhost:0", "nonsense", ""} {
		if s, err := NewServer(Settings{Listen: addr}, example(), NewMetrics(nothing), NewEvents(), quiet); err == nil {
			t.Errorf("%q: listens on %s", addr, s.Addr())
			s.Close()
		} else if !strings.HasPrefix(err.Error(), "admin: ") {
			t.Errorf("%q: %v", addr, err)
		}
	}
	s, err := NewServer(Settings{Listen: "127.0.0.1:0"}, example(), NewMetrics(nothing), NewEvents(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := NewServer(Settings{Listen: s.Addr()}, example(), NewMetrics(nothing), NewEvents(), quiet); err == nil || !strings.Contains(err.Error(), s.Addr()) {
		t.Errorf("the same address again: %v", err)
	}
}

func TestHeadersAreBounded(t *testing.T) {
	s := serve(t, example(), nothing)
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\nX: %s\r\n\r\n", strings.Repeat("x", 64<<10))
	if b, _ := io.ReadAll(c); !strings.Contains(string(b), " 431 ") {
		t.Errorf("%.200s", b)
	}
}

// More connections than the limit wait, and are served when others end.
func TestConnectionsAreBounded(t *testing.T) {
	s := serve(t, example(), nothing)
	var held []net.Conn
	for range maxConns {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		held = append(held, c)
	}
	room := s.ln.(*limitListener).room
	for give := time.Now().Add(patience); len(room) < maxConns; time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			t.Fatalf("%d connections", len(room))
		}
	}
	extra, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer extra.Close()
	fmt.Fprint(extra, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	extra.SetReadDeadline(time.Now().Add(100 * time.Millisecond))
	if n, err := extra.Read(make([]byte, 1)); n > 0 || err == nil {
		t.Fatal("served above the limit")
	}
	held[0].Close()
	extra.SetReadDeadline(time.Now().Add(patience))
	if b, err := io.ReadAll(extra); err != nil || !strings.Contains(string(b), " 200 OK") {
		t.Errorf("%v %q", err, b)
	}
}

func TestShutdownWithRoomTaken(t *testing.T) {
	s, err := NewServer(Settings{Listen: "127.0.0.1:0"}, example(), NewMetrics(nothing), NewEvents(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	for range maxConns + 1 {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Millisecond)
	defer cancel()
	s.Shutdown(ctx) // hangs if Accept does not see the end
}

func TestClient(t *testing.T) {
	f := example()
	s := serve(t, f, nothing)
	got, err := NewClient(s.Addr(), "").Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	have, _ := json.Marshal(got)
	want, _ := json.Marshal(f.status)
	if string(have) != string(want) {
		t.Errorf("%s\nwant %s", have, want)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ln.Close()
	if _, err := NewClient(ln.Addr().String(), "").Status(context.Background()); err == nil || !strings.Contains(err.Error(), ln.Addr().String()) {
		t.Errorf("nobody there: %v", err)
	}
	if _, err := NewClient("a b:1", "").Status(context.Background()); err == nil {
		t.Error("no error for a bad address")
	}
	other := http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "<html>") })}
	ln, err = net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go other.Serve(ln)
	defer other.Close()
	if _, err := NewClient(ln.Addr().String(), "").Status(context.Background()); err == nil || !strings.Contains(err.Error(), "is not ebb") {
		t.Errorf("another server: %v", err)
	}
}

// A4: however the source repeats itself, a scrape is sound.
func TestSamplesAreMerged(t *testing.T) {
	m := NewMetrics(func(emit Emit) {
		emit(SessionsActive, 1, "front", "db")
		emit(SessionsActive, 2, "front", "db")
		emit(SessionsActive, 4, "front", "other")
		emit(DNSStale, 1, "db.test", "A")
		emit(DNSStale, 0, "db.test", "A")
		emit(DNSAnswerAge, 3, "db.test", "A")
		emit(DNSAnswerAge, 5, "db.test", "A")
		emit(PeerUp, 1, "a", "bc") // not the same labels as
		emit(PeerUp, 1, "ab", "c") // these
		emit(LogDropped, 9)
	})
	m.Connect("db").Observe(0.003)
	families, err := m.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, s := range f.GetMetric() {
			var labels []string
			for _, l := range s.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			got[f.GetName()+" "+strings.Join(labels, ",")] = s.GetGauge().GetValue() + s.GetCounter().GetValue() + float64(s.GetHistogram().GetSampleCount())
		}
	}
	for series, want := range map[string]float64{
		"ebb_peer_up bc,a": 1, "ebb_peer_up c,ab": 1,
		"ebb_sessions_active front,db": 3, "ebb_sessions_active front,other": 4, "ebb_dns_stale db.test,A": 1,
		"ebb_dns_answer_age_seconds db.test,A": 5, "ebb_log_dropped_total ": 9, "ebb_connect_seconds db": 1,
	} {
		if got[series] != want {
			t.Errorf("%s = %v, want %v", series, got[series], want)
		}
	}
}

// A value that Prometheus cannot carry spoils its own series, not the scrape.
func TestABadLabelSpoilsNothingElse(t *testing.T) {
	s := serve(t, example(), func(emit Emit) {
		emit(SessionsActive, 1, "front\xff", "db")
		emit(LogDropped, 9)
	})
	if code, _, body := request(t, s, "GET", "", "/metrics"); code != 200 || !strings.Contains(body, "ebb_log_dropped_total 9") {
		t.Errorf("%d %s", code, body)
	}
}
