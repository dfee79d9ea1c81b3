package config

import (
	"maps"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
)

const exampleFile = "../../config.example.toml"

func TestExampleShowsDefaults(t *testing.T) {
	got, err := Load(exampleFile, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Listeners) != 1 || len(got.Pools) != 1 || len(got.Pools[0].Backends) != 1 || got.Pools[0].Check == nil {
		t.Fatalf("the example should have one of each thing: %+v", got)
	}
	l, p := &got.Listeners[0], &got.Pools[0]
	b := &p.Backends[0]
	if l.Pool != p.Name {
		t.Errorf("listener's pool is %q, want %q", l.Pool, p.Name)
	}
	// What has no default is cleared.
	l.Name, l.Listen, l.Pool, p.Name, b.Host, b.Port, p.Check.Kind = "", nil, "", "", "", 0, ""
	got.places = nil
	if want := defaults(); !reflect.DeepEqual(*got, want) {
		t.Errorf("the example shows\n%+v\nthe defaults are\n%+v", *got, want)
	}
}

func TestExampleShowsEveryKey(t *testing.T) {
	text, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	tree, perr := decodeTOML(string(text))
	if perr != nil {
		t.Fatal(perr)
	}
	shown := shownIn(tree)
	want := acceptedKeys()
	for _, key := range slices.Sorted(maps.Keys(shown)) {
		if !want[key] {
			t.Errorf("the example shows %s, which is not accepted", key)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if _, there := shown[key]; !there {
			t.Errorf("the example does not show %s", key)
		}
	}
}

// acceptedKeys walks the table of keys.
func acceptedKeys() map[string]bool {
	all := map[string]bool{"pool.NAME": true, "resolver.NAME": true}
	for _, s := range sections() {
		for _, k := range s.keys {
			all[s.path+k.name] = true
		}
	}
	return all
}

// shownIn gives each key of a file with its value. Names of pools and resolvers are NAME.
func shownIn(tree map[string]any) map[string]any {
	shown := make(map[string]any)
	var walk func(path string, raw any)
	walk = func(path string, raw any) {
		switch raw := raw.(type) {
		case map[string]any:
			for key, e := range raw {
				if path == "pool." || path == "resolver." {
					key = "NAME"
				}
				shown[path+key] = e
				walk(path+key+".", e)
			}
		case []map[string]any:
			for _, e := range raw {
				walk(path, e)
			}
		}
	}
	walk("", tree)
	return shown
}

// The contract's own example: what this version has loads, everything else is refused by name.
func TestContractIsKnown(t *testing.T) {
	_, err := Parse("ebb.toml", `[admin]
listen = "unix:/run/ebb/admin.sock"
[log]
level = "info"
format = "auto"
access = "all"
[relay]
engine = "uring"
loops = "auto"
[resolver.default]
servers = ["system", "tls://10.0.0.2:853#name"]
strategy = "race"
attempt_timeout = "1s"
attempts = 3
deadline = "5s"
edns_size = 1232
[[listener]]
name = "pg"
listen = ["tcp://0.0.0.0:5432", "unix:/run/ebb/pg.sock"]
pool = "pg-primary"
max_conns = 10000
idle_timeout = "off"
half_close_timeout = "30s"
datapath = "kernel"
[pool.pg-primary]
balance = "hash"
resolver = "default"
connect_timeout = "3s"
connect_attempts = 3
drain_timeout = "off"
on = { removed = "drain", role_lost = "close" }
[[pool.pg-primary.backend]]
host = "_pg._tcp.example.com"
type = "srv"
tier = 1
family = "auto"
refresh = "ttl"
min_refresh = "1s"
max_refresh = "5m"
on_empty = "hold"
empty_hold = "30s"
on_error = "keep"
max_stale = "72h"
absent_hold = "0s"
allow_answers = []
[pool.pg-primary.check]
kind = "postgres"
interval = "2s"
timeout = "1s"
fall = 3
rise = 2
want = "primary"
user = "ebb"
password_file = "/etc/ebb/pg.pass"
`, new(Flags))
	problems(t, err,
		`ebb.toml:24: listener.datapath: found "kernel", not in this version, expected "relay"`,
		`ebb.toml:54: pool.pg-primary.check.password_file: found "/etc/ebb/pg.pass", expected an absolute path, or "off": there is no such file`,
	)
}

// problems compares an error with the lines that it should have; none means no error.
func problems(t *testing.T, err error, want ...string) {
	t.Helper()
	var got []string
	if err != nil {
		got = strings.Split(err.Error(), "\n")
	}
	for i := range max(len(got), len(want)) {
		switch {
		case i >= len(got):
			t.Errorf("missing: %s", want[i])
		case i >= len(want):
			t.Errorf("too many: %s", got[i])
		case got[i] != want[i]:
			t.Errorf("got   %s\nwant  %s", got[i], want[i])
		}
	}
}
