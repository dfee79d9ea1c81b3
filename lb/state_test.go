package lb

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// again is a rig with the pool and the state file of another.
func (r *rig) again(t *testing.T) *rig {
	n := newRig(t)
	n.conf.StateFile, n.pool().Backends = r.conf.StateFile, r.pool().Backends
	return n
}

// said says something of a peer, or fails the test.
func (r *rig) said(peer string, o admin.Order) {
	r.t.Helper()
	if _, err := r.server.OrderPeer("db", peer, o); err != nil {
		r.t.Fatal(err)
	}
}

func TestWhatOperatorsSayOutlivesTheProcess(t *testing.T) {
	file := filepath.Join(t.TempDir(), "state.json")
	var list []*backendServer
	r := newRig(t)
	list, _ = backends(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	r.conf.StateFile = file
	r.pool().Backends = []config.Backend{literal(list[0].addr), literal(list[1].addr), literal(list[2].addr)}
	r.serve()
	r.awaitListed("127.0.0.2", "127.0.0.3", "127.0.0.4")
	r.said(list[0].addr.String(), admin.Order{Word: "drain"})
	r.said(list[1].addr.String(), admin.Order{Word: "maint"})
	r.said(list[2].addr.String(), admin.Order{Word: "weight", Weight: 7})
	if _, err := r.server.HoldPool("db", true); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(file) // on the disk by the time of the answer: the process may be killed now
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info, err)
	}

	n := r.again(t)
	n.serve()
	n.awaitListed("127.0.0.2", "127.0.0.3", "127.0.0.4")
	st := n.status()
	if p := st.Peers; p[0].Admin != "drain" || p[1].Admin != "maint" || p[2].Admin != "ready" || p[2].Weight != 7 || p[2].AdminWeight == nil || !st.Held {
		t.Errorf("%+v, held %v", p, st.Held)
	}
	if _, err := n.server.HoldPool("db", false); err != nil {
		t.Fatal(err)
	}
	if who := n.ask(); who != list[2].addr {
		t.Errorf("served by %v", who)
	}
	for i := range list {
		n.said(list[i].addr.String(), admin.Order{Word: "ready"})
	}
	n.said(list[2].addr.String(), admin.Order{Word: "weight", Weight: admin.NoWeight})
	if text, err := os.ReadFile(file); err != nil || strings.Contains(string(text), "127.0.0") {
		t.Errorf("taken back, and kept: %v %s", err, text)
	}
	if left, _ := filepath.Glob(file + ".*"); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestAStateIsTakenWholeOrNotAtAll(t *testing.T) {
	const peer = `{"version":1,"pools":{"db":{"held":false,"peers":[{"addr":"192.0.2.1:1",`
	for name, text := range map[string]string{
		"empty": "", "half": peer, "binary": "\x00\x01", "list": "[]", "version": `{"version":2,"pools":{}}`,
		"word": peer + `"admin":"gone"}]}}}`, "weight": peer + `"admin":"drain","weight":65536}]}}}`, "negative": peer + `"admin":"drain","weight":-1}]}}}`,
		"address": `{"version":1,"pools":{"db":{"peers":[{"addr":"db.test:1","admin":"drain"}]}}}`,
		"more":    peer + `"admin":"drain"}]}}} {}`, "large": peer + strings.Repeat(" ", maxState),
	} {
		file := filepath.Join(t.TempDir(), "state.json")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if kept, err := readState(file); err == nil || kept != nil {
			t.Errorf("%s: %v, %v", name, kept, err)
		}
	}
}

// A file that cannot be used is named, set aside, and no reason not to serve.
func TestAStateFileThatCannotBeUsed(t *testing.T) {
	list, _ := backends(t, "127.0.0.2")
	const text = `{"version":1,"pools":{"db":`
	r := newRig(t)
	r.conf.StateFile = filepath.Join(t.TempDir(), "state.json")
	if err := os.WriteFile(r.conf.StateFile, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.serve()
	if who := r.ask(); who != list[0].addr || r.status().Peers[0].Admin != "ready" {
		t.Errorf("served by %v: %+v", who, r.status().Peers)
	}
	if lines := r.logs.find("state file ignored"); len(lines) != 1 || lines[0]["file"] != r.conf.StateFile {
		t.Errorf("%v", lines)
	}
	if was, err := os.ReadFile(r.conf.StateFile + ".bad"); err != nil || string(was) != text {
		t.Errorf("aside: %q, %v", was, err)
	}
	r.said(list[0].addr.String(), admin.Order{Word: "drain"})
	if kept, err := readState(r.conf.StateFile); err != nil || len(kept["db"].Peers) != 1 {
		t.Errorf("%v, %v", kept, err)
	}
}

// A file that cannot be written is named too; what was said holds.
func TestAStateFileThatCannotBeWritten(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2")
	dir := t.TempDir()
	r.conf.StateFile = filepath.Join(dir, "none", "state.json")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.serve()
	if len(r.logs.find("state not saved")) != 1 {
		t.Errorf("%v", r.logs.messages())
	}
	r.said(list[0].addr.String(), admin.Order{Word: "weight", Weight: 9})
	if p := r.status().Peers[0]; p.Weight != 9 {
		t.Errorf("%+v", p)
	}
	if len(r.logs.find("state not saved")) != 2 {
		t.Errorf("%v", r.logs.messages())
	}
	file := filepath.Join(dir, "state.json")
	r.reloads(func(c *config.Config) { c.StateFile = file }, "state_file: changed")
	if kept, err := readState(file); err != nil || *kept["db"].Peers[0].Weight != 9 {
		t.Errorf("%v, %v", kept, err)
	}
}
