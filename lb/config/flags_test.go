package config

import (
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"time"
)

func flagsOf(t *testing.T, pairs ...string) *Flags {
	t.Helper()
	f := new(Flags)
	for i := 0; i < len(pairs); i += 2 {
		if err := f.Set(pairs[i], pairs[i+1]); err != nil {
			t.Fatal(err)
		}
	}
	return f
}

func TestFlagsEqualFile(t *testing.T) {
	for _, test := range []struct {
		name  string
		flags []string
		file  string
	}{
		{"least", []string{"listen", "tcp://127.0.0.1:5432", "to", "db.example.com:5432"}, `
[[listener]]
name = "default"
listen = "tcp://127.0.0.1:5432"
pool = "default"
[[pool.default.backend]]
host = "db.example.com"
port = 5432
`},
		{"roles", []string{"listen", "tcp://:5432", "to", "db:1", "check", "postgres", "check-user", "ebb", "want", "primary"}, `
[[listener]]
name = "default"
listen = "tcp://[::]:5432"
pool = "default"
[pool.default]
check = { kind = "postgres", user = "ebb", want = "primary" }
[[pool.default.backend]]
host = "db"
port = 1
`},
		{"all", []string{
			"listen", "tcp+udp://[::1]:53", "listen", "tcp://:5432", "to", "[2001:db8::1]:5432", "to", "db.:1,weight=0,tier=1", "to", "srv+_pg._tcp.test,tier=2",
			"balance", "leastconn", "balance", "roundrobin", "resolver", "udp://10.0.0.2", "resolver", "udp://10.0.0.3:54,system",
			"allow-answers", "loopback, link-local", "min-refresh", "2s", "max-refresh", "3s", "check", "tcp",
			"connect-timeout", "4s", "idle-timeout", "5m", "max-conns", "off", "engine", "portable", "loops", "2",
			"admin", "off", "log-level", "debug", "log-format", "json", "access-log", "off",
		}, `
resolver.default.servers = ["udp://10.0.0.2:53", "udp://10.0.0.3:54", "system"]
admin.listen = "off"
[log]
level = "debug"
format = "json"
access = "off"
[relay]
engine = "portable"
loops = 2
[[listener]]
name = "default"
listen = ["tcp://[::1]:53", "udp://[::1]:53"]
pool = "default"
idle_timeout = "5m"
max_conns = "off"
[[listener]]
name = "default-2"
listen = "tcp://[::]:5432"
pool = "default"
idle_timeout = "5m"
max_conns = "off"
[pool.default]
balance = "roundrobin"
connect_timeout = "4s"
check.kind = "tcp"
[[pool.default.backend]]
host = "2001:db8::1"
port = 5432
min_refresh = "2s"
max_refresh = "3s"
allow_answers = ["loopback", "link-local"]
[[pool.default.backend]]
host = "db."
port = 1
weight = 0
tier = 1
min_refresh = "2s"
max_refresh = "3s"
allow_answers = ["loopback", "link-local"]
[[pool.default.backend]]
host = "_pg._tcp.test"
type = "srv"
tier = 2
min_refresh = "2s"
max_refresh = "3s"
allow_answers = ["loopback", "link-local"]
`},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := Load("", flagsOf(t, test.flags...))
			if err != nil {
				t.Fatal(err)
			}
			want, err := Parse("f", test.file, new(Flags))
			if err != nil {
				t.Fatal(err)
			}
			got.places, want.places = nil, nil
			if !reflect.DeepEqual(got, want) {
				t.Errorf("flags give\n%+v\nthe file gives\n%+v", got, want)
			}
		})
	}
}

