package config

import (
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"
)

// whole is a config without mistakes in 8 lines. Tests add to it; what they add begins on line 9.
const whole = `[[listener]]
name = "a"
listen = "tcp://127.0.0.1:5432"
pool = "p"
[[pool.p.backend]]
host = "db.example.com"
port = 5432
#
`

func TestProblems(t *testing.T) {
	long := strings.Repeat("a", 64)
	for _, test := range []struct {
		name, text string
		want       []string
	}{
		{"none", whole, nil},
		{"empty", "", []string{`f:1: listener: missing, expected at least one [[listener]]`}},
		{"only comments", "# nothing\n\n", []string{`f:1: listener: missing, expected at least one [[listener]]`}},
		{"empty listener", "listener = []\n", []string{`f:1: listener: found an empty list, expected at least one [[listener]]`}},
		{"one bracket", "[listener]\nname = \"a\"\n", []string{`f:1: listener: found one table, expected a list of them: [[listener]]`}},
		{"bare listener", "[[listener]]\n", []string{
			`f:1: listener.name: missing, expected a name`,
			`f:1: listener.listen: missing, expected an address such as "tcp://0.0.0.0:5432", or a list of them`,
			`f:1: listener.pool: missing, expected the name of a pool`,
		}},

		{"unknown top key", "shutdown_dealy = \"1s\"\n" + whole, []string{`f:1: shutdown_dealy: unknown key, did you mean "shutdown_delay"?`}},
		{"unknown table", whole + "[lgo]\nlevel = 1\n", []string{`f:9: lgo: unknown key, did you mean "log"?`}},
		{"log", whole + "[log]\ntarget = \"ebb.log\"\nprogress = \"10ms\"\n", []string{
			`f:10: log.target: found "ebb.log", expected the absolute path of a file, "stderr", "syslog" or "journald"`,
			`f:11: log.progress: found "10ms", expected a duration from 1s to 8760h, or "off"`,
		}},
		{"log of the journal", whole + "[log]\ntarget = \"journald\"\nformat = \"text\"\n", []string{
			`f:11: log.format: found "text" with target = "journald", which has fields and no format, expected "auto"`,
		}},
		{"unknown key, nothing near", whole + "[log]\ncolour = true\n", []string{`f:10: log.colour: unknown key, expected "level", "format", "target", "access" or "progress"`}},
		{"unknown key in an inline table", whole + "[pool.p]\non = {\nded = \"keep\" }\n", []string{`f:11: pool.p.on.ded: unknown key, did you mean "dead"?`}},
		{"quoted key with a newline", whole + `"a\nb" = 1` + "\n", []string{`f:9: pool.p.backend."a\nb": unknown key, expected "host", "port", "type", "weight", "tier", "family", "refresh", "min_refresh", "max_refresh", "on_empty", "empty_hold", "on_error", "max_stale", "absent_hold" or "allow_answers"`}},
		{"case matters", whole + "Weight = 1\n", []string{`f:9: pool.p.backend.Weight: unknown key, did you mean "weight"?`}},

		{"duration without unit", "shutdown_delay = \"30\"\n" + whole, []string{`f:1: shutdown_delay: found "30", expected a duration with its unit (ms, s, m, h), such as "30s"`}},
		{"duration as a number", "shutdown_delay = 30\n" + whole, []string{`f:1: shutdown_delay: found 30, expected a duration with its unit (ms, s, m, h), such as "30s"`}},
		{"bare zero", "shutdown_delay = \"0\"\n" + whole, []string{`f:1: shutdown_delay: found "0", expected a duration with its unit (ms, s, m, h), such as "30s"`}},
		{"empty duration", "shutdown_delay = \"\"\n" + whole, []string{`f:1: shutdown_delay: found "", expected a duration with its unit (ms, s, m, h), such as "30s"`}},
		{"negative duration", "shutdown_delay = \"-1s\"\n" + whole, []string{`f:1: shutdown_delay: found "-1s", expected a duration from 0s to 8760h`}},
		{"endless duration", "shutdown_delay = \"9000h\"\n" + whole, []string{`f:1: shutdown_delay: found "9000h", expected a duration from 0s to 8760h`}},
		{"off where there is no off", "shutdown_delay = \"off\"\n" + whole, []string{`f:1: shutdown_delay: found "off", expected a duration with its unit (ms, s, m, h), such as "30s"`}},
		{"zero is not off", whole + "[pool.p]\ndrain_timeout = \"0s\"\n", []string{`f:10: pool.p.drain_timeout: found "0s", expected a duration from 1ms to 8760h, or "off"`}},
		{"zero is not off, in numbers", whole + "[pool.p]\nmax_conns = 0\n", []string{`f:10: pool.p.max_conns: found 0, expected a whole number from 1 to 10000000, or "off"`}},
		{"false is not off", whole + "[pool.p]\ndrain_timeout = false\n", []string{`f:10: pool.p.drain_timeout: found false, expected a duration with its unit (ms, s, m, h), such as "30s", or "off"`}},
		{"a factor below 1", whole + "[pool.p]\nbalance = \"hash\"\nbounded = 0.9\n", []string{`f:11: pool.p.bounded: found 0.9, expected a number from 1 to 100, or "off"`}},
		{"a factor that is no number", whole + "[pool.p]\nbalance = \"hash\"\nbounded = nan\n", []string{`f:11: pool.p.bounded: found NaN, expected a number from 1 to 100, or "off"`}},
		{"a factor in words", whole + "[pool.p]\nbalance = \"hash\"\nbounded = \"1.25\"\n", []string{`f:11: pool.p.bounded: found "1.25", expected a number from 1 to 100, or "off"`}},
		{"whole and broken factors", whole + "[pool.p]\nbalance = \"hash\"\nbounded = 2\n[pool.q]\nbackend = [{host = \"h\", port = 1}]\nbalance = \"hash\"\nbounded = 1.25\n", nil},
		{"a bound for another policy", whole + "[pool.p]\nbounded = 1.5\nhash_key = \"destination\"\n", []string{
			`f:10: pool.p.bounded: found with balance "leastconn", which has no use for it, expected with balance "hash"`,
			`f:11: pool.p.hash_key: found with balance "leastconn", which has no use for it, expected with balance "hash"`,
		}},
		{"a queue where nobody waits", whole + "[pool.p]\nqueue = 5\n", []string{`f:10: pool.p.queue: found a queue without a limit, expected one of max_conns, pool_max_conns, max_connecting, connect_rate: nobody waits where there is none`}},
		{"a queue before a gate", whole + "[pool.p]\nqueue = 5\nconnect_rate = 10\n", nil},
		{"a rate of nothing", whole + "[pool.p]\nconnect_rate = 0\nmax_connecting = 0\n", []string{
			`f:10: pool.p.connect_rate: found 0, expected a whole number from 1 to 10000000, or "off"`,
			`f:11: pool.p.max_connecting: found 0, expected a whole number from 1 to 10000000, or "off"`,
		}},
		{"connects of datagrams", strings.Replace(whole, "tcp:", "udp:", 1) + "[pool.p]\nmax_connecting = 5\n", []string{
			`f:10: pool.p.max_connecting: found 5, but listener "a" is UDP, expected TCP only: nobody accepts a datagram`,
		}},
		{"failback with a typo", whole + "[pool.p]\nfailback = \"after 5m\"\n", []string{`f:10: pool.p.failback: found "after 5m", expected "immediate", "never", or "after=" with a duration, such as "after=5m"`}},
		{"failback after nothing", whole + "[pool.p]\nfailback = \"after=5\"\n", []string{`f:10: pool.p.failback: found "5", expected a duration with its unit (ms, s, m, h), such as "30s"`}},
		{"failback after no time", whole + "[pool.p]\nfailback = \"after=0s\"\n", []string{`f:10: pool.p.failback: found "0s", expected a duration from 1ms to 8760h`}},
		{"failback as a number", whole + "[pool.p]\nfailback = 5\n", []string{`f:10: pool.p.failback: found 5, expected "immediate", "never", or "after=" with a duration, such as "after=5m"`}},
		{"min_up of nobody", whole + "[pool.p]\nmin_up = 0\nslow_start = \"0s\"\n", []string{
			`f:10: pool.p.min_up: found 0, expected a whole number from 1 to 65535`,
			`f:11: pool.p.slow_start: found "0s", expected a duration from 1ms to 8760h, or "off"`,
		}},
		{"a date", whole + "weight = 2026-01-01\n", []string{`f:9: pool.p.backend.weight: found a date, expected a whole number from 0 to 65535`}},

		{"weight too high", whole + "weight = 65536\n", []string{`f:9: pool.p.backend.weight: found 65536, expected a whole number from 0 to 65535`}},
		{"weight negative", whole + "weight = -1\n", []string{`f:9: pool.p.backend.weight: found -1, expected a whole number from 0 to 65535`}},
		{"weight as text", whole + "weight = \"2\"\n", []string{`f:9: pool.p.backend.weight: found "2", expected a whole number from 0 to 65535, without quotes`}},
		{"weight with a fraction", whole + "weight = 1.5\n", []string{`f:9: pool.p.backend.weight: found 1.5, expected a whole number from 0 to 65535`}},
		{"weight zero", whole + "weight = 0\n", nil},
		{"srv with its own words", whole + "type = \"srv\"\nweight = 1\n", []string{
			`f:7: pool.p.backend.port: found beside type "srv", expected to be left out: SRV records have their own`,
			`f:10: pool.p.backend.weight: found beside type "srv", expected to be left out: SRV records have their own`,
		}},
		{"a service as a host", strings.NewReplacer("db.example.com", "_PG._TCP.example.com", "port = 5432\n", "").Replace(whole), []string{
			`f:6: pool.p.backend.host: found "_PG._TCP.example.com" with type "addr", expected type = "srv", by flags srv+NAME: it is the name of a service, which has no addresses`,
		}},
		{"a host with underscores", strings.Replace(whole, "db.example.com", "_db._tcpx.example.com", 1), nil},
		{"a host below a protocol", strings.Replace(whole, "db.example.com", "db._tcp.example.com", 1), nil},
		{"no port", strings.Replace(whole, "port = 5432\n", "", 1), []string{`f:5: pool.p.backend.port: missing, expected a whole number from 1 to 65535`}},
		{"ca_file", whole + "[resolver.default]\nca_file = \"ca.pem\"\n", []string{`f:10: resolver.default.ca_file: found "ca.pem", expected an absolute path, or "system"`}},
		{"tier negative", whole + "tier = -1\n", []string{`f:9: pool.p.backend.tier: found -1, expected a whole number from 0 to 65535`}},
		{"bad word", whole + "family = \"ipv5\"\n", []string{`f:9: pool.p.backend.family: found "ipv5", expected "auto", "ipv4", "ipv6", "both", "prefer_ipv4" or "prefer_ipv6"`}},
		{"word of one", whole + "on_error = \"ignore\"\n", []string{`f:9: pool.p.backend.on_error: found "ignore", expected "keep" or "remove"`}},
		{"word as number", whole + "family = 4\n", []string{`f:9: pool.p.backend.family: found 4, expected "auto", "ipv4", "ipv6", "both", "prefer_ipv4" or "prefer_ipv6"`}},
		{"allow_answers", whole + "allow_answers = [\"loopback\",\n\"private\", 1,\n\"loopback\"]\n", []string{
			`f:10: pool.p.backend.allow_answers: found 1, expected "loopback" or "link-local"`,
			`f:10: pool.p.backend.allow_answers: found "private", expected "loopback" or "link-local"`,
			`f:11: pool.p.backend.allow_answers: found "loopback" twice`,
		}},

		{"refresh bounds", whole + "min_refresh = \"10m\"\n", []string{`f:9: pool.p.backend.min_refresh: found min_refresh 10m above max_refresh 5m, expected at most as much`}},
		{"refresh bounds, one of them bad", whole + "min_refresh = \"10m\"\nmax_refresh = \"20\"\n", []string{`f:10: pool.p.backend.max_refresh: found "20", expected a duration with its unit (ms, s, m, h), such as "30s"`}},
		{"refresh too often", whole + "refresh = \"1ms\"\n", []string{`f:9: pool.p.backend.refresh: found "1ms", expected a duration from 100ms to 8760h, or "ttl"`}},
		{"attempts", whole + "[pool.p]\nconnect_attempts = 0\n", []string{`f:10: pool.p.connect_attempts: found 0, expected a whole number from 1 to 100`}},
		{"attempt above deadline", whole + "[resolver.default]\nattempt_timeout = \"6s\"\n", []string{`f:10: resolver.default.attempt_timeout: found attempt_timeout 6s above deadline 5s, expected at most as much`}},
		{"check", whole + "[pool.p.check]\ninterval = \"1s\"\nfast_interval = \"2s\"\nfall = 0\nrise = 0\ntimeout = \"0s\"\nrefused_is_down = \"yes\"\n", []string{
			`f:9: pool.p.check.kind: missing, expected ` + choice(checkKindWords),
			`f:11: pool.p.check.fast_interval: found 2s above interval 1s, expected at most as much`,
			`f:12: pool.p.check.fall: found 0, expected a whole number from 1 to 100`,
			`f:13: pool.p.check.rise: found 0, expected a whole number from 1 to 100`,
			`f:14: pool.p.check.timeout: found "0s", expected a duration from 1ms to 8760h`,
			`f:15: pool.p.check.refused_is_down: found "yes", expected true or false`,
		}},
		{"check is no table", whole + "[pool.p]\ncheck = \"tcp\"\n", []string{`f:10: pool.p.check: found "tcp", expected a table, such as { kind = "tcp" }`}},

		{"unknown pool", strings.Replace(whole, `pool = "p"`, `pool = "pg"`, 1), []string{`f:4: listener.pool: found "pg", there is no such pool, did you mean "p"?`}},
		{"no pool at all", whole[:strings.Index(whole, "[[pool")], []string{`f:4: listener.pool: found "p", there is no such pool, expected the name of a [pool.NAME] table`}},
		{"unknown resolver", whole + "[pool.p]\nresolver = \"internal\"\n[resolver.consul]\n", []string{`f:10: pool.p.resolver: found "internal", there is no such resolver, expected "consul" or "default", or a table [resolver.internal]`}},
		{"pool without backends", whole + "[pool.q]\n", []string{`f:9: pool.q.backend: missing, expected at least one backend`}},
		{"pool with an empty list", whole + "[pool.q]\nbackend = []\n", []string{`f:10: pool.q.backend: found an empty list, expected at least one [[pool.NAME.backend]]`}},
		{"pool with one bracket", whole + "[pool.q.backend]\nhost = \"h\"\n", []string{`f:9: pool.q.backend: found one table, expected a list of them: [[pool.NAME.backend]]`}},
		{"pool name", whole + "[pool.\"a/b\"]\n[[pool.\"a/b\".backend]]\nhost = \"h\"\nport = 1\n", []string{`f:9: pool."a/b": found a pool of this name, expected 1 to 63 letters, digits, dots, hyphens and underscores`}},
		{"resolver name", whole + "[resolver.\"\"]\n", []string{`f:9: resolver."": found a resolver of this name, expected 1 to 63 letters, digits, dots, hyphens and underscores`}},
		{"pool is no table", "pool = 3\n" + whole[:strings.Index(whole, "[[pool")], []string{
			`f:1: pool: found 3, expected a table`,
			`f:5: listener.pool: found "p", there is no such pool, expected the name of a [pool.NAME] table`,
		}},
		{"listener name twice", whole + "[[listener]]\nname = \"a\"\nlisten = \"tcp://127.0.0.1:1\"\npool = \"p\"\n", []string{`f:10: listener.name: found "a" again, first on line 2, expected a name of its own`}},
		{"listener name", strings.Replace(whole, `"a"`, `"a b"`, 1), []string{`f:2: listener.name: found "a b", expected a name of 1 to 63 letters, digits, dots, hyphens and underscores`}},
		{"listener name too long", strings.Replace(whole, `"a"`, `"`+long+`"`, 1), []string{`f:2: listener.name: found "` + long + `", expected a name of 1 to 63 letters, digits, dots, hyphens and underscores`}},
		{"backend twice", whole + "[[pool.p.backend]]\nhost = \"DB.example.com.\"\nport = 5432\n", []string{`f:10: pool.p.backend.host: found DB.example.com. port 5432 again in this pool, first on line 6, expected each backend once`}},
		{"same host, other port", whole + "[[pool.p.backend]]\nhost = \"db.example.com\"\nport = 5433\n", nil},

		{"udp without end", strings.Replace(whole, "tcp://127.0.0.1:5432\"", "udp://127.0.0.1:5432\"\nidle_timeout = \"off\"", 1), []string{`f:4: listener.idle_timeout: found "off", expected a duration such as "1m": nothing else ends a UDP flow`}},
		{"both without end", strings.Replace(whole, "tcp://127.0.0.1:5432\"", "tcp+udp://127.0.0.1:5432\"\nidle_timeout = \"off\"", 1), nil},
		{"hosts_file", whole + "[resolver.default]\nhosts_file = \"hosts\"\n", []string{`f:10: resolver.default.hosts_file: found "hosts", expected an absolute path, or "off"`}},

		{"not TOML", "[[listener]\n", []string{`f:1: syntax: not TOML: expected end of table array name delimiter ']', but got '\n' instead`}},
		{"value without quotes", whole + "max_refresh = 5m\nport = 0\n", []string{
			`f:9: max_refresh: not TOML: expected a top-level item to end with a newline, comment, or EOF, but got 'm' instead`,
			`f:10: port: not TOML: Key 'pool.p.backend.port' has already been defined.`,
		}},
		{"syntax and more", "shutdown_delay = 3s\nshutdown_timeout = \"3\"\n" + whole, []string{
			`f:1: shutdown_delay: not TOML: expected a top-level item to end with a newline, comment, or EOF, but got 's' instead`,
			`f:2: shutdown_timeout: found "3", expected a duration with its unit (ms, s, m, h), such as "30s"`,
		}},
		{"required key with an error of syntax", strings.Replace(whole, `"p"`, `p`, 1), []string{`f:4: pool: not TOML: expected value but found "p" instead; text stands in quotes: "..."`}},
		{"list without its end", strings.Replace(whole, `"tcp://127.0.0.1:5432"`, `["tcp://127.0.0.1:5432"`, 1), []string{`f:4: pool: not TOML: expected a comma (',') or array terminator (']'), but got 'p'`}},
		{"key twice", "[log]\nlevel = \"info\"\nlevel = \"warn\"\n" + whole, []string{`f:3: level: not TOML: Key 'log.level' has already been defined.`}},
		{"key as table and as value", whole + "[pool.q]\non.dead = \"keep\"\non = 1\nbackend = [{host = \"h\", port = 1}]\n", []string{`f:11: pool.q.on: found again, first on line 10, expected each key once`}},
		{"deep", "a = " + strings.Repeat("[", 100_000) + "\n", []string{`f:1: syntax: found keys or values nested deeper than 16`}},
		{"deep tables", "a = " + strings.Repeat("{a=", 100_000) + "\n", []string{`f:1: syntax: found keys or values nested deeper than 16`}},
		{"long dotted key", "\n[" + strings.Repeat("a.", 100_000) + "a]\n", []string{`f:2: syntax: found keys or values nested deeper than 16`}},
		{"binary", "\n\x7fELF\x00\x01", []string{`f:2: syntax: found binary data, expected a TOML file in UTF-8`}},
		{"latin-1", "# stra\xdfe\n", []string{`f:1: syntax: found binary data, expected a TOML file in UTF-8`}},
		{"utf-16", "\xff\xfe[\x00", []string{`f:1: syntax: found binary data, expected a TOML file in UTF-8`}},
		{"byte order mark", "\ufeff" + whole, nil},
		{"byte order mark and syntax", "\ufeff\n" + whole + "\nweight =\na=\n", []string{
			`f:11: weight: not TOML: expected value but found '\n' instead`,
			`f:12: a: not TOML: expected value but found '\n' instead`,
		}},
		{"carriage returns", strings.ReplaceAll(whole+"weight = -1\n", "\n", "\r\n"), []string{`f:9: pool.p.backend.weight: found -1, expected a whole number from 0 to 65535`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := Parse("f", test.text, new(Flags))
			problems(t, err, test.want...)
		})
	}
}

