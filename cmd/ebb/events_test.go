package main

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
)

// TestEvents asks a running ebb what happened, and follows it over a restart.
func TestEvents(t *testing.T) {
	peer, adminAddr := echo(t), freeAddr(t)
	args := []string{"run", "--listen", "tcp://" + freeAddr(t), "--to", peer, "--admin", adminAddr}
	if code, _, stderr := runAll(t, "events", "--follow", "--admin", adminAddr); code != exitFailed || !strings.Contains(stderr, "is ebb running?") {
		t.Errorf("%d %s", code, stderr)
	}
	c := begin(t, args...)
	until := func(what string, done func() bool) {
		t.Helper()
		for give := time.Now().Add(patience); !done(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(give) {
				t.Fatal(what)
			}
		}
	}
	var stdout string
	until("ready", func() bool {
		_, stdout, _ = runAll(t, "events", "--admin", adminAddr)
		return strings.Contains(stdout, "  info  ready ")
	})
	if !strings.Contains(stdout, " added="+peer+" ") || !strings.Contains(stdout, " epoch ") {
		t.Errorf("%s", stdout)
	}
	_, stdout, _ = runAll(t, "events", "--json", "--admin", adminAddr)
	var last admin.Event
	for line := range strings.Lines(stdout) {
		if err := json.Unmarshal([]byte(line), &last); err != nil || last.ID == 0 || last.Kind == "" {
			t.Errorf("%v: %s", err, line)
		}
	}
	follower := begin(t, "events", "-f", "--admin", adminAddr)
	until("what there is", func() bool { return strings.Count(follower.stdout.String(), " ready ") == 1 })
	c.stop()
	c.wait(t)
	until("stopping", func() bool { return strings.Contains(follower.stdout.String(), " stopping ") })
	until("gone", func() bool { return strings.Contains(follower.stderr.String(), "waiting for it to come back") })
	c = begin(t, args...)
	defer func() { c.stop(); c.wait(t) }()
	until("the next run", func() bool { return strings.Count(follower.stdout.String(), " ready ") == 2 })
	follower.stop()
	if code := follower.wait(t); code != exitDone {
		t.Errorf("%d %s", code, follower.stderr.String())
	}
}

func TestEventsAreOneLineEach(t *testing.T) {
	var b strings.Builder
	writeEvent(&b, admin.Event{Kind: "odd", Level: "warn", Attrs: map[string]any{
		"text": "a\nb\x1b[31m", "n": 1.5, "big": 1e9, "list": []any{"x", "y"}, "none": "", "set": true,
	}})
	if got, want := b.String(), ` warn  odd                  big=1000000000 list=x,y n=1.5 set=true text="a\nb\x1b[31m"`+"\n"; !strings.HasSuffix(got, want) {
		t.Errorf("%q, want %q", got, want)
	}
}
