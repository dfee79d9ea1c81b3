package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/ebb-lb/ebb/lb/config"
)

func TestReport(t *testing.T) {
	problems := config.Problems{{Key: "--to", Text: "missing"}, {File: "a.toml", Line: 3, Key: "listener", Text: "missing"}}
	for _, c := range []struct {
		name string
		err  error
		code int
		want string
	}{
		{"failure", errors.New("no"), exitFailed, "ebb: no\n"},
		{"failures", errors.Join(errors.New("one"), errors.New("two")), exitFailed, "ebb: one\nebb: two\n"},
		{"usage", usagef("top: %s", "later"), exitUsage, "ebb: top: later\n"},
		{"usage that is explained", usageError{errors.New("no"), "ebb run"}, exitUsage, "ebb: no\nsee 'ebb run --help'\n"},
		{"wrapped usage", fmt.Errorf("status: %w", usagef("no")), exitUsage, "ebb: status: no\n"},
		{"problems", problems, exitUsage, "ebb: --to: missing\na.toml:3: listener: missing\n"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var out strings.Builder
			if code := report(&out, c.err); code != c.code || out.String() != c.want {
				t.Errorf("%d, %q; want %d, %q", code, out.String(), c.code, c.want)
			}
		})
	}
}

// TestFlags holds that every flag of config can be given, that the usage shows all of them, and that what it
// calls a default is one: giving it changes nothing.
func TestFlags(t *testing.T) {
	flags := newRunCommand().Flags()
	least := func() *config.Flags {
		var f config.Flags
		for name, text := range map[string]string{"listen": "tcp://127.0.0.1:1", "to": "127.0.0.1:1"} {
			if err := f.Set(name, text); err != nil {
				t.Fatal(err)
			}
		}
		return &f
	}
	unset, err := config.FromFlags(least())
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range config.FlagDefs() {
		f := flags.Lookup(d.Name)
		if f == nil {
			t.Errorf("run has no --%s", d.Name)
			continue
		}
		text, _, several := strings.Cut(f.DefValue, ", ")
		if text == "" || several && d.Name != "idle-timeout" {
			continue
		}
		given := least()
		if err := given.Set(d.Name, text); err != nil {
			t.Fatal(err)
		}
		c, err := config.FromFlags(given)
		if err != nil {
			t.Errorf("--%s %s: %v", d.Name, text, err)
		} else if len(config.Changed(c, unset)) > 0 {
			t.Errorf("--%s %s is not the default:\n%+v\n%+v", d.Name, text, c, unset)
		}
	}
	flags.VisitAll(func(f *pflag.Flag) {
		if !grouped(f.Name) {
			t.Errorf("--%s is in no group", f.Name)
		}
	})
	for _, g := range flagGroups {
		for name := range strings.FieldsSeq(g.names) {
			if flags.Lookup(name) == nil && name != "help" {
				t.Errorf("%s: there is no --%s", g.title, name)
			}
		}
	}
}

func TestInfoVersion(t *testing.T) {
	settings := func(pairs ...string) (s []debug.BuildSetting) {
		for i := 0; i < len(pairs); i += 2 {
			s = append(s, debug.BuildSetting{Key: pairs[i], Value: pairs[i+1]})
		}
		return s
	}
	for _, c := range []struct {
		version  string
		settings []debug.BuildSetting
		want     string
	}{
		{"v1.2.3", nil, "v1.2.3"},
		{"(devel)", nil, "devel"},
		{"", settings("vcs.revision", "0123456789abcdef", "vcs.modified", "false"), "devel-0123456789ab"},
		{"(devel)", settings("vcs.modified", "true", "vcs.revision", "0123"), "devel-0123-dirty"},
		{"(devel)", settings("vcs.modified", "true"), "devel"},
	} {
		if got := infoVersion(&debug.BuildInfo{Main: debug.Module{Version: c.version}, Settings: c.settings}); got != c.want {
			t.Errorf("%q %v: %q, want %q", c.version, c.settings, got, c.want)
		}
	}
}