func TestListenAddresses(t *testing.T) {
	const forms = `expected tcp://ADDRESS:PORT, udp://ADDRESS:PORT, tcp+udp://ADDRESS:PORT or unix:PATH`
	for _, test := range []struct{ text, want, problem string }{
		{`"tcp://10.0.0.1:80"`, "[tcp://10.0.0.1:80]", ""},
		{`"udp://[2001:db8::1]:53"`, "[udp://[2001:db8::1]:53]", ""},
		{`"tcp+udp://127.0.0.1:53"`, "[tcp://127.0.0.1:53 udp://127.0.0.1:53]", ""},
		{`"tcp://:80"`, "[tcp://[::]:80]", ""},
		{`"tcp://localhost:80"`, "[tcp://127.0.0.1:80]", ""},
		{`"tcp://[fe80::1%eth0]:80"`, "[tcp://[fe80::1%eth0]:80]", ""},
		{`"tcp://[::ffff:10.0.0.1]:80"`, "[tcp://10.0.0.1:80]", ""},
		{`["tcp://10.0.0.1:80", "tcp://10.0.0.1:81"]`, "[tcp://10.0.0.1:80 tcp://10.0.0.1:81]", ""},
		{`["tcp://10.0.0.1:80", "udp://0.0.0.0:80"]`, "[tcp://10.0.0.1:80 udp://0.0.0.0:80]", ""},
		{`["tcp://0.0.0.0:80", "tcp://[2001:db8::1]:80"]`, "[tcp://0.0.0.0:80 tcp://[2001:db8::1]:80]", ""},

		{`"10.0.0.1:80"`, "", `found "10.0.0.1:80", ` + forms + `: the scheme is missing, did you mean "tcp://10.0.0.1:80"?`},
		{`"http://10.0.0.1:80"`, "", `found "http://10.0.0.1:80", ` + forms + `: the scheme "http" is none of these`},
		{`"udp+tcp://10.0.0.1:80"`, "", `found "udp+tcp://10.0.0.1:80", ` + forms + `: the scheme "udp+tcp" is none of these`},
		{`""`, "", `found "", ` + forms + `: the scheme is missing`},
		{`80`, "", `found 80, ` + forms + `, or a list of them`},
		{`[80]`, "", `found 80, ` + forms},
		{`[]`, "", `found an empty list, ` + forms},
		{`"tcp://10.0.0.1"`, "", `found "tcp://10.0.0.1", ` + forms + `: the port is missing`},
		{`"tcp://fe80::1"`, "", `found "tcp://fe80::1", ` + forms + `: an IPv6 address needs brackets`},
		{`"tcp://10.0.0.1/8:80"`, "", `found "tcp://10.0.0.1/8:80", ` + forms + `: this is no IP address`},
		{`"tcp://10.0.0.1:80, tcp://10.0.0.2:80"`, "", `found "tcp://10.0.0.1:80, tcp://10.0.0.2:80", ` + forms + `: several are a list, ["...", "..."]`},
		{`"80"`, "", `found "80", ` + forms + `: the scheme is missing, did you mean "tcp://:80"?`},
		{`"tcp://[::1]"`, "", `found "tcp://[::1]", ` + forms + `: the port is missing`},
		{`"tcp://10.0.0.1:"`, "", `found "tcp://10.0.0.1:", ` + forms + `: the port is missing`},
		{`"tcp://10.0.0.1:http"`, "", `found "tcp://10.0.0.1:http", ` + forms + `: the port must be a number from 1 to 65535`},
		{`"tcp://10.0.0.1:+80"`, "", `found "tcp://10.0.0.1:+80", ` + forms + `: the port must be a number from 1 to 65535`},
		{`"tcp://10.0.0.1:0"`, "", `found "tcp://10.0.0.1:0", ` + forms + `: the port must be from 1 to 65535`},
		{`"tcp://10.0.0.1:65536"`, "", `found "tcp://10.0.0.1:65536", ` + forms + `: the port must be from 1 to 65535`},
		{`"tcp://::1:80"`, "", `found "tcp://::1:80", ` + forms + `: an IPv6 address needs brackets`},
		{`"tcp://[10.0.0.1]:80"`, "", `found "tcp://[10.0.0.1]:80", ` + forms + `: brackets are for IPv6 addresses`},
		{`"tcp://[::1:80"`, "", `found "tcp://[::1:80", ` + forms + `: a bracket is not closed`},
		{`"tcp://[]:80"`, "", `found "tcp://[]:80", ` + forms + `: the address must be an IP address, not a name`},
		{`"tcp://*:80"`, "", `found "tcp://*:80", ` + forms + `: leave the address out to listen on all`},
		{`"tcp://example.com:80"`, "", `found "tcp://example.com:80", ` + forms + `: the address must be an IP address, not a name`},
		{`"tcp://224.0.0.1:80"`, "", `found "tcp://224.0.0.1:80", ` + forms + `: a multicast or broadcast address serves nobody`},
		{`["tcp://10.0.0.1:80", "tcp://10.0.0.1:80"]`, "", `found tcp://10.0.0.1:80, which overlaps tcp://10.0.0.1:80 of listener.listen on line 3, expected each address once`},
		{`["tcp://0.0.0.0:80", "tcp://10.0.0.1:80"]`, "", `found tcp://10.0.0.1:80, which overlaps tcp://0.0.0.0:80 of listener.listen on line 3, expected each address once`},
		{`["tcp://10.0.0.1:80", "tcp+udp://:80"]`, "", `found tcp://[::]:80 ("tcp+udp://:80"), which overlaps tcp://10.0.0.1:80 of listener.listen on line 3, expected each address once`},
		{`["tcp://[::]:80", "tcp://0.0.0.0:80"]`, "", `found tcp://0.0.0.0:80, which overlaps tcp://[::]:80 of listener.listen on line 3, expected each address once`},
		{`"tcp://0.0.0.0:9321"`, "", `found tcp://0.0.0.0:9321, which overlaps tcp://127.0.0.1:9321 of admin.listen, expected each address once`},
		{`"udp://0.0.0.0:9321"`, "[udp://0.0.0.0:9321]", ""},
	} {
		c, err := Parse("f", strings.Replace(whole, `"tcp://127.0.0.1:5432"`, test.text, 1), new(Flags))
		if test.problem != "" {
			problems(t, err, "f:3: listener.listen: "+test.problem)
			continue
		}
		if err != nil {
			t.Errorf("%s: %v", test.text, err)
			continue
		}
		var got []string
		for _, e := range c.Listeners[0].Listen {
			got = append(got, e.String())
		}
		if s := "[" + strings.Join(got, " ") + "]"; s != test.want {
			t.Errorf("%s: got %s, want %s", test.text, s, test.want)
		}
	}
}

