package lb

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ebb-lb/ebb/lb/config"
)

// What DNS and who asks the API may say in names stays text, in the log, in documents and in labels.
func TestSE5WordsOfOthersAreEscaped(t *testing.T) {
	r := newRig(t)
	var log bytes.Buffer
	both := &tee{also: &log, to: r.logs}
	list, port := backends(t, "127.0.0.2")
	const evil = `a\010b\013c\027[31m\034\\d\255\000.test.`
	r.dns.Set("db.test", "SRV", fmt.Sprintf("db.test. 1 IN SRV 0 1 %d %s", port, evil), fmt.Sprintf("db.test. 1 IN SRV 0 1 %d ok.test.", port))
	r.dns.SetA("ok.test", 1, list[0].addr.Addr().String())
	b := named("db.test", 0)
	b.Type = "srv"
	r.pool().Backends = []config.Backend{b}
	r.logTo = both
	r.serve()
	greeting(t, r.dial())
	api := "http://" + r.server.running().admin.Addr()
	ask := func(method, path string) []byte {
		t.Helper()
		req, err := http.NewRequestWithContext(t.Context(), method, api+path, strings.NewReader("{}"))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		reply, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer reply.Body.Close()
		body, err := io.ReadAll(reply.Body)
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	word := url.PathEscape("a\r\nb\x1b[31m\"\\\xff")
	for _, path := range []string{
		"GET /v1/status", "GET /v1/dns", "GET /v1/pools/" + word, "GET /v1/listeners/" + word + "/explain?source=192.0.2.1", "POST /v1/pools/db/peers/" + word + "/drain",
		"POST /v1/pools/" + word + "/hold", "GET /" + word,
	} {
		method, path, _ := strings.Cut(path, " ")
		body := ask(method, path)
		if !json.Valid(body) || !utf8.Valid(body) || bytes.ContainsAny(bytes.ReplaceAll(body, []byte("\n"), nil), "\r\x00\x1b") {
			t.Errorf("%s: %q", path, body)
		}
	}
	metrics := ask("GET", "/metrics")
	for line := range strings.Lines(string(metrics)) {
		if !utf8.ValidString(line) || strings.ContainsAny(line, "\r\x00\x1b") {
			t.Errorf("a metric: %q", line)
		}
	}
	if !bytes.Contains(metrics, []byte(`ebb_dns_answer_age_seconds{name="db.test.",type="SRV"}`)) && !bytes.Contains(metrics, []byte(`ebb_dns_answer_age_seconds{name="db.test",type="SRV"}`)) {
		t.Errorf("%s", metrics)
	}
	for line := range strings.Lines(both.String()) {
		if !json.Valid([]byte(line)) || strings.ContainsAny(strings.TrimSuffix(line, "\n"), "\r\n\x00\x1b") || !utf8.ValidString(line) {
			t.Errorf("a line: %q", line)
		}
	}
}

// tee keeps the text of the log, too.
type tee struct {
	mu   sync.Mutex
	also *bytes.Buffer
	to   io.Writer
}

func (w *tee) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.also.Write(b)
	return w.to.Write(b)
}

func (w *tee) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.also.String()
}

// peerSeries counts the series that have a peer, and the peers that they are of.
func (r *rig) peerSeries() (series, peers int) {
	r.t.Helper()
	families, err := r.server.metrics.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	seen := make(map[string]bool)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if l.GetName() == "peer" {
					series++
					seen[l.GetValue()] = true
				}
			}
		}
	}
	return series, len(seen)
}

// Ten thousand addresses pass through a name: the metrics have series of those that are there, and of no others.
func TestSE6SeriesOfGonePeersGo(t *testing.T) {
	r := newRig(t)
	const rounds, each = 40, 250
	set := func(round int) (addrs []string) {
		for i := range each {
			addrs = append(addrs, fmt.Sprintf("127.%d.%d.1", 10+round, i))
		}
		return addrs
	}
	r.dns.SetA("db.test", 1, set(0)...)
	r.pool().Backends = []config.Backend{named("db.test", 1)}
	r.serve()
	for round := range rounds {
		want := set(round)
		slices.Sort(want)
		r.dns.SetA("db.test", 1, want...)
		eventually(t, "the new addresses, alone", func() bool {
			table := r.server.running().pools[0].table.Status()
			return len(table.Peers) == each && table.Peers[0].Addr.Addr().As4()[1] == byte(10+round)
		})
		if series, peers := r.peerSeries(); peers != each || series > each*5 {
			t.Fatalf("round %d: %d series of %d peers", round, series, peers)
		}
	}
}

// There is no verb that sets counters back. A listener that goes and comes again under traffic begins at 0, and so do the sessions
// of its name in the metrics.
func TestSE11CountersBeginAgain(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.serve()
	addr := r.addr()
	stop := make(chan struct{})
	var load sync.WaitGroup
	for range 3 {
		load.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				c, err := net.Dial("tcp", addr)
				if err != nil {
					t.Error(err)
					return
				}
				_ = c.SetDeadline(time.Now().Add(patience))
				if n, err := c.Read(make([]byte, 64)); n == 0 {
					t.Errorf("a session failed: %v", err)
				}
				c.Close()
			}
		})
	}
	total := func(name string) (n uint64) {
		for _, l := range r.server.Status().Listeners {
			if l.Name == name && !l.Leaving {
				n += l.Total
			}
		}
		return n
	}
	for i := range 6 {
		name, other := "front", "other"
		if i%2 == 1 {
			name, other = other, name
		}
		eventually(t, "sessions", func() bool { return total(name) > 20 })
		r.reloads(func(c *config.Config) { c.Listeners[0].Name = other }, slices.Sorted(slices.Values([]string{"listener " + name + ": removed", "listener " + other + ": added"}))...)
		eventually(t, "the old one goes", func() bool { return len(r.server.running().leavingListeners) == 0 })
		if n := total(name); n != 0 {
			t.Errorf("%s has %d sessions after its end", name, n)
		}
	}
	close(stop)
	load.Wait()
	eventually(t, "no session", func() bool { return r.server.Status().Listeners[0].Active == 0 })
}
