package config

import (
	"fmt"
	"net"
	"strings"
)

// FlagDef describes a flag of ebb run, for whoever parses the command line.
type FlagDef struct {
	Name   string // without dashes
	Value  string // placeholder in the usage
	Usage  string
	Repeat bool // may be given more than once; otherwise the last one counts
}

// flagDef is a flag and the key that it sets: of a table that is there once, or of every listener, pool, backend and
// resolver of a run by flags alone.
type flagDef struct {
	FlagDef
	table, key string
}

var flagDefs = []flagDef{
	{FlagDef{"listen", "URL", "listen here: tcp://ADDRESS:PORT, udp://..., tcp+udp://... or unix:PATH", true}, "listener", "listen"},
	{FlagDef{"to", "HOST:PORT", "send there: HOST:PORT or srv+NAME, and if need be ,weight=N or ,tier=N", true}, "backend", "host"},
	{FlagDef{"balance", "WORD", "how to choose a peer: leastconn, roundrobin, random, first, sticky, hash or least_time", false}, "pool", "balance"},
	{FlagDef{"resolver", "SERVER", "ask this DNS server: system, or udp://, tcp://, tls:// or https:// with an address", true}, "resolver", "servers"},
	{FlagDef{"allow-answers", "WORD", "let names point to loopback or link-local addresses", true}, "backend", "allow_answers"},
	{FlagDef{"min-refresh", "DURATION", "ask for a name at most this often", false}, "backend", "min_refresh"},
	{FlagDef{"max-refresh", "DURATION", "ask for a name at least this often", false}, "backend", "max_refresh"},
	{FlagDef{"check", "KIND", "check the health of peers: tcp, tls, http, dns, postgres, mysql or redis", false}, "check", "kind"},
	{FlagDef{"want", "ROLE", "use only peers of this role, as their check tells: any, primary or replica", false}, "check", "want"},
	{FlagDef{"check-user", "NAME", "the account of a check that logs in: postgres, mysql or redis", false}, "check", "user"},
	{FlagDef{"check-password-file", "FILE", "the password of that account is in this file", false}, "check", "password_file"},
	{FlagDef{"connect-timeout", "DURATION", "give up connecting to a peer after this", false}, "pool", "connect_timeout"},
	{FlagDef{"idle-timeout", "DURATION", "end a session that moves nothing for this long, or off", false}, "listener", "idle_timeout"},
	{FlagDef{"max-conns", "N", "sessions at a time for each listener, or off", false}, "listener", "max_conns"},
	{FlagDef{"engine", "WORD", "how bytes move: auto, uring, epoll or portable", false}, "relay", "engine"},
	{FlagDef{"loops", "N", "loops that move bytes, or auto for as many as there are cores", false}, "relay", "loops"},
	{FlagDef{"proxy-out", "VERSION", "tell peers who the client is, by the PROXY protocol: v1, v2 or off", false}, "pool", "proxy_out"},
	{FlagDef{"proxy-in", "CIDR", "take the PROXY protocol's word of who the client is from here, and nobody else's connection", true}, "listener", "proxy_in"},
	{FlagDef{"admin", "ADDRESS", "serve the API and metrics here: ADDRESS:PORT, unix:PATH, or off", false}, "admin", "listen"},
	{FlagDef{"admin-token-file", "FILE", "who asks the API needs the token in this file", false}, "admin", "token_file"},
	{FlagDef{"log-level", "WORD", "debug, info, warn or error", false}, "log", "level"},
	{FlagDef{"log-format", "WORD", "auto, text or json", false}, "log", "format"},
	{FlagDef{"access-log", "WORD", "lines for sessions: close (when they end), all (also when they begin, and meanwhile) or off", false}, "log", "access"},
}

// topTable tells whether the flag sets what a file has once, so that it may stand beside a file.
func (d flagDef) topTable() bool { return d.table == "admin" || d.table == "log" || d.table == "relay" }

// FlagDefs lists the flags, in the order of the usage.
func FlagDefs() []FlagDef {
	out := make([]FlagDef, len(flagDefs))
	for i, d := range flagDefs {
		out[i] = d.FlagDef
	}
	return out
}

// Flags are the flags that were given. The zero value is none.
type Flags struct{ given map[string][]string }

// Set notes one use of a flag, by its name without dashes. Values are judged by Load, together. The error is for a name
// that FlagDefs does not have.
func (f *Flags) Set(name, text string) error {
	for _, d := range flagDefs {
		if d.Name != name {
			continue
		}
		if f.given == nil {
			f.given = make(map[string][]string)
		}
		if !d.Repeat {
			f.given[name] = nil
		}
		f.given[name] = append(f.given[name], text)
		return nil
	}
	return fmt.Errorf("unknown flag --%s", name)
}

// value is the tree's node for one use of a flag.
func (d flagDef) value(src *source, raw any) value {
	return value{at: place{given: &given{flag: "--" + d.Name}}, in: d.table, key: d.key, raw: raw, src: src}
}

// entry is the tree's node for all uses of a flag.
func (d flagDef) entry(src *source, texts []string) value {
	if !d.Repeat {
		return d.value(src, texts[0])
	}
	var all []value
	for _, text := range texts {
		for part := range strings.SplitSeq(text, ",") {
			all = append(all, d.value(src, strings.TrimSpace(part)))
		}
	}
	return d.value(src, all)
}