func TestAdminAddresses(t *testing.T) {
	const expected = `expected ADDRESS:PORT, such as "127.0.0.1:9321", "unix:" and an absolute path, or "off"`
	long := "unix:/" + strings.Repeat("x", maxSocketPath)
	for _, test := range []struct{ text, want, problem string }{
		{"127.0.0.1:9000", "127.0.0.1:9000", ""},
		{"localhost:9000", "127.0.0.1:9000", ""},
		{"[::1]:9000", "[::1]:9000", ""},
		{"off", "off", ""},
		{"0.0.0.0:9000", "", `found "0.0.0.0:9000" without token_file, expected both: other hosts may ask only with a token`},
		{":9000", "", `found "[::]:9000" without token_file, expected both: other hosts may ask only with a token`},
		{"tcp://127.0.0.1:9000", "", `found "tcp://127.0.0.1:9000", ` + expected + `: without a scheme`},
		{"unix:/run/ebb.sock", "unix:/run/ebb.sock", ""},
		{"unix:ebb.sock", "", `found "unix:ebb.sock", ` + expected + `: the path must be absolute, and as short as it can be said`},
		{"unix:", "", `found "unix:", ` + expected + `: the path must be absolute, and as short as it can be said`},
		{"unix:@ebb", "", `found "unix:@ebb", ` + expected + `: the path must be absolute, and as short as it can be said`},
		{"unix:/run/../ebb.sock", "", `found "unix:/run/../ebb.sock", ` + expected + `: the path must be absolute, and as short as it can be said`},
		{long, "", `found "` + long[:80] + `"..., ` + expected + `: the path may have 103 bytes`},
		{"127.0.0.1", "", `found "127.0.0.1", ` + expected + `: the port is missing`},
		{"127.0.0.1:5432", "", ""},
	} {
		c, err := Parse("f", whole+"[admin]\nlisten = \""+test.text+"\"\n", new(Flags))
		switch {
		case test.text == "127.0.0.1:5432":
			problems(t, err, `f:10: admin.listen: found tcp://127.0.0.1:5432, which overlaps tcp://127.0.0.1:5432 of listener.listen on line 3, expected each address once`)
		case test.problem != "":
			problems(t, err, "f:10: admin.listen: "+test.problem)
		case err != nil:
			t.Errorf("%s: %v", test.text, err)
		case c.Admin.Listen != test.want:
			t.Errorf("%s: got %s, want %s", test.text, c.Admin.Listen, test.want)
		}
	}
}

