package migrate

import (
	"encoding/hex"
	"regexp"
	"strings"
	"time"
)

// checkOf makes the check of a pool; nil if no server is checked.
func (h *haproxy) checkOf(p *proxy, b *pool, servers []*server) *table {
	var asked, agents []*server
	for _, s := range servers {
		if _, ok := s.params["check"]; ok {
			asked = append(asked, s)
		}
		if _, ok := s.params["agent-check"]; ok {
			agents = append(agents, s)
		}
	}
	switch {
	case len(asked) == 0 && len(agents) == 0:
		return nil
	case len(asked) > 0 && len(agents) > 0:
		h.refuse(agents[0].at, "agent-check", "a pool of ebb has one check, and here is another: choose one of them")
	case len(agents) > 0:
		return h.agent(agents)
	}
	if len(asked) < len(servers) {
		h.note(asked[0].at, "check", "ebb checks all peers of a pool, also those of servers that do not say check")
	}
	t := &table{at: asked[0].at, what: "check"}
	h.kind(p, t)
	h.tls(asked, t)
	if t.entries[0].value == quote("tcp") && t.has("tls") {
		t.text(t.at, "check", "kind", "tls")
	}
	h.pace(p, asked, t)
	text, at, ok := h.same(asked, "port")
	if ok {
		if n, ok := h.count(line{at, []string{"port"}}, text, 1, 65535); ok {
			t.number(at, "port", "port", n)
		}
	}
	for _, s := range asked {
		if addr, said := s.params["addr"]; said && addr != s.host {
			h.refuse(s.at, "addr", "ebb asks a peer at its own address; only the port may be another")
		}
	}
	_, v1 := asked[0].params["send-proxy"]
	_, v2 := asked[0].params["send-proxy-v2"]
	_, forced := asked[0].params["check-send-proxy"]
	if (v1 || v2) && (forced || !ok) && !t.has("query") && !t.has("command") {
		t.text(asked[0].at, "send-proxy", "proxy", map[bool]string{true: "v2", false: "v1"}[v2])
	}
	// What becomes of sessions when their server is down is said in either way, for the defaults differ.
	marked, at, said := h.same(asked, "on-marked-down")
	switch {
	case !said:
		b.text(t.at, "check", "on.dead", "keep")
	case marked == "shutdown-sessions":
		b.text(at, "on-marked-down", "on.dead", "close")
	default:
		h.refuse(at, "on-marked-down", "found %q, expected shutdown-sessions", printable(marked))
	}
	return t
}

// pace sets how often, how long and how many times.
func (h *haproxy) pace(p *proxy, servers []*server, t *table) {
	interval, inter := 2*time.Second, false
	if text, at, ok := h.same(servers, "inter"); ok {
		if d, ok := h.span(line{at, []string{"inter"}}, text); ok {
			interval, inter = max(d, shortestInterval), true
			t.span(at, "inter", "interval", interval)
		}
	}
	if text, at, ok := h.same(servers, "fastinter"); ok {
		if d, ok := h.span(line{at, []string{"fastinter"}}, text); ok && d <= interval { // ebb takes no slower one
			t.span(at, "fastinter", "fast_interval", max(d, shortestInterval))
		}
	}
	if d, l, ok := p.time("check"); ok && d > 0 {
		t.span(l.at, "timeout check", "timeout", max(d, time.Millisecond))
	} else if inter { // HAProxy waits for so long, too
		t.span(t.at, "inter", "timeout", interval)
	}
	for _, param := range []string{"rise", "fall"} {
		if text, at, ok := h.same(servers, param); ok {
			if n, ok := h.count(line{at, []string{param}}, text, 1, 100); ok {
				t.number(at, param, param, n)
			}
		}
	}
}

// shortestInterval is the shortest that ebb takes.
const shortestInterval = 10 * time.Millisecond

func (h *haproxy) agent(servers []*server) *table {
	t := &table{at: servers[0].at, what: "agent-check"}
	t.text(t.at, t.what, "kind", "agent")
	if text, at, ok := h.same(servers, "agent-port"); ok {
		if n, ok := h.count(line{at, []string{"agent-port"}}, text, 1, 65535); ok {
			t.number(at, "agent-port", "port", n)
		}
	}
	if text, at, ok := h.same(servers, "agent-inter"); ok {
		if d, ok := h.span(line{at, []string{"agent-inter"}}, text); ok {
			t.span(at, "agent-inter", "interval", max(d, shortestInterval))
		}
	}
	h.note(t.at, "agent-check", "percentages above 0 and maxconn of an agent's line have no effect; up, down, drain, maint and the like have")
	return t
}

