package migrate

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

// section is a part of a HAProxy config, from its head to the next one.
type section struct {
	line  // "backend pg from common"
	lines []line
	base  *section // the defaults that hold here
}

// kind and name are of the head.
func (s *section) kind() string { return s.words[0] }
func (s *section) name() string {
	if n := s.arg(1); n != "from" || s.kind() != "defaults" {
		return n
	}
	return ""
}
func (s *section) what() string { return strings.TrimSpace(s.kind() + " " + s.name()) }

// haproxy is a HAProxy config that is being read.
type haproxy struct {
	*report
	draft
	env      func(string) (string, bool)
	set      map[string]string // by setenv; it comes before env
	unset    map[string]bool
	sections []*section
	global   map[string]line
	named    map[string]string // resolvers by what they were called

	resolverNames, poolNames, listenerNames *names
}

// otherSections are of no use for connections, or are refused with the reason.
var otherSections = map[string]string{
	"userlist": "", "mailers": "", "cache": "", "http-errors": "", "ring": "", "crt-store": "", "traces": "", "log-profile": "", "acme": "",
	"peers":       "ebb shares no tables between instances: balance = \"hash\" sends a client to the same peer on each of them",
	"program":     "ebb starts no other programs: let systemd do that",
	"fcgi-app":    "ebb carries connections, not requests",
	"log-forward": "ebb takes no logs in: carry syslog with a listener on udp:// and mode = \"oneway\"",
}

// HAProxy reads the files of a HAProxy config, in the order in which HAProxy is given them. env is the environment in which
// HAProxy would run.
func HAProxy(inputs []Input, env func(string) (string, bool)) *Result {
	h := &haproxy{
		report: new(report), env: env, set: make(map[string]string), unset: make(map[string]bool), global: make(map[string]line),
		named: make(map[string]string), resolverNames: newNames(), poolNames: newNames(), listenerNames: newNames(),
	}
	h.read(inputs)
	for _, s := range h.sections {
		switch s.kind() {
		case "global":
			h.readGlobal(s)
		case "resolvers":
			h.readResolvers(s)
		}
	}
	var proxies []*proxy
	for _, s := range h.sections {
		switch s.kind() {
		case "frontend", "backend", "listen":
			if p := h.readProxy(s); p != nil {
				proxies = append(proxies, p)
			}
		}
	}
	back := make(map[string]*proxy)
	for _, p := range proxies {
		if p.kind() != "frontend" && back[p.name()] == nil {
			back[p.name()] = p
		}
	}
	for _, p := range proxies {
		if p.kind() != "frontend" {
			h.addPool(p)
		}
	}
	for _, p := range proxies {
		if p.kind() != "backend" {
			h.addListeners(p, back)
		}
	}
	return h.result(h.report)
}

func (h *haproxy) lookup(name string) (string, bool) {
	if v, ok := h.set[name]; ok {
		return v, true
	}
	if h.unset[name] {
		return "", false
	}
	return h.env(name)
}

// maxLines bounds a config: HAProxy itself has trouble with more.
const maxLines = 200_000

// read makes sections of the text.
func (h *haproxy) read(inputs []Input) {
	var at *section
	defaults := make(map[string]*section)
	var last *section
	for i, in := range inputs {
		h.files = append(h.files, in.Name)
		n := 0
		for text := range strings.SplitSeq(in.Text, "\n") {
			if n++; n > maxLines {
				h.refuse(place{i, n}, "", "the file has more than %d lines", maxLines)
				break
			}
			l := line{at: place{i, n}}
			var err error
			if l.words, err = split(text, h.lookup); err != nil {
				what, _, _ := strings.Cut(strings.TrimSpace(text), " ")
				h.refuse(l.at, what, "%v", err)
			}
			if len(l.words) == 0 || err != nil {
				continue
			}
			if l.words[0] == "" {
				h.refuse(l.at, "\"\"", "this is no word that begins a line")
				continue
			}
			if s := h.head(l, defaults, last); s != nil {
				if s.kind() == "defaults" {
					last = s
					defaults[s.name()] = s
				}
				at = s
				h.sections = append(h.sections, s)
				continue
			}
			switch {
			case strings.HasPrefix(l.words[0], "."):
				h.conditional(l)
			case at == nil:
				h.refuse(l.at, l.words[0], "it stands before the first section, such as global")
			case at.kind() == "global" && strings.HasSuffix(l.words[0], "env"):
				h.setenv(l)
			default:
				at.lines = append(at.lines, l)
			}
		}
	}
	if len(h.files) == 0 {
		h.files = []string{""}
	}
}