func TestServers(t *testing.T) {
	const expected = `expected ` + serverForms + `: `
	for _, test := range []struct{ text, want, problem string }{
		{"system", "system", ""},
		{"udp://10.0.0.2", "udp://10.0.0.2:53", ""},
		{"udp://10.0.0.2:5353", "udp://10.0.0.2:5353", ""},
		{"udp://2001:db8::1", "udp://[2001:db8::1]:53", ""},
		{"udp://[2001:db8::1]", "udp://[2001:db8::1]:53", ""},
		{"udp://[2001:db8::1]:54", "udp://[2001:db8::1]:54", ""},
		{"10.0.0.2", "", `found "10.0.0.2", ` + expected + `the scheme is missing, did you mean "udp://10.0.0.2"?`},
		{"dns://10.0.0.2", "", `found "dns://10.0.0.2", ` + expected + `the scheme is unknown`},
		{"tcp://10.0.0.2", "tcp://10.0.0.2:53", ""},
		{"tls://10.0.0.2", "tls://10.0.0.2:853", ""},
		{"tls://[2001:db8::1]:8853#DNS.example.", "tls://[2001:db8::1]:8853#dns.example", ""},
		{"https://10.0.0.2/dns-query#dns.example", "https://10.0.0.2:443/dns-query#dns.example", ""},
		{"https://[2001:db8::1]/q/x", "https://[2001:db8::1]:443/q/x", ""},
		{"tcp://10.0.0.2#dns.example", "", `found "tcp://10.0.0.2#dns.example", ` + expected + `it has a #name, but no certificate to verify it with over tcp`},
		{"tls://10.0.0.2#", "", `found "tls://10.0.0.2#", ` + expected + `the name behind #: the name is empty`},
		{"https://10.0.0.2", "", `found "https://10.0.0.2", ` + expected + `it has no path, usually /dns-query`},
		{"https://10.0.0.2/a?b", "", `found "https://10.0.0.2/a?b", ` + expected + `it has the character '?' in its path`},
		{"tls://dns.example", "", `found "tls://dns.example", ` + expected + `the address must be an IP address, with or without a port from 1 to 65535`},
		{"udp://ns.example.com", "", `found "udp://ns.example.com", ` + expected + `the address must be an IP address, with or without a port from 1 to 65535`},
		{"udp://10.0.0.2:0", "", `found "udp://10.0.0.2:0", ` + expected + `the port must be from 1 to 65535`},
		{"udp://10.0.0.2:65536", "", `found "udp://10.0.0.2:65536", ` + expected + `the address must be an IP address, with or without a port from 1 to 65535`},
		{"udp://0.0.0.0", "", `found "udp://0.0.0.0", ` + expected + `nothing can be reached at this address`},
	} {
		c, err := Parse("f", whole+"[resolver.default]\nservers = [\n\""+test.text+"\"]\n", new(Flags))
		switch {
		case test.problem != "":
			problems(t, err, "f:11: resolver.default.servers: "+test.problem)
		case err != nil:
			t.Errorf("%s: %v", test.text, err)
		case !reflect.DeepEqual(c.Resolvers[0].Servers, []string{test.want}):
			t.Errorf("%s: got %s, want %s", test.text, c.Resolvers[0].Servers, test.want)
		}
	}
	_, err := Parse("f", whole+"[resolver.default]\nservers = [\"udp://10.0.0.2\", \"udp://10.0.0.2:53\"]\n[resolver.b]\nservers = []\n", new(Flags))
	problems(t, err, `f:10: resolver.default.servers: found "udp://10.0.0.2:53" twice`,
		`f:12: resolver.b.servers: found an empty list, expected `+serverForms)
}