// override puts the flags into the tree of a file.
func (f *Flags) override(root value) value {
	top := root.raw.(table)
	for _, d := range flagDefs {
		texts := f.given[d.Name]
		if len(texts) == 0 {
			continue
		}
		v := d.entry(root.src, texts)
		if !d.topTable() {
			v.fail("found beside -c, expected in the file")
			continue
		}
		part, there := top.find(d.table)
		if !there {
			part = value{at: root.at, key: d.table, raw: table{}, src: root.src}
		}
		if t, ok := part.raw.(table); ok { // otherwise the file's own mistake
			part.raw = t.with(v)
			top = top.with(part)
		}
	}
	root.raw = top
	return root
}

// standIns take the place of flags that must be given and were not, so that the others can still be judged.
var standIns = map[string]string{"listen": "tcp://127.0.0.1:1", "to": "refused.invalid:1"}

// FromFlags makes the Config of a run without a file: each --listen is a listener, and all of them share a pool of every
// --to; listener, pool and resolver are named "default". The error is Problems.
func FromFlags(f *Flags) (*Config, error) {
	src := new(source)
	tables := make(map[string]table)
	var listeners, backends []value
	for _, d := range flagDefs {
		texts := f.given[d.Name]
		if standIn := standIns[d.Name]; standIn != "" && len(texts) == 0 {
			d.value(src, nil).fail("missing, expected at least one, or a file with -c")
			texts = []string{standIn}
		}
		switch {
		case len(texts) == 0:
		case d.Name == "listen":
			for _, text := range texts {
				listeners = append(listeners, d.value(src, text))
			}
		case d.Name == "to":
			for _, text := range texts {
				backends = append(backends, d.value(src, text))
			}
		case d.table == "check" && len(f.given["check"]) == 0:
			d.value(src, nil).fail("found without --check, expected both")
		default:
			tables[d.table] = append(tables[d.table], d.entry(src, texts))
		}
	}
	top := func(key string, raw any) value {
		if t, is := raw.(table); is {
			raw = newTable(t...)
		}
		return value{key: key, raw: raw, src: src}
	}
	named := func(key string, t table) value { // "default"
		v := top(key, nil)
		v.raw = table{v.child("default", newTable(t...))}
		return v
	}
	pool := append(tables["pool"], top("backend", src.backends(backends, tables["backend"])))
	if len(tables["check"]) > 0 {
		pool = append(pool, top("check", tables["check"]))
	}
	c := read(value{src: src, raw: newTable(
		top("admin", tables["admin"]), top("log", tables["log"]), top("relay", tables["relay"]), named("resolver", tables["resolver"]),
		top("listener", src.listeners(listeners, tables["listener"])), named("pool", pool),
	)})
	if err := src.problems.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// listeners makes one listener of each address. The first is named "default", the others "default-2" and so on.
func (s *source) listeners(addresses []value, shared table) []value {
	var out []value
	for i, a := range addresses {
		name := "default"
		if i > 0 {
			name = fmt.Sprintf("default-%d", i+1)
		}
		t := table{a, {key: "name", raw: name, src: s}, {key: "pool", raw: "default", src: s}}
		out = append(out, value{at: a.at, raw: newTable(append(t, shared...)...), src: s})
	}
	return out
}

// backends makes one backend of each HOST:PORT[,weight=N][,tier=N] and srv+NAME[,tier=N].
func (s *source) backends(targets []value, shared table) []value {
	var out []value
	for i, target := range targets {
		t := target.backend()
		if t == nil { // a stand-in, so that the flags for all backends can still be judged
			t = table{{key: "host", raw: "refused.invalid", src: s}, {key: "port", raw: int64(i + 1), src: s}}
		}
		out = append(out, value{at: target.at, raw: newTable(append(t, shared...)...), src: s})
	}
	return out
}

// backend reads HOST:PORT[,weight=N][,tier=N] or srv+NAME[,tier=N] into the keys of a backend; nil if it is something else.
func (v value) backend() table {
	const expected = "HOST:PORT[,weight=N][,tier=N] or srv+NAME[,tier=N]"
	text, options, more := strings.Cut(v.raw.(string), ",")
	part := func(name, text string) value {
		return value{at: place{given: &given{flag: v.at.flag(), part: name}}, in: v.in, key: name, raw: text, src: v.src}
	}
	var t table
	if name, srv := strings.CutPrefix(text, "srv+"); srv {
		t = table{part("name", name), part("type", "srv")}
		t[0].key = "host"
	} else {
		host, port, err := net.SplitHostPort(text)
		if err != nil {
			why := "the port is missing"
			if strings.Contains(text, ":") {
				why = "an IPv6 address needs brackets"
			}
			v.unexpected("%s: %s", expected, why)
			return nil
		}
		t = table{part("host", host), part("port", port)}
	}
	for more {
		var option string
		option, options, more = strings.Cut(options, ",")
		name, text, _ := strings.Cut(option, "=")
		if name != "weight" && name != "tier" {
			v.unexpected("%s: %q is neither%s", expected, option, suggestion(name, []string{"weight", "tier"}))
			return nil
		}
		if _, twice := t.find(name); twice {
			v.unexpected("%s: %s stands there twice", expected, name)
			return nil
		}
		t = append(t, part(name, text))
	}
	return t
}
