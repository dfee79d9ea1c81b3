//go:build linux

package integration

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"testing"
)

// A real Prometheus scrapes ebb, counts its sessions, and evaluates the alert rules of deploy/ without an error.
func TestPrometheusScrapes(t *testing.T) {
	prometheus := program(t, "prometheus")
	backend := serve(t, at(11, freePort(t)), peerConn.echo)
	e := start(t, setup{hosts: []string{backend.addr.Addr().String()}, port: backend.addr.Port()})
	if err := talk(e.addr); err != nil {
		t.Fatal(err)
	}
	e.oneSession(t)

	dir := t.TempDir()
	rules := filepath.Join(dir, "alerts.yml")
	config := filepath.Join(dir, "prometheus.yml")
	text := fmt.Sprintf("global: {scrape_interval: 200ms, evaluation_interval: 200ms}\nrule_files: [%q]\nscrape_configs: [{job_name: ebb, static_configs: [{targets: [%q]}]}]\n",
		rules, e.admin)
	for file, text := range map[string]string{rules: repoFile(t, "deploy/prometheus/alerts.yml"), config: text} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	web := netip.AddrPortFrom(loopback, freePort(t)).String()
	p := background(t, prometheus, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+web)
	ask := func(path string, into any) bool {
		response, err := http.Get("http://" + web + "/api/v1/" + path)
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return json.NewDecoder(response.Body).Decode(into) == nil
	}
	awaitServer(t, p, func() bool {
		var found struct {
			Data struct{ Result []struct{ Value [2]any } }
		}
		return ask("query?query="+url.QueryEscape(`sum(ebb_sessions_total{listener="t",pool="t"})`), &found) &&
			len(found.Data.Result) == 1 && found.Data.Result[0].Value[1] == "1"
	})
	awaitServer(t, p, func() bool {
		var found struct {
			Data struct {
				Groups []struct {
					Rules []struct{ Name, Health, LastError string }
				}
			}
		}
		if !ask("rules", &found) {
			return false
		}
		rules := 0
		for _, g := range found.Data.Groups {
			for _, r := range g.Rules {
				if r.Health == "err" {
					t.Fatalf("the rule %s: %s", r.Name, r.LastError)
				}
				if r.Health == "ok" {
					rules++
				}
			}
		}
		return rules > 5
	})
}