// head gives the section that a line begins; nil if it begins none.
func (h *haproxy) head(l line, defaults map[string]*section, last *section) *section {
	s := &section{line: l}
	switch _, other := otherSections[l.words[0]]; {
	case l.words[0] == "cache" && len(l.words) != 2: // in other sections it is a keyword
		return nil
	case other:
		if why := otherSections[l.words[0]]; why != "" {
			h.refuse(l.at, s.what(), "%s", why)
		}
		return s
	}
	switch l.words[0] {
	case "global":
		return s
	case "defaults":
		if i := slices.Index(l.words, "from"); i > 0 {
			s.base = defaults[l.arg(i+1)]
		}
		return s
	case "frontend", "backend", "listen", "resolvers":
		if l.arg(1) == "" {
			h.refuse(l.at, l.words[0], "its name is missing")
			s.words = append(s.words, "unnamed")
		}
		s.base = last
		if l.arg(2) == "from" {
			if s.base = defaults[l.arg(3)]; s.base == nil {
				h.refuse(l.at, s.what(), "there is no section of defaults %q before it", printable(l.arg(3)))
			}
		}
		return s
	}
	return nil
}

func (h *haproxy) conditional(l line) {
	switch l.words[0] {
	case ".notice", ".warning", ".alert", ".diag":
	case ".if", ".elif":
		h.refuse(l.at, l.words[0], "conditions are not evaluated, and all branches were read: leave only the one that holds where this runs")
	case ".else", ".endif":
	default:
		h.refuse(l.at, l.words[0], "this import does not know it")
	}
}

func (h *haproxy) setenv(l line) {
	name := l.arg(1)
	switch l.words[0] {
	case "presetenv", "setenv":
		if _, ok := h.lookup(name); l.words[0] == "setenv" || !ok {
			h.set[name] = l.arg(2)
		}
	case "unsetenv":
		for _, name := range l.rest(1) {
			h.unset[name] = true
			delete(h.set, name)
		}
	default:
		h.refuse(l.at, l.words[0], "this import does not know it: set variables with setenv")
	}
}

func (h *haproxy) readGlobal(s *section) {
	for _, l := range s.lines {
		word := l.words[0]
		switch {
		case word == "maxconn" || word == "nbthread":
			h.global[word] = l
		case word == "hard-stop-after" || word == "grace":
			if d, ok := h.span(l, l.arg(1)); ok {
				h.top.span(l.at, word, map[string]string{"hard-stop-after": "shutdown_timeout", "grace": "shutdown_delay"}[word], d)
			}
		case l.arg(0) == "stats" || word == "server-state-file":
			h.note(l.at, word, "%s", globalNotes[word])
		case strings.HasPrefix(word, "lua-"):
			h.refuse(l.at, word, "ebb runs no scripts")
		case word == "no" || slices.Contains(globalQuiet, word) || quietPrefix(word):
		case globalNotes[word] != "":
			h.note(l.at, word, "%s", globalNotes[word])
		default:
			h.refuse(l.at, word, "this import does not know it; if it says nothing about TCP, take it out")
		}
	}
}

func quietPrefix(word string) bool {
	return slices.ContainsFunc([]string{"tune.", "ssl-", "h1-", "h2-", "h3-", "profiling.", "51degrees", "deviceatlas", "wurfl", "httpclient.", "ocsp-update.", "thread-", "jwt."},
		func(prefix string) bool { return strings.HasPrefix(word, prefix) })
}