func TestFlagProblems(t *testing.T) {
	const form = `expected HOST:PORT[,weight=N][,tier=N] or srv+NAME[,tier=N]`
	for _, test := range []struct {
		name  string
		flags []string
		want  []string
	}{
		{"none", nil, []string{
			`--listen: missing, expected at least one, or a file with -c`,
			`--to: missing, expected at least one, or a file with -c`,
		}},
		{"no listen, and more", []string{"to", "h:1", "idle-timeout", "5", "min-refresh", "0s"}, []string{
			`--listen: missing, expected at least one, or a file with -c`,
			`--idle-timeout: found 5, expected a duration with its unit (ms, s, m, h), such as "30s", or "off"`,
			`--min-refresh: found "0s", expected a duration from 100ms to 8760h`,
		}},
		{"said once for all listeners", []string{"listen", "tcp://:1", "listen", "tcp://:2", "to", "h:1", "max-conns", "-1"}, []string{
			`--max-conns: found -1, expected a whole number from 1 to 10000000, or "off"`,
		}},
		{"words and prefixes", []string{"listen", "tcp://:1", "to", "h:1", "proxy-in", "10.0.0.0/33", "proxy-out", "v3",
			"check", "exec"}, []string{
			`--proxy-in: found "10.0.0.0/33", expected ` + accessForms + `: this is neither`,
			`check.command: missing with kind "exec", expected ` + commandForm,
			`--proxy-out: found "v3", expected "off", "v1" or "v2"`,
		}},
		{"roles of whom", []string{"listen", "tcp://:1", "to", "h:1", "want", "primary"}, []string{
			`--want: found without --check, expected both`,
		}},
		{"an account for nothing", []string{"listen", "tcp://:1", "to", "h:1", "check-user", "u", "check-password-file", "/nowhere"}, []string{
			`--check-user: found without --check, expected both`, `--check-password-file: found without --check, expected both`,
		}},
		{"an account that has no use", []string{"listen", "tcp://:1", "to", "h:1", "check", "tcp", "check-user", "u"}, []string{
			`--check-user: found with kind "tcp", which has no use for it, expected with kind "postgres", "mysql" or "redis"`,
		}},
		{"roles from whom", []string{"listen", "tcp://:1", "to", "h:1", "want", "primary", "check", "postgres"}, []string{
			`--want: found without user, expected both: postgres tells role and lag only to an account`,
		}},
		{"to", []string{"listen", "tcp://:1", "to", "h", "to", "::1:5432", "to", "srv+_pg._tcp.example.com,wait=1", "to", "h:1,wieght=2", "to", "h:1,weight=1,weight=2", "to", "h:1,"}, []string{
			`--to: found "h", ` + form + `: the port is missing`,
			`--to: found "::1:5432", ` + form + `: an IPv6 address needs brackets`,
			`--to: found "srv+_pg._tcp.example.com,wait=1", ` + form + `: "wait=1" is neither`,
			`--to: found "h:1,wieght=2", ` + form + `: "wieght=2" is neither: did you mean "weight"?`,
			`--to: found "h:1,weight=1,weight=2", ` + form + `: weight stands there twice`,
			`--to: found "h:1,", ` + form + `: "" is neither`,
		}},
		{"parts of to", []string{"listen", "tcp://:1", "to", "a..b:0,weight=x,tier=-1", "to", ":1", "to", "h:1", "to", "h:1",
			"to", "srv+_a._tcp.b", "to", "srv+_a._tcp.b,tier=2", "to", "srv+10.0.0.1", "to", "srv+_c._tcp.b,weight=2", "to", "_d._udp.b:53"}, []string{
			`--to: host: found "a..b", expected a DNS name or an IP address: it has an empty label, that is two dots in a row or one at the beginning`,
			`--to: port: found 0, expected a whole number from 1 to 65535`,
			`--to: tier: found -1, expected a whole number from 0 to 65535`,
			`--to: weight: found "x", expected a whole number from 0 to 65535`,
			`--to: host: found "", expected a DNS name or an IP address: the name is empty`,
			`--to: host: found h port 1 again in this pool, first by --to, expected each backend once`,
			`--to: name: found the service _a._tcp.b again in this pool, first by --to, expected each backend once`,
			`--to: name: found "10.0.0.1" with type "srv", expected the name of a service, such as "_pg._tcp.example.com"`,
			`--to: weight: found beside type "srv", expected to be left out: SRV records have their own`,
			`--to: host: found "_d._udp.b" with type "addr", expected type = "srv", by flags srv+NAME: it is the name of a service, which has no addresses`,
		}},
		{"listen", []string{"listen", "tcp://:1", "listen", "udp://:1", "listen", "tcp://127.0.0.1:1", "listen", ":5432", "listen", "unix:run/x", "to", "h:1"}, []string{
			`--listen: found ":5432", expected tcp://ADDRESS:PORT, udp://ADDRESS:PORT, tcp+udp://ADDRESS:PORT or unix:PATH: the scheme is missing, did you mean "tcp://:5432"?`,
			`--listen: found "unix:run/x", expected tcp://ADDRESS:PORT, udp://ADDRESS:PORT, tcp+udp://ADDRESS:PORT or unix:PATH: the path must be absolute, and as short as it can be said`,
			`--listen: found tcp://127.0.0.1:1, which overlaps tcp://[::]:1 ("tcp://:1") of --listen, expected each address once`,
		}},
		{"refresh bounds", []string{"listen", "tcp://:1", "to", "h:1", "max-refresh", "500ms"}, []string{
			`--max-refresh: found min_refresh 1s above max_refresh 500ms, expected at most as much`,
		}},
		{"udp without end", []string{"listen", "udp://:1", "to", "h:1", "idle-timeout", "off"}, []string{
			`--idle-timeout: found "off", expected a duration such as "1m": nothing else ends a UDP flow`,
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := FromFlags(flagsOf(t, test.flags...))
			problems(t, err, test.want...)
		})
	}
}

func TestFlagsBesideFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ebb.toml")
	if err := os.WriteFile(file, []byte(whole+"[log]\nlevel = \"warn\"\nformat = \"text\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := Load(file, flagsOf(t, "log-level", "debug", "admin", "off", "loops", "3"))
	if err != nil {
		t.Fatal(err)
	}
	if c.Log != (Log{"debug", "text", "stderr", "close", 10 * time.Minute}) || c.Admin.Listen != "off" || c.Relay.Loops != 3 {
		t.Errorf("got %+v %+v %+v", c.Log, c.Admin, c.Relay)
	}
	_, err = Load(file, flagsOf(t, "listen", "tcp://:1", "to", "h:1", "max-conns", "3", "want", "x", "log-level", "loud"))
	problems(t, err,
		`--listen: found beside -c, expected in the file`,
		`--to: found beside -c, expected in the file`,
		`--want: found beside -c, expected in the file`,
		`--max-conns: found beside -c, expected in the file`,
		`--log-level: found "loud", expected "debug", "info", "warn" or "error"`,
	)
}

func TestFlagDefs(t *testing.T) {
	if err := new(Flags).Set("colour", "red"); err == nil {
		t.Error("Set took an unknown flag")
	}
	accepted := acceptedKeys()
	prefix := map[string]string{
		"backend": "pool.NAME.backend.", "check": "pool.NAME.check.", "pool": "pool.NAME.", "resolver": "resolver.NAME.",
		"listener": "listener.", "admin": "admin.", "log": "log.", "relay": "relay.",
	}
	for i, d := range FlagDefs() {
		if d.Name == "" || d.Value == "" || d.Usage == "" {
			t.Errorf("flag %d is not described: %+v", i, d)
		}
		if def := flagDefs[i]; !accepted[prefix[def.table]+def.key] {
			t.Errorf("--%s sets %s.%s, which is no key", d.Name, def.table, def.key)
		}
	}
}