func TestHosts(t *testing.T) {
	label := strings.Repeat("a", 63)
	for host, problem := range map[string]string{
		"db":                              "",
		"db.example.com.":                 "",
		"_db._tcp.Example.COM":            "",
		"xn--bcher-kva.example":           "",
		"10.example":                      "",
		"127.0.0.1":                       "",
		"::1":                             "",
		"fe80::1%eth0":                    "",
		strings.Repeat("a.", 126) + "a":   "",
		label + ".example":                "",
		"":                                "the name is empty",
		".":                               "the name is empty",
		"a..b":                            "it has an empty label, that is two dots in a row or one at the beginning",
		".a":                              "it has an empty label, that is two dots in a row or one at the beginning",
		"a..":                             "it has an empty label, that is two dots in a row or one at the beginning",
		label + "a.example":               "a label of it has 64 bytes, at most 63 are possible",
		strings.Repeat("a.", 126) + "aa":  "it has 254 bytes, a name has at most 253",
		strings.Repeat("a.", 126) + "aa.": "it has 254 bytes, a name has at most 253",
		"-db.example":                     `the label "-db" begins or ends with a hyphen`,
		"db.example-":                     `the label "example-" begins or ends with a hyphen`,
		"d b":                             `it has the character ' '; letters, digits, hyphens and underscores are possible`,
		"bücher.example":                  `it has the character 'ü', write the name in its ASCII form (xn--)`,
		"db.example:5432":                 "it has a colon, the port has its own key",
		"10.0.0.1:5432":                   "the port has its own key",
		"10.0.0.300":                      "its last label is a number, so that it looks like an address but is none",
		"0.0.0.0":                         "nothing can be reached at this address",
		"::":                              "nothing can be reached at this address",
		"ff02::1":                         "nothing can be reached at this address",
		"255.255.255.255":                 "nothing can be reached at this address",
	} {
		if got := hostProblem(host); got != problem {
			t.Errorf("%q: got %q, want %q", host, got, problem)
		}
	}
	_, err := Parse("f", strings.Replace(whole, "db.example.com\"", "10.0.0.1\"\nfamily = \"ipv6\"", 1), new(Flags))
	problems(t, err, `f:7: pool.p.backend.family: found "ipv6" with the address 10.0.0.1, expected its own family or "auto"`)
}

