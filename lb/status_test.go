package lb

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// fetch gets a path of the admin API.
func (r *rig) fetch(path string) (int, string) {
	r.t.Helper()
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := c.Get("http://" + r.server.running().admin.Addr() + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		r.t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestStatusDescribesEverything(t *testing.T) {
	r, c := onOld(t, func(p *config.Pool) { p.Backends[0].Tier = 0 })
	fmt.Fprintln(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the epochs that nobody is on to be gone", func() bool { return len(r.status().Epochs) == 2 })
	s, err := admin.NewClient(r.server.running().admin.Addr(), "").Status(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	if s.Version != "test" || s.Engine != r.server.engine || s.Engine == "" || s.Loops != 2 || s.PID == 0 || s.Uptime <= 0 || !s.Ready || s.Stopping || len(s.Reasons) != 0 {
		t.Errorf("%+v", s)
	}
	eventually(t, "the bytes of the session", func() bool { l := r.server.Status().Listeners[0]; return l.In == 2 && l.Out > 2 })
	if len(s.Listeners) == 1 {
		s.Listeners[0].In, s.Listeners[0].Out = 0, 0 // they are counted after they are sent
	}
	if len(s.Listeners) != 1 || s.Listeners[0] != (admin.Listener{Name: "front", Address: r.addr(), Protocol: "tcp", Pool: "db", Active: 1, Total: 1}) {
		t.Errorf("listeners: %+v", s.Listeners)
	}
	p, ok := s.Pool("db")
	if !ok || p.Balance != "roundrobin" || p.Selectable != 1 || len(p.Epochs) != 2 || p.EpochsPublished != p.EpochsReclaimed+2 {
		t.Fatalf("pool: %+v", p)
	}
	old, now := p.Epochs[0], p.Epochs[1]
	if !old.Retired || old.Sessions != 1 || old.Cause != "dns" || now.Retired || now.Sessions != 0 || now.ID != p.Epoch || time.Since(now.Born) > time.Hour {
		t.Errorf("epochs: %+v", p.Epochs)
	}
	if d := p.Peers[0]; d.State != "draining" || d.Active != 1 || d.Total != 1 || d.Health != "unknown" {
		t.Errorf("the draining peer: %+v", d)
	}
	if u := p.Peers[1]; u.State != "up" || u.Weight != 1 || u.Active != 0 || len(u.Sources) != 1 || !strings.HasPrefix(u.Sources[0], "db.test:") {
		t.Errorf("the new peer: %+v", u)
	}
	n := s.DNS[0]
	if len(s.DNS) != 1 || n.Name != "db.test" || n.Type != "A" || n.Resolver != "default" || n.Kind != "ok" || n.Stale || n.Failures != 0 ||
		fmt.Sprint(n.Records) != "[127.0.0.3]" || !strings.Contains(n.Server, r.dns.Addr()) {
		t.Errorf("dns: %+v", s.DNS)
	}
	// The words that scripts rely on, as they stand in the text.
	_, body := r.fetch("/v1/status")
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	for path, keys := range map[string]string{
		"":             "version engine loops pools listeners dns",
		"pools":        "name epoch epochs peers",
		"pools.epochs": "id cause born sessions retired",
		"pools.peers":  "addr weight tier state health role active total sources",
		"listeners":    "name address protocol pool active total",
		"dns":          "name type resolver kind ttl age stale next failures records",
	} {
		at := any(doc)
		for name := range strings.SplitSeq(path, ".") {
			if name != "" {
				at = at.(map[string]any)[name].([]any)[0]
			}
		}
		for key := range strings.FieldsSeq(keys) {
			if _, ok := at.(map[string]any)[key]; !ok {
				t.Errorf("%s has no %q", path, key)
			}
		}
	}
	c.Close()
	r.closed()
}

// series gives the samples of /metrics by their text.
func (r *rig) series() map[string]string {
	r.t.Helper()
	code, body := r.fetch("/metrics")
	if code != http.StatusOK {
		r.t.Fatalf("metrics: %d\n%s", code, body)
	}
	m := make(map[string]string)
	for line := range strings.Lines(body) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			at := strings.LastIndexByte(line, ' ')
			if _, again := m[line[:at]]; again {
				r.t.Errorf("twice: %s", line)
			}
			m[line[:at]] = line[at+1:]
		}
	}
	return m
}

func TestMetricsOfOneLife(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 0, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.pool().Balance = "first" // each session tries the one that refuses, once
	r.listener().Listen = append(r.listener().Listen, r.listener().Listen[0])
	list[0].stop()
	r.serve()
	c := r.dial()
	greeting(t, c)
	r.ask()
	fmt.Fprint(c, "12345")
	if _, err := io.ReadFull(c, make([]byte, 5)); err != nil {
		t.Fatal(err)
	}
	r.awaitEnds(1)
	greeted := len(list[1].addr.String()) + 1
	eventually(t, "the books", func() bool { // what a client has read is counted after that
		in, out := r.server.running().listeners[0].live.bytes()
		return r.server.running().active() == 1 && in == 5 && out == int64(5+2*greeted)
	})
	m := r.series()
	refused := fmt.Sprintf("127.0.0.2:%d", port)
	for series, want := range map[string]string{
		`ebb_sessions_active{listener="front",pool="db"}`:                                          "1",
		`ebb_sessions_total{end="client_fin",listener="front",pool="db"}`:                          "1",
		`ebb_bytes_total{direction="in",listener="front",pool="db"}`:                               "5", // of a session that lives
		`ebb_bytes_total{direction="out",listener="front",pool="db"}`:                              fmt.Sprint(5 + 2*greeted),
		`ebb_peer_sessions_active{peer="` + list[1].addr.String() + `",pool="db"}`:                 "1",
		`ebb_peer_sessions_total{end="client_fin",peer="` + list[1].addr.String() + `",pool="db"}`: "1",
		`ebb_peer_sessions_total{end="connect_failed",peer="` + refused + `",pool="db"}`:           "2",
		`ebb_peer_up{peer="` + refused + `",pool="db"}`:                                            "1",
		`ebb_connect_seconds_count{pool="db"}`:                                                     "2",
		`ebb_first_byte_seconds_count{pool="db"}`:                                                  "1", // observed at the end
		`ebb_epochs_live{pool="db"}`:                                                               "1",
		`ebb_epoch_oldest_seconds{pool="db"}`:                                                      "0",
		`ebb_dns_stale{name="db.test",type="A"}`:                                                   "0",
		`ebb_log_dropped_total`:                                                                    "0",
	} {
		if m[series] != want {
			t.Errorf("%s = %q, want %s", series, m[series], want)
		}
	}
	for _, series := range []string{
		`ebb_dns_queries_total{resolver="default",result="ok",server="` + "udp://" + r.dns.Addr() + `"}`, `ebb_epoch{pool="db"}`,
		`ebb_dns_answer_age_seconds{name="db.test",type="A"}`, "go_goroutines", "process_open_fds",
	} {
		if m[series] == "" {
			t.Errorf("no %s", series)
		}
	}
	// What is gone has no series.
	c.Close()
	r.dns.SetA("db.test", 0, "127.0.0.3")
	eventually(t, "one peer", func() bool { return len(r.status().Peers) == 1 })
	for series := range r.series() {
		if strings.Contains(series, refused) {
			t.Errorf("a peer that is gone: %s", series)
		}
	}
	r.closed()
}

// One name asked of two resolvers is two entries and one series: the worse of the two.
func TestOneNameOfTwoResolversIsOneSeries(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.dns.SetA("db.test", 0, "127.0.0.2")
	other := newRig(t).dns
	other.SetA("db.test", 0, "127.0.0.2")
	second := r.conf.Resolvers[0]
	second.Name, second.Servers = "other", []string{"udp://" + other.Addr()}
	r.conf.Resolvers = append(r.conf.Resolvers, second)
	r.pool().Backends = []config.Backend{named("db.test", port)}
	twin := *r.pool()
	twin.Name, twin.Resolver = "twin", "other"
	r.conf.Pools = append(r.conf.Pools, twin)
	r.serve()
	other.Rcode("db.test", 2)
	eventually(t, "staleness", func() bool { return r.series()[`ebb_dns_stale{name="db.test",type="A"}`] == "1" })
	if n := len(r.server.Status().DNS); n != 2 {
		t.Errorf("%d names", n)
	}
	r.closed()
}

// A pool whose peers all fail their checks says so, and why one of them does; that DNS is well is not the whole story.
func TestReadyzNamesAFailingCheck(t *testing.T) {
	r := newRig(t)
	peers, _ := backends(t, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{literal(peers[0].addr), literal(peers[1].addr)}
	r.pool().Check = fastCheck()
	r.serve()
	for _, p := range peers {
		p.stop()
	}
	want := fmt.Sprintf("2 of 2 peers fail their check, such as %s (refused)", peers[0].addr)
	eventually(t, want, func() bool { _, body := r.fetch("/readyz"); return strings.Contains(body, want) })
}

func TestReadyz(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.dns.NXDomain("db.test")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.start()
	if code, body := r.fetch("/readyz"); code != http.StatusServiceUnavailable || !strings.Contains(body, "pool db") {
		t.Errorf("%d %s", code, body)
	}
	r.dns.SetA("db.test", 0, "127.0.0.2")
	eventually(t, "ready", func() bool { code, _ := r.fetch("/readyz"); return code == http.StatusOK })
	if code, _ := r.fetch("/readyz/db?min=1"); code != http.StatusOK {
		t.Errorf("min=1: %d", code)
	}
	if code, body := r.fetch("/readyz/db?min=2"); code != http.StatusServiceUnavailable || body != "pool db: 1 of 2 peers\n" {
		t.Errorf("min=2: %d %s", code, body)
	}
	r.closed()
}

// A peer that is down says what its last check found, not what took it down once.
func TestStatusSaysWhyAPeerIsDownNow(t *testing.T) {
	var status atomic.Int32
	status.Store(http.StatusServiceUnavailable)
	backend := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(int(status.Load())) }))
	defer backend.Close()
	r := newRig(t)
	r.pool().Backends = []config.Backend{literal(netip.MustParseAddrPort(backend.Listener.Addr().String()))}
	r.pool().Check = fastCheck()
	r.pool().Check.Kind, r.pool().Check.Method, r.pool().Check.Path, r.pool().Check.Expect = "http", "GET", "/", "200-399"
	r.start()
	says := func(detail string) func() bool {
		return func() bool {
			p := r.status().Peers
			return len(p) == 1 && p[0].Health == "down" && p[0].Reason == "unexpected" && strings.HasPrefix(p[0].Detail, detail)
		}
	}
	eventually(t, "why it is down", says("status 503"))
	status.Store(http.StatusForbidden)
	eventually(t, "what is wrong now", says("status 403"))
	status.Store(http.StatusOK)
	eventually(t, "the peer to be up", func() bool { p := r.status().Peers[0]; return p.Health == "up" && p.Reason == "ok" && p.Detail == "" })
	r.closed()
}
