//go:build linux

package integration

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// adminClient makes a connection for each request, so that none stays open and counts among ebb's descriptors.
var adminClient = &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}

// get asks the admin address. It does not fail the test, for ebb may be unable to answer, or gone.
func (e *ebb) get(path string) (code int, body string, err error) {
	client := adminClient
	if e.space != nil {
		client = &http.Client{Timeout: patience, Transport: &http.Transport{DisableKeepAlives: true, DialContext: e.dialInSpace}}
	}
	resp, err := client.Get("http://" + e.admin + path)
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(b), err
}

func (e *ebb) dialInSpace(ctx context.Context, network, addr string) (c net.Conn, err error) {
	err = e.space.Do(func() (err error) {
		c, err = new(net.Dialer).DialContext(ctx, network, addr)
		return err
	})
	return c, err
}

// status is what a test looks at in /v1/status.
type status struct {
	Version   string
	Engine    string
	Pools     []poolStatus
	Listeners []listenerStatus
	DNS       []nameStatus
}

type poolStatus struct {
	Name   string
	Epoch  uint64
	Epochs []struct {
		ID       uint64
		Cause    string
		Born     time.Time
		Sessions int64
		Retired  bool
	}
	Peers   []peerStatus
	Waiting int64
}

type peerStatus struct {
	Addr    string
	Weight  int
	Tier    int
	State   string
	Health  string
	Reason  string
	Active  int64
	Total   uint64
	Sources []string
}

type listenerStatus struct {
	Name     string
	Address  string
	Protocol string
	Pool     string
	Active   int64
	Total    uint64
}

type nameStatus struct {
	Name     string
	Type     string
	Resolver string
	Kind     string
	Failures int
	Records  []string
}

func (e *ebb) status(t *testing.T) status {
	t.Helper()
	code, body, err := e.get("/v1/status")
	if err != nil || code != http.StatusOK {
		t.Fatalf("status: %d, %v", code, err)
	}
	var s status
	if err := json.Unmarshal([]byte(body), &s); err != nil {
		t.Fatalf("status: %v\n%s", err, body)
	}
	return s
}

// poolStatus gives the setup's only pool.
func (e *ebb) poolStatus(t *testing.T) poolStatus {
	t.Helper()
	s := e.status(t)
	if len(s.Pools) != 1 {
		t.Fatalf("%d pools in the status", len(s.Pools))
	}
	return s.Pools[0]
}

// peer gives the status of one address, and whether there is one.
func (p poolStatus) peer(addr string) (peerStatus, bool) {
	for _, peer := range p.Peers {
		if peer.Addr == addr {
			return peer, true
		}
	}
	return peerStatus{}, false
}

// listed gives the peers of the newest epoch, in order.
func (p poolStatus) listed() (addrs []string) {
	for _, peer := range p.Peers {
		if peer.State != "draining" {
			addrs = append(addrs, peer.Addr)
		}
	}
	slices.Sort(addrs)
	return addrs
}

// metrics are the samples of one scrape, by name and labels as they stand in the text.
type metrics map[string]float64

func (e *ebb) metrics(t *testing.T) metrics {
	t.Helper()
	code, body, err := e.get("/metrics")
	if err != nil || code != http.StatusOK {
		t.Fatalf("metrics: %d, %v", code, err)
	}
	m := make(metrics)
	for line := range strings.Lines(body) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		at := strings.LastIndexByte(line, ' ')
		v, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("metrics: %q: %v", line, err)
		}
		m[line[:at]] = v
	}
	return m
}

// pick gives the samples of one name that have all the labels, each written as name="value".
func (m metrics) pick(name string, labels ...string) metrics {
	found := make(metrics)
next:
	for series, v := range m {
		base, rest, _ := strings.Cut(series, "{")
		if base != name {
			continue
		}
		for _, l := range labels {
			if !strings.Contains(rest, l) {
				continue next
			}
		}
		found[series] = v
	}
	return found
}

// sum adds up what pick finds.
func (m metrics) sum(name string, labels ...string) (sum float64) {
	for _, v := range m.pick(name, labels...) {
		sum += v
	}
	return sum
}

// label writes a label as pick wants it.
func label(name, value string) string { return name + `="` + value + `"` }
