package lb

import (
	"slices"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

func TestAccessAll(t *testing.T) {
	r := newRig(t)
	peers, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(peers[0].addr)}
	r.conf.Log.Access, r.conf.Log.Progress = "all", leastLook
	r.serve()
	c := r.dial()
	greeting(t, c)
	connected := func() []map[string]any { // the first ones may have come before the connection
		lines := r.logs.find("progress")
		first := slices.IndexFunc(lines, func(line map[string]any) bool { return line["upstream"] != nil })
		return lines[max(first, 0):]
	}
	eventually(t, "progress, again and again, with what has moved", func() bool {
		lines := connected()
		return len(lines) >= 2 && lines[len(lines)-1]["out"].(float64) > 0
	})
	c.Close()
	r.awaitEnds(1)
	begun, ended := r.logs.find("open"), r.logs.find("session")
	if len(begun) != 1 || len(ended) != 1 || begun[0]["id"] != ended[0]["id"] || begun[0]["client"] != c.LocalAddr().String() {
		t.Fatalf("begun %v, ended %v", begun, ended)
	}
	last := 0.0
	for _, line := range connected() {
		took, idle := line["duration_ms"].(float64), line["idle_ms"].(float64)
		if line["id"] != begun[0]["id"] || line["client"] != begun[0]["client"] || line["peer"] != peers[0].addr.String() || line["epoch"] == nil ||
			line["upstream"] == nil || idle > took || took <= last {
			t.Errorf("%v", line)
		}
		last = took
	}

	r.reloads(func(c *config.Config) { c.Log.Access = "off" }, "log: changed access")
	r.ask()
	if n, m := len(r.logs.find("open")), len(r.logs.find("session")); n != 1 || m != 1 {
		t.Errorf("after access = off: %d open, %d ended", n, m)
	}
}

// Every multiple of an age is told once, however seldom somebody looks.
func TestDue(t *testing.T) {
	r := newRig(t)
	peers, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(peers[0].addr)}
	r.serve()
	greeting(t, r.dial())
	s := r.server
	var born time.Time
	s.match(admin.ConnFilter{}, func(c settled) { born = c.walk().born })
	for _, tc := range []struct {
		last, now time.Duration
		want      int
	}{
		{-15 * time.Minute, time.Second, 0}, // it was not there yet
		{0, 9 * time.Minute, 0}, {9 * time.Minute, 10 * time.Minute, 1}, {10 * time.Minute, 11 * time.Minute, 0}, {11 * time.Minute, 45 * time.Minute, 1},
	} {
		if n := len(s.due(born.Add(tc.last), born.Add(tc.now), 10*time.Minute)); n != tc.want {
			t.Errorf("from %v to %v: %d due, want %d", tc.last, tc.now, n, tc.want)
		}
	}
}
