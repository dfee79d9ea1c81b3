package lb

import (
	"net/netip"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
)

// reloadWords reads what docs/configuration.md says of a reload, by heading and key.
func reloadWords(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("../docs/configuration.md")
	if err != nil {
		t.Fatal(err)
	}
	words, heading := make(map[string]string), ""
	for line := range strings.Lines(string(text)) {
		if after, ok := strings.CutPrefix(line, "## "); ok {
			heading = strings.TrimSpace(after)
		}
		if cells := strings.Split(line, " | "); len(cells) == 5 {
			words[heading+" "+strings.Trim(cells[0], "| `")] = cells[3]
		}
	}
	return words
}

// What the reference says of keys that a reload does not change is what a reload does: for each key of a table a config with
// another value is compared with the one that was.
func TestReferenceTellsWhatAReloadCannotChange(t *testing.T) {
	tcp := config.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:1")}
	udp := config.Endpoint{Network: "udp", Addr: tcp.Addr}
	path := config.Endpoint{Network: "unix", Path: "/run/ebb/a"}
	example, err := config.Load("../config.example.toml", nil)
	if err != nil {
		t.Fatal(err)
	}
	a := &askReload{t: t, words: reloadWords(t), example: example}
	reloading(a, "[admin]", tcp, func(c *config.Config) *config.Admin { return &c.Admin })
	reloading(a, "[log]", tcp, func(c *config.Config) *config.Log { return &c.Log })
	reloading(a, "[relay]", tcp, func(c *config.Config) *config.Relay { return &c.Relay })
	reloading(a, "[resolver.NAME]", tcp, func(c *config.Config) *config.Resolver { return &c.Resolvers[0] })
	reloading(a, "[[listener]]", tcp, func(c *config.Config) *config.Listener { return &c.Listeners[0] })
	for _, at := range []config.Endpoint{tcp, udp, path} {
		reloading(a, "[listener.socket]", at, func(c *config.Config) *config.ClientSocket { return &c.Listeners[0].Socket })
	}
	reloading(a, "[pool.NAME]", tcp, func(c *config.Config) *config.Pool { return &c.Pools[0] })
	reloading(a, "[pool.NAME.socket]", tcp, func(c *config.Config) *config.PeerSocket { return &c.Pools[0].Socket })
	reloading(a, "[pool.NAME.on]", tcp, func(c *config.Config) *config.On { return &c.Pools[0].On })
	reloading(a, "[[pool.NAME.backend]]", tcp, func(c *config.Config) *config.Backend { return &c.Pools[0].Backends[0] })
	reloading(a, "[pool.NAME.check]", tcp, func(c *config.Config) *config.Check { return c.Pools[0].Check })
	if a.keys < 120 {
		t.Errorf("only %d keys were asked for", a.keys)
	}
}

type askReload struct {
	t       *testing.T
	words   map[string]string
	example *config.Config
	keys    int
}

// fresh is the example with a listener at an address, and nothing in common with it that a test changes.
func (a *askReload) fresh(at config.Endpoint) *config.Config {
	c := *a.example
	c.Resolvers, c.Listeners, c.Pools = slices.Clone(c.Resolvers), slices.Clone(c.Listeners), slices.Clone(c.Pools)
	c.Listeners[0].Listen = []config.Endpoint{at}
	c.Pools[0].Backends = slices.Clone(c.Pools[0].Backends)
	check := *c.Pools[0].Check
	c.Pools[0].Check = &check
	return &c
}

// reloading changes one field of a part after the other.
func reloading[T any](a *askReload, heading string, at config.Endpoint, part func(*config.Config) *T) {
	ofUDP := []string{"send_buffer", "receive_buffer", "mark", "interface", "freebind", "transparent", "v6only", "reuse_port"}
	fields := func(c *config.Config) []reflect.Value { return leaves(reflect.ValueOf(part(c)).Elem()) }
	for i := range fields(a.example) {
		was, now := a.fresh(at), a.fresh(at)
		if !differ(fields(now)[i]) {
			continue // a list, a table
		}
		key := strings.Join(config.Changed(part(was), part(now)), " ")
		word := a.words[heading+" "+key]
		if key == "name" && word == "" || at.Network == "udp" && !slices.Contains(ofUDP, key) {
			continue // the heading has the name; UDP has not this key
		}
		a.keys++
		lines, _ := plan(was, now)
		restart := strings.Contains(strings.Join(lines, "\n"), "(needs restart)")
		if word == "" || restart != (word == "restart") {
			a.t.Errorf("%s %s: the reference says %q, a restart is needed: %v", heading, key, word, restart)
		}
		ofPath := heading == "[listener.socket]" && (key == "mode" || key == "group")
		refused := word == "refused" && ofPath == (at.Network == "unix") || at.Network == "udp" && strings.HasSuffix(word, "UDP: refused")
		if got := fixed(was, now); (len(got) > 0) != refused {
			a.t.Errorf("%s %s on %s: the reference says %q, a reload %v", heading, key, at.Network, word, got)
		}
	}
}

// leaves are the fields of a struct, and of those that it embeds, that are neither structs nor unexported.
func leaves(v reflect.Value) (list []reflect.Value) {
	for i := range v.NumField() {
		switch f := v.Type().Field(i); {
		case f.Anonymous:
			list = append(list, leaves(v.Field(i))...)
		case f.IsExported() && v.Field(i).Kind() != reflect.Struct:
			list = append(list, v.Field(i))
		}
	}
	return list
}

// differ gives a field another value; false if it is none of those that have one.
func differ(v reflect.Value) bool {
	switch v.Kind() {
	case reflect.String:
		v.SetString(v.String() + "x")
	case reflect.Bool:
		v.SetBool(!v.Bool())
	case reflect.Int, reflect.Int64:
		v.SetInt(v.Int() + int64(time.Second))
	case reflect.Uint32:
		v.SetUint(v.Uint() ^ 1)
	case reflect.Float64:
		v.SetFloat(v.Float() + 1)
	default:
		return false
	}
	return true
}