// tls sets how the check is encrypted; the sessions are not.
func (h *haproxy) tls(servers []*server, t *table) {
	_, at, ok := h.same(servers, "check-ssl")
	if !ok {
		return
	}
	how, _, _ := h.same(servers, "verify")
	if how == "none" {
		t.text(at, "check-ssl", "tls", "require")
	} else {
		t.text(at, "check-ssl", "tls", "verify")
		if ca, from, ok := h.same(servers, "ca-file"); ok && ca != "@system-ca" {
			t.text(from, "ca-file", "tls_ca_file", ca)
		}
	}
	if name, from, ok := h.same(servers, "check-sni"); ok {
		t.text(from, "check-sni", "tls_name", name)
	}
}

// kind sets what is asked.
func (h *haproxy) kind(p *proxy, t *table) {
	name, l := "tcp", line{at: t.at, words: []string{"check"}}
	for option, at := range p.options {
		if optionChecks[option] {
			name, l = option, at
		}
	}
	what := "option " + name
	set := func(kind string) { t.text(l.at, what, "kind", kind) }
	switch name {
	case "tcp":
		set("tcp")
	case "tcp-check":
		set("tcp")
		h.steps(p, t)
	case "httpchk":
		set("http")
		h.http(p, l, t)
	case "pgsql-check":
		set("postgres")
		h.note(l.at, what, "ebb begins a login without a name's being needed; with user, password_file and want = \"primary\" it learns the role, too")
	case "mysql-check":
		set("mysql")
		if l.arg(2) == "user" {
			t.text(l.at, what, "user", l.arg(3))
		}
		h.note(l.at, what, "ebb also asks whether a node of Galera is in step, which takes an account; want = \"primary\" chooses by read_only")
	case "redis-check":
		set("redis")
		h.note(l.at, what, "want = \"primary\" chooses by role, where HAProxy needs tcp-check")
	case "ssl-hello-chk":
		set("tls")
	case "smtpchk":
		set("send_expect")
		hello, host := "HELO", "localhost"
		if l.arg(2) != "" && l.arg(3) != "" {
			hello, host = l.arg(2), l.arg(3)
		}
		t.set(l.at, what, "steps", "[{ expect = \"220\" }, { send = "+quote(hello+" "+host+"\r\n")+" }, { expect = \"250\" }, { send = \"QUIT\\r\\n\" }, { expect = \"221\" }]")
	case "ldap-check":
		set("send_expect")
		t.set(l.at, what, "steps", `[{ send_hex = "300c020101600702010304008000" }, { expect_hex = "0a0100" }]`)
	case "external-check":
		set("exec")
		command, ok := "", false
		for _, c := range p.all {
			if c.words[0] == "external-check" && c.arg(1) == "command" {
				command, ok = c.arg(2), true
			}
		}
		if !ok {
			h.refuse(l.at, what, "external-check command is missing")
		}
		t.texts(l.at, what, "command", []string{command})
	default:
		h.refuse(l.at, what, "ebb has no such check; docs/health.md lists those it has")
		set("tcp")
	}
}

// steps reads tcp-check rules.
func (h *haproxy) steps(p *proxy, t *table) {
	var steps []string
	connects := 0
	for _, l := range p.check {
		if l.words[0] != "tcp-check" {
			continue
		}
		refuse := func(why string) { h.refuse(l.at, "tcp-check "+l.arg(1), "%s", why) }
		step := func(key, value string) { steps = append(steps, "{ "+key+" = "+quote(value)+" }") }
		switch verb := l.arg(1); verb {
		case "connect":
			if connects++; connects > 1 || len(steps) > 0 {
				refuse("a check of ebb is one connection")
				continue
			}
			h.connect(l, t)
		case "comment":
		case "send":
			if text := l.arg(2); plainText(text) {
				step("send", text)
			} else {
				step("send_hex", hex.EncodeToString([]byte(text)))
			}
		case "send-binary":
			step("send_hex", l.arg(2))
		case "expect":
			words := l.rest(2)
			for len(words) > 2 && strings.Contains("comment min-recv error-status ok-status tout-status on-success on-error status-code", words[0]) {
				words = words[2:]
			}
			kind, value := "", ""
			if len(words) > 1 {
				kind, value = words[0], words[1]
			}
			switch kind {
			case "string":
				if plainText(value) {
					step("expect", value)
				} else {
					step("expect_hex", hex.EncodeToString([]byte(value)))
				}
			case "binary":
				step("expect_hex", value)
			case "rstring":
				if _, err := regexp.Compile(value); err != nil {
					refuse("the expression is none that ebb takes (RE2): " + printable(err.Error()))
					continue
				}
				step("expect_regex", value)
			default:
				refuse("ebb knows string, binary and rstring, and nothing negated")
			}
		default:
			refuse("ebb knows connect, send, send-binary and expect")
		}
	}
	if len(steps) > 0 {
		t.text(t.entries[0].at, "tcp-check", "kind", "send_expect")
		t.set(t.entries[0].at, "tcp-check", "steps", "["+strings.Join(steps, ", ")+"]")
	}
}

