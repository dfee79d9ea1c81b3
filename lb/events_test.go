package lb

import (
	"context"
	"go/ast"
	"go/parser"
	"go/token"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// events gives the kinds of all that is remembered, each with its last event.
func (r *rig) events() map[string]admin.Event {
	r.t.Helper()
	kinds := make(map[string]admin.Event)
	err := admin.NewClient(r.server.running().admin.Addr(), "").Events(context.Background(), 0, false, func(e admin.Event) error {
		kinds[e.Kind] = e
		return nil
	}, func(uint64) {})
	if err != nil {
		r.t.Fatal(err)
	}
	return kinds
}

func TestEventsTellWhatHappens(t *testing.T) {
	r := newRig(t)
	peers, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 0, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.pool().Check = fastCheck()
	r.serve()
	eventually(t, "both are up", func() bool { return r.status().Selectable == 2 && r.events()["peer_up"].ID > 0 })
	peers[0].stop()
	eventually(t, "one is down", func() bool { return r.events()["peer_down"].ID > 0 })
	r.dns.SetA("db.test", 0, "127.0.0.3")
	eventually(t, "it is gone", func() bool { return r.events()["peer_gone"].ID > 0 })
	r.dns.Rcode("db.test", 2) // SERVFAIL
	eventually(t, "dns fails", func() bool { return r.events()["dns_failing"].ID > 0 })
	r.dns.SetA("db.test", 0, "127.0.0.3")
	eventually(t, "dns is well", func() bool { return r.events()["dns_well_again"].ID > 0 })
	all := r.events()
	for _, kind := range []string{"listening", "epoch", "epoch_freed", "ready"} {
		if all[kind].ID == 0 {
			t.Errorf("no %s among %v", kind, all)
		}
	}
	down := all["peer_down"]
	if down.Attrs["pool"] != "db" || down.Attrs["peer"] != peers[0].addr.String() || down.Attrs["reason"] == "" || down.Attrs["latency_ms"] == nil || down.Level != "info" ||
		down.Time.IsZero() {
		t.Errorf("%+v", down)
	}
	if n := len(r.logs.find("peer down")); n != 1 {
		t.Errorf("%d lines in the log", n)
	}
}

func TestEventsTellOfEjections(t *testing.T) {
	r := newRig(t)
	peers, _ := backends(t, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{literal(peers[0].addr), literal(peers[1].addr)}
	r.serve()
	peers[0].ln.Close()
	eventually(t, "the ejection", func() bool { r.ask(); return r.events()["peer_ejected"].ID > 0 })
	if e := r.events()["peer_ejected"]; e.Level != "warn" || e.Attrs["peer"] != peers[0].addr.String() || e.Attrs["for_ms"].(float64) < 4000 {
		t.Errorf("%+v", e)
	}
	r.closed()
}

// What the log's level hides is an event all the same, and a session is none.
func TestEventsWhateverTheLevel(t *testing.T) {
	lines := new(logLines)
	events := admin.NewEvents()
	log := slog.New(&eventHandler{Handler: NewLogger(lines, NewLogForm("json"), slog.LevelWarn).Handler(), events: events}).With("pool", "db")
	log.Info("peer up", "peer", "192.0.2.1:1")
	log.Info("session", "id", 1)
	log.Debug("epoch freed")
	log.Warn("no peer left")
	if got := lines.messages(); len(got) != 1 || got[0] != "no peer left" {
		t.Errorf("log: %v", got)
	}
	s, err := admin.NewServer(admin.Settings{Listen: "127.0.0.1:0"}, nil, admin.NewMetrics(func(admin.Emit) {}), events, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	defer s.Shutdown(context.Background())
	var kinds []string
	err = admin.NewClient(s.Addr(), "").Events(context.Background(), 0, false, func(e admin.Event) error {
		kinds = append(kinds, e.Kind)
		if e.Attrs["pool"] != "db" {
			t.Errorf("%+v", e)
		}
		return nil
	}, func(uint64) {})
	if err != nil || strings.Join(kinds, " ") != "peer_up epoch_freed no_peer_left" {
		t.Errorf("events: %v %v", kinds, err)
	}
}

// Each message that is an event is said somewhere, so that a line that gets other words takes its event along.
func TestEventMessagesAreSaid(t *testing.T) {
	files, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]bool{"peer up": true, "peer down": true} // put together where they are said
	for _, f := range files {
		if !strings.HasSuffix(f.Name(), ".go") || strings.HasSuffix(f.Name(), "_test.go") || f.Name() == "events.go" {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), f.Name(), nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(tree, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok && len(call.Args) > 0 {
				if lit, ok := call.Args[0].(*ast.BasicLit); ok && lit.Kind == token.STRING {
					text, _ := strconv.Unquote(lit.Value)
					said[text] = true
				}
			}
			return true
		})
	}
	for _, msg := range eventMessages {
		if !said[msg] {
			t.Errorf("nothing says %q", msg)
		}
	}
}
