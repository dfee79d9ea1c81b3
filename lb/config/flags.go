package config

import (
	"fmt"
	"maps"
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
	return value{at: place{flag: "--" + d.Name}, path: d.table + "." + d.key, raw: raw, src: src}
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
func (f *Flags) override(root value) {
	for _, d := range flagDefs {
		texts := f.given[d.Name]
		if len(texts) == 0 {
			continue
		}
		v := d.entry(root.src, texts)
		switch top := root.raw.(map[string]value); {
		case !d.topTable():
			v.fail("found beside -c, expected in the file")
		default:
			if !root.has(d.table) {
				top[d.table] = root.child(d.table, map[string]value{})
			}
			if t, ok := top[d.table].raw.(map[string]value); ok { // otherwise the file's own mistake
				t[d.key] = v
			}
		}
	}
}

// standIns take the place of flags that must be given and were not, so that the others can still be judged.
var standIns = map[string]string{"listen": "tcp://127.0.0.1:1", "to": "refused.invalid:1"}

// FromFlags makes the Config of a run without a file: each --listen is a listener, and all of them share a pool of every
// --to; listener, pool and resolver are named "default". The error is Problems.
func FromFlags(f *Flags) (*Config, error) {
	src := new(source)
	tables := make(map[string]map[string]value)
	for _, table := range []string{"admin", "log", "relay", "listener", "pool", "backend", "check", "resolver"} {
		tables[table] = make(map[string]value)
	}
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
			tables[d.table][d.key] = d.entry(src, texts)
		}
	}
	root := value{raw: make(map[string]value), src: src}
	top := root.raw.(map[string]value)
	for _, table := range []string{"admin", "log", "relay"} {
		top[table] = root.child(table, tables[table])
	}
	top["resolver"] = root.child("resolver", map[string]value{"default": root.child("resolver.default", tables["resolver"])})
	top["listener"] = root.child("listener", root.listeners(listeners, tables["listener"]))
	pool := tables["pool"]
	pool["backend"] = root.child("backend", root.backends(backends, tables["backend"]))
	if len(tables["check"]) > 0 {
		pool["check"] = root.child("check", tables["check"])
	}
	top["pool"] = root.child("pool", map[string]value{"default": root.child("pool.default", pool)})
	c := read(root)
	if err := src.problems.err(); err != nil {
		return nil, err
	}
	return c, nil
}

// listeners makes one listener of each address. The first is named "default", the others "default-2" and so on.
func (v value) listeners(addresses []value, shared map[string]value) []value {
	var out []value
	for i, a := range addresses {
		name := "default"
		if i > 0 {
			name = fmt.Sprintf("default-%d", i+1)
		}
		t := map[string]value{"listen": a, "name": v.child("name", name), "pool": v.child("pool", "default")}
		maps.Copy(t, shared)
		out = append(out, value{at: a.at, raw: t, src: v.src})
	}
	return out
}

// backends makes one backend of each HOST:PORT[,weight=N][,tier=N] and srv+NAME[,tier=N].
func (v value) backends(targets []value, shared map[string]value) []value {
	var out []value
	for i, target := range targets {
		t := target.backend()
		if t == nil { // a stand-in, so that the flags for all backends can still be judged
			t = map[string]value{"host": v.child("host", "refused.invalid"), "port": v.child("port", int64(i+1))}
		}
		maps.Copy(t, shared)
		out = append(out, value{at: target.at, raw: t, src: v.src})
	}
	return out
}

// backend reads HOST:PORT[,weight=N][,tier=N] or srv+NAME[,tier=N] into the keys of a backend; nil if it is something else.
func (v value) backend() map[string]value {
	const expected = "HOST:PORT[,weight=N][,tier=N] or srv+NAME[,tier=N]"
	text, options, more := strings.Cut(v.raw.(string), ",")
	part := func(name, text string) value {
		p := v
		p.at.part, p.raw = name, text
		return p
	}
	var t map[string]value
	if name, srv := strings.CutPrefix(text, "srv+"); srv {
		t = map[string]value{"host": part("name", name), "type": part("type", "srv")}
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
		t = map[string]value{"host": part("host", host), "port": part("port", port)}
	}
	for more {
		var option string
		option, options, more = strings.Cut(options, ",")
		name, text, _ := strings.Cut(option, "=")
		if name != "weight" && name != "tier" {
			v.unexpected("%s: %q is neither%s", expected, option, suggestion(name, []string{"weight", "tier"}))
			return nil
		}
		if _, twice := t[name]; twice {
			v.unexpected("%s: %s stands there twice", expected, name)
			return nil
		}
		t[name] = part(name, text)
	}
	return t
}