// connect reads how a check connects.
func (h *haproxy) connect(l line, t *table) {
	words := l.rest(2)
	for i := 0; i < len(words); i++ {
		switch w := words[i]; {
		case w == "port" && i+1 < len(words):
			i++
			if n, ok := h.count(l, words[i], 1, 65535); ok {
				t.number(l.at, "connect port", "port", n)
			}
		case w == "ssl":
			t.text(l.at, "connect ssl", "tls", "require")
		case w == "send-proxy":
			t.text(l.at, "connect send-proxy", "proxy", "v1")
		case w == "sni" && i+1 < len(words):
			i++
			t.text(l.at, "connect sni", "tls_name", words[i])
		case w == "comment" && i+1 < len(words):
			i++
		case w == "default" || w == "linger":
		default:
			h.refuse(l.at, "connect "+w, "this import does not know it")
			return
		}
	}
}

// http reads option httpchk and http-check rules.
func (h *haproxy) http(p *proxy, l line, t *table) {
	method, uri, host := "OPTIONS", "/", ""
	switch words := l.rest(2); len(words) {
	case 0:
	case 1:
		uri = words[0]
	default:
		method, uri = words[0], words[1]
		if len(words) > 2 {
			_, after, _ := strings.Cut(strings.Join(words[2:], " "), "Host:")
			host = strings.TrimSpace(strings.Split(after, "\r\n")[0])
		}
	}
	status, at := "", l.at
	for _, c := range p.check {
		if c.words[0] != "http-check" {
			continue
		}
		what := "http-check " + c.arg(1)
		switch c.arg(1) {
		case "connect":
			h.connect(c, t)
		case "comment":
		case "send":
			words := c.rest(2)
			for i := 0; i < len(words); i++ {
				switch w := words[i]; {
				case w == "meth" && i+1 < len(words):
					i++
					method = words[i]
				case w == "uri" && i+1 < len(words):
					i++
					uri = words[i]
				case w == "ver" && i+1 < len(words), w == "comment" && i+1 < len(words):
					i++
				case w == "hdr" && i+2 < len(words) && strings.EqualFold(words[i+1], "Host"):
					host = words[i+2]
					i += 2
				default:
					h.refuse(c.at, what+" "+w, "a check of ebb sends a method, a path and a Host header")
					i = len(words)
				}
			}
		case "expect":
			words := c.rest(2)
			for len(words) > 2 && (words[0] == "comment" || words[0] == "min-recv") {
				words = words[2:]
			}
			if len(words) < 2 {
				words = []string{"", ""}
			}
			switch value := words[1]; words[0] {
			case "status":
				status, at = strings.Join(words[1:2], ""), c.at
			case "string":
				t.text(c.at, what, "expect_body", regexp.QuoteMeta(value))
			case "rstring":
				t.text(c.at, what, "expect_body", value)
			default:
				h.refuse(c.at, what, "ebb knows status, string and rstring, and nothing negated")
			}
		default:
			h.refuse(c.at, what, "ebb knows connect, send and expect")
		}
	}
	if method != "GET" {
		t.text(l.at, "option httpchk", "method", method)
	}
	if uri != "/" {
		t.text(l.at, "option httpchk", "path", uri)
	}
	if host != "" {
		t.text(l.at, "option httpchk", "host", host)
	}
	switch {
	case status != "":
		t.text(at, "http-check expect", "expect", status)
	case t.has("expect_body"): // then HAProxy does not look at the status
		t.text(l.at, "option httpchk", "expect", "100-599")
	}
}