func TestManyMistakesInOneRun(t *testing.T) {
	file := filepath.Join(t.TempDir(), "ebb.toml")
	text := `shutdown_timeout = 30
[log]
levl = "debug"
format = "xml"
[relay]
engine = "kqueue"
loops = 0
[resolver.corp]
servers = ["udp://10.0.0.1", "ftp://10.0.0.2"]
deadline = "500ms"
[[listener]]
name = "pg"
listen = "tcp://0.0.0.0:5432"
[[listener]]
name = "pg"
listen = ["tcp://127.0.0.1:5432", "tcp://127.0.0.1:70000"]
pool = "primary"
idle_timeout = "0s"
[pool.pg-primary]
connect_timeout = 3s
resolver = "crop"
on = { removed = "drop" }
[[pool.pg-primary.backend]]
host = "pg_.-example.com"
port = 0
weight = 70000
[[pool.pg-primary.backend]]
port = 5432
min_refresh = "1m"
max_refresh = "30s"
[pool.pg-primary.check]
kind = "smtp"
fall = 0
[pool.empty]
`
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(file, nil)
	var ps Problems
	if !errors.As(err, &ps) {
		t.Fatalf("got %T, want Problems", err)
	}
	want := []string{
		`:1: shutdown_timeout: found 30, expected a duration with its unit (ms, s, m, h), such as "30s"`,
		`:3: log.levl: unknown key, did you mean "level"?`,
		`:4: log.format: found "xml", expected "auto", "text" or "json"`,
		`:6: relay.engine: found "kqueue", expected "auto", "uring", "epoll" or "portable"`,
		`:7: relay.loops: found 0, expected a whole number from 1 to 1024, or "auto"`,
		`:9: resolver.corp.servers: found "ftp://10.0.0.2", expected ` + serverForms + `: the scheme is unknown`,
		`:10: resolver.corp.deadline: found attempt_timeout 1s above deadline 500ms, expected at most as much`,
		`:11: listener.pool: missing, expected the name of a pool`,
		`:15: listener.name: found "pg" again, first on line 12, expected a name of its own`,
		`:16: listener.listen: found "tcp://127.0.0.1:70000", expected tcp://ADDRESS:PORT, udp://ADDRESS:PORT, tcp+udp://ADDRESS:PORT or unix:PATH: the port must be from 1 to 65535`,
		`:16: listener.listen: found tcp://127.0.0.1:5432, which overlaps tcp://0.0.0.0:5432 of listener.listen on line 13, expected each address once`,
		`:17: listener.pool: found "primary", there is no such pool, did you mean "pg-primary"?`,
		`:18: listener.idle_timeout: found "0s", expected a duration from 1ms to 8760h, or "off"`,
		`:20: connect_timeout: not TOML: expected a top-level item to end with a newline, comment, or EOF, but got 's' instead`,
		`:21: pool.pg-primary.resolver: found "crop", there is no such resolver, did you mean "corp"?`,
		`:22: pool.pg-primary.on.removed: found "drop", expected "keep", "drain", "quiet" or "close"`,
		`:24: pool.pg-primary.backend.host: found "pg_.-example.com", expected a DNS name or an IP address: the label "-example" begins or ends with a hyphen`,
		`:25: pool.pg-primary.backend.port: found 0, expected a whole number from 1 to 65535`,
		`:26: pool.pg-primary.backend.weight: found 70000, expected a whole number from 0 to 65535`,
		`:27: pool.pg-primary.backend.host: missing, expected a DNS name or an IP address`,
		`:30: pool.pg-primary.backend.max_refresh: found min_refresh 1m above max_refresh 30s, expected at most as much`,
		`:32: pool.pg-primary.check.kind: found "smtp", expected ` + choice(checkKindWords),
		`:33: pool.pg-primary.check.fall: found 0, expected a whole number from 1 to 100`,
		`:34: pool.empty.backend: missing, expected at least one backend`,
	}
	for i := range want {
		want[i] = file + want[i]
	}
	problems(t, err, want...)
	if first := ps[0]; first.File != file || first.Line != 1 || first.Key != "shutdown_timeout" {
		t.Errorf("first problem: %+v", first)
	}
}