// readResolvers makes a resolver of ebb.
func (h *haproxy) readResolvers(s *section) {
	if h.named[s.name()] != "" {
		h.refuse(s.at, s.what(), "there is another one of this name")
		return
	}
	r := &resolver{table: table{at: s.at, what: s.what()}, name: h.resolverNames.of(s.name())}
	h.named[s.name()] = r.name
	h.draft.resolvers = append(h.draft.resolvers, r)
	var servers []string
	for _, l := range s.lines {
		switch word := l.words[0]; word {
		case "nameserver":
			if url, why := nameserver(l.arg(2)); why != "" {
				h.refuse(l.at, "nameserver "+l.arg(1), "%s", why)
			} else if !slices.Contains(servers, url) {
				servers = append(servers, url)
			}
		case "parse-resolv-conf":
			if !slices.Contains(servers, "system") {
				servers = append(servers, "system")
			}
		case "resolve_retries":
			if n, ok := h.count(l, l.arg(1), 1, 10); ok {
				r.number(l.at, word, "attempts", n)
			}
		case "accepted_payload_size":
			if n, ok := h.count(l, l.arg(1), 512, 65535); ok {
				r.number(l.at, word, "edns_size", min(n, 4096))
			}
		case "timeout":
			d, ok := h.span(l, l.arg(2))
			switch what := word + " " + l.arg(1); {
			case !ok:
			case l.arg(1) == "retry":
				r.span(l.at, what, "attempt_timeout", max(d, time.Millisecond))
				if d > 5*time.Second {
					r.span(l.at, what, "deadline", d)
				}
			case l.arg(1) == "resolve":
				h.note(l.at, what, "ebb asks again when the TTL of an answer is over; refresh of a backend says otherwise")
			default:
				h.refuse(l.at, what, "this import does not know it")
			}
		case "hold":
			h.hold(l)
		default:
			h.refuse(l.at, word, "this import does not know it")
		}
	}
	if len(servers) == 0 {
		servers = []string{"system"}
	}
	r.texts(s.at, s.what(), "servers", servers)
}

func (h *haproxy) hold(l line) {
	what := "hold " + l.arg(1)
	switch l.arg(1) {
	case "valid":
		h.note(l.at, what, "ebb asks again when the TTL of an answer is over; refresh of a backend says otherwise")
	case "nx", "obsolete", "timeout", "refused", "other":
		h.note(l.at, what, "ebb keeps addresses over failures for max_stale (72h), over empty answers for empty_hold (30s), and over one that lacks them for absent_hold (0s); these are keys of a backend")
	default:
		h.refuse(l.at, what, "this import does not know it")
	}
}

// nameserver is a DNS server as ebb writes it.
func nameserver(addr string) (url, why string) {
	scheme, rest := "udp", addr
	if before, after, ok := strings.Cut(addr, "@"); ok {
		switch before {
		case "udp", "udp4", "udp6", "ipv4", "ipv6":
		case "tcp", "tcp4", "tcp6":
			scheme = "tcp"
		default:
			return "", "ebb asks DNS servers at IP addresses, over udp, tcp, tls or https"
		}
		rest = after
	}
	host, port, err := hostPort(rest)
	if err != nil {
		return "", err.Error()
	}
	if port == 0 {
		port = 53
	}
	if !isAddress(host) {
		return "", "ebb asks DNS servers at IP addresses: write that of " + printable(host)
	}
	return scheme + "://" + join(host, port), ""
}

// count reads a whole number of a line.
func (h *haproxy) count(l line, text string, low, high int) (int, bool) {
	n, err := strconv.Atoi(text)
	if err != nil || n < low || n > high {
		h.refuse(l.at, l.words[0], "found %q, expected a number from %d to %d", printable(text), low, high)
		return 0, false
	}
	return n, true
}

// span reads a duration of a line: milliseconds, or with a unit.
func (h *haproxy) span(l line, text string) (time.Duration, bool) {
	d, ok := duration(text, time.Millisecond)
	if !ok {
		h.refuse(l.at, l.words[0], "found %q, expected a time such as 30s, of at most a year", printable(text))
	}
	return d, ok
}