func TestFilesThatAreNone(t *testing.T) {
	dir := t.TempDir()
	write := func(name string, data []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, data, 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	big := write("big.toml", []byte(strings.Repeat("# nothing\n", 1<<20)))
	empty := write("empty.toml", nil)
	binary := write("binary.toml", []byte{0x7f, 'E', 'L', 'F', 0, 0xff})
	missing := filepath.Join(dir, "missing.toml")
	for file, want := range map[string]string{
		missing:           "no such file, expected a TOML file",
		missing + "/\x00": "open: invalid argument",
		dir:               "found a directory, expected a TOML file",
		big:               "found more than 4 MiB, expected a TOML file of at most as much",
	} {
		_, err := Load(file, nil)
		problems(t, err, file+": "+want)
	}
	_, err := Load(empty, nil)
	problems(t, err, empty+":1: listener: missing, expected at least one [[listener]]")
	_, err = Load(binary, nil)
	problems(t, err, binary+":1: syntax: found binary data, expected a TOML file in UTF-8")
}

func TestValues(t *testing.T) {
	c, err := Parse("f", `
shutdown_delay = "1s"
resolver.corp = { servers = ["udp://10.0.0.2"], hosts_file = "off" }
pool.b.backend = [ { host = "10.0.0.1", port = 1, weight = 0 } ]
pool.b.on = { dead = "keep", removed = "close" }
pool.b.resolver = "corp"
pool.b.max_conns = 100
[[pool.a.backend]]
host = "h"
port = 2
allow_answers = ["loopback", "link-local"]
refresh = "10s"
[pool.a.check]
kind = "tcp"
interval = "200ms"
[[listener]]
name = "u"
listen = "udp://:53"
pool = "a"
[[listener]]
name = "t"
listen = "tcp+udp://:54"
pool = "b"
max_conns = "off"
idle_timeout = "1m30s"
half_close_timeout = "off"
max_age = "8h"
`, new(Flags))
	if err != nil {
		t.Fatal(err)
	}
	if len(c.Pools) != 2 || c.Pools[0].Name != "a" || len(c.Resolvers) != 2 || c.Resolvers[0].Name != "corp" || c.Resolvers[1].Name != "default" {
		t.Errorf("not sorted by name: %+v", c)
	}
	a, b := c.Pools[0], c.Pools[1]
	if a.Check == nil || a.Check.FastInterval != 200*time.Millisecond || b.Check != nil {
		t.Errorf("checks: %+v, %+v", a.Check, b.Check)
	}
	if got := a.Backends[0]; got.Refresh != 10*time.Second || !reflect.DeepEqual(got.AllowAnswers, []string{"link-local", "loopback"}) {
		t.Errorf("backend: %+v", got)
	}
	if b.On != (On{"keep", "close", "keep", "close", "quiet", "close", "keep"}) || b.MaxConns != 100 || b.Resolver != "corp" || b.Backends[0].Weight != 0 {
		t.Errorf("pool: %+v", b)
	}
	if c.Resolvers[0].HostsFile != "" || c.Resolvers[1].HostsFile != "/etc/hosts" {
		t.Errorf("resolvers: %+v", c.Resolvers)
	}
	u, l := c.Listeners[0], c.Listeners[1]
	if u.Name != "u" || u.MaxConns != 10000 || u.IdleTimeout != 0 || u.UDPIdleTimeout != time.Minute {
		t.Errorf("listener: %+v", u)
	}
	if l.MaxConns != 0 || l.IdleTimeout != 90*time.Second || l.UDPIdleTimeout != 90*time.Second || l.HalfCloseTimeout != 0 || l.MaxAge != 8*time.Hour {
		t.Errorf("listener: %+v", l)
	}
}

// A name in a config must not keep the whole text of its file, which may have megabytes.
func TestConfigLetsGoOfItsText(t *testing.T) {
	const size = 3 << 20
	text := "# " + strings.Repeat("x", size) + `
[[listener]]
name = 'front'
listen = 'tcp://127.0.0.1:1'
pool = 'db'
[pool.db]
balance = 'first'
[resolver.mine]
servers = ['udp://127.0.0.1:53']
[[pool.db.backend]]
host = 'db.example'
port = 5432
`
	inUse := func() int {
		runtime.GC()
		runtime.GC() // what a sync.Pool has it gives up only now
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return int(m.HeapAlloc)
	}
	before := inUse()
	c, err := Parse("f", text, nil)
	if err != nil {
		t.Fatal(err)
	}
	if more := inUse() - before; more > size/2 {
		t.Errorf("a config of a few names keeps %d bytes", more)
	}
	runtime.KeepAlive(text)
	runtime.KeepAlive(c)
}
