package migrate

import (
	"slices"
	"strings"
	"time"
)

// proxy is a frontend, a backend, or a listen, with what its defaults say.
type proxy struct {
	*section
	all     []line          // of the defaults, then its own
	last    map[string]line // by first word, or by two of them: "timeout client"
	options map[string]line // that are on
	binds   []line
	servers []line
	acls    map[string][]line
	rules   []line // tcp-request and the like, that let in or keep out
	params  []string
	check   []line // http-check and tcp-check
	pool    string // the name of it, if it is carried over
	broken  bool   // something that its listeners must not be without could not be carried over
}

// readProxy reads the lines of a proxy; nil if it carries requests, not connections.
func (h *haproxy) readProxy(s *section) *proxy {
	p := &proxy{section: s, last: make(map[string]line), options: make(map[string]line), acls: make(map[string][]line)}
	seen := map[*section]bool{}
	for base := s.base; base != nil && !seen[base]; base = base.base {
		seen[base] = true
		p.all = append(slices.Clone(base.lines), p.all...)
	}
	p.all = append(p.all, s.lines...)
	mode := line{words: []string{"mode", "tcp"}}
	for _, l := range p.all {
		if l.words[0] == "mode" {
			mode = l
		}
		if l.words[0] == "disabled" {
			h.note(l.at, s.what(), "it is disabled, and left out")
			return nil
		}
	}
	switch mode.arg(1) {
	case "tcp":
	case "http":
		if p.onlyShows() {
			h.note(s.at, s.what(), "HAProxy's statistics are left out: ebb has a page and metrics at its admin address, and ebb status")
		} else {
			h.refuse(s.at, s.what(), "it is of mode http (line %d), and ebb carries connections without reading them: keep it, or let mode tcp carry it whole if no rule needs the requests", mode.at.line)
		}
		return nil
	default:
		h.refuse(mode.at, s.what(), "it is of mode %s; ebb carries TCP and UDP", printable(mode.arg(1)))
		return nil
	}
	for _, l := range p.all {
		h.readLine(p, l)
	}
	return p
}

// onlyShows tells that there is nothing but HAProxy's own pages.
func (p *proxy) onlyShows() bool {
	shows := false
	for _, l := range p.lines {
		switch l.words[0] {
		case "stats":
			shows = true
		case "http-request":
			shows = shows || l.arg(1) == "use-service" && l.arg(2) == "prometheus-exporter"
		case "server", "server-template", "default_backend", "use_backend":
			return false
		}
	}
	return shows
}

// readLine puts a line where it is looked for later.
func (h *haproxy) readLine(p *proxy, l line) {
	word := l.words[0]
	why, refused := proxyRefused[word]
	if two := word + " " + l.arg(1); !refused {
		why, refused = proxyRefused[two]
	}
	switch {
	case refused:
		h.refuse(l.at, word, "%s", why)
		p.broken = p.broken || strings.HasPrefix(word, "tcp-request") || word == "filter"
	case word == "no" || word == "option":
		h.option(p, l)
	case word == "bind":
		p.binds = append(p.binds, l)
	case word == "server" || word == "server-template":
		p.servers = append(p.servers, l)
	case word == "default-server":
		p.params = append(p.params, l.rest(1)...)
	case word == "acl":
		p.acls[l.arg(1)] = append(p.acls[l.arg(1)], l)
	case word == "tcp-request":
		p.rules = append(p.rules, l)
	case word == "tcp-check" || word == "http-check":
		p.check = append(p.check, l)
	case word == "timeout":
		h.timeout(p, l)
	case word == "use_backend":
		if l.arg(2) != "" {
			h.refuse(l.at, word, "a listener of ebb has one pool, whatever the client sends: give this one a port of its own, with a listener for it")
			p.broken = true
			return
		}
		p.last["default_backend"] = l
	case slices.Contains(proxyUsed, word):
		p.last[word] = l
	case slices.Contains(proxyHTTP, word):
		h.note(l.at, word, "it says nothing in mode tcp, and is left out")
	case proxyNotes[word] != "":
		h.note(l.at, word, "%s", proxyNotes[word])
	case slices.Contains(proxyQuiet, word):
	default:
		h.refuse(l.at, word, "this import does not know it; if it says nothing about TCP, take it out")
	}
}

func (h *haproxy) option(p *proxy, l line) {
	if l.words[0] == "no" {
		if l.arg(1) == "option" {
			delete(p.options, l.arg(2))
		}
		return
	}
	what := "option " + l.arg(1)
	switch name := l.arg(1); {
	case optionChecks[name]:
		for other := range optionChecks { // the last one is the one
			delete(p.options, other)
		}
		p.options[name] = l
	case name == "allbackups":
		p.options[name] = l
	case optionNotes[name] != "":
		h.note(l.at, what, "%s", optionNotes[name])
	case optionRefused[name] != "":
		h.refuse(l.at, what, "%s", optionRefused[name])
	case slices.Contains(optionQuiet, name):
	default:
		h.refuse(l.at, what, "this import does not know it; if it says nothing about TCP, take it out")
	}
}

func (h *haproxy) timeout(p *proxy, l line) {
	what := "timeout " + l.arg(1)
	switch l.arg(1) {
	case "connect", "client", "server", "check", "queue", "tunnel", "client-fin", "server-fin":
		if _, ok := h.span(line{l.at, []string{what}}, l.arg(2)); ok {
			p.last[what] = l
		}
	case "http-request", "http-keep-alive", "tarpit", "client-hs":
		h.note(l.at, what, "it says nothing in mode tcp, and is left out")
	default:
		h.refuse(l.at, what, "this import does not know it")
	}
}

// time gives a timeout; 0 is none, which HAProxy also has where nobody says any.
func (p *proxy) time(name string) (d time.Duration, from line, ok bool) {
	l, ok := p.last["timeout "+name]
	if ok {
		d, _ = duration(l.arg(2), time.Millisecond)
	}
	return d, l, ok
}

// shortest gives the shortest of timeouts of several proxies; 0 if none of them ends anything.
func shortest(names string, proxies ...*proxy) (least time.Duration, from line) {
	for _, p := range proxies {
		for name := range strings.FieldsSeq(names) {
			if d, l, ok := p.time(name); ok && d > 0 && (least == 0 || d < least) {
				least, from = d, l
			}
		}
	}
	return least, from
}

// addListeners makes listeners of a frontend or listen: one for each way in which it wants its addresses served.
func (h *haproxy) addListeners(p *proxy, back map[string]*proxy) {
	to := p
	if l, ok := p.last["default_backend"]; ok {
		if to = back[l.arg(1)]; to == nil {
			h.refuse(l.at, l.words[0], "there is no backend %q that is carried over", printable(l.arg(1)))
			return
		}
	} else if p.kind() == "frontend" {
		h.refuse(p.at, p.what(), "it has no default_backend, and so no pool")
		return
	}
	binds := h.binds(p)
	allow, deny, from := h.access(p, slices.ContainsFunc(binds, func(b bind) bool { return b.proxied }))
	if p.broken {
		if len(binds) > 0 {
			h.refuse(p.at, p.what(), "its listeners are left out: without what is refused they would let in, or send on, what they must not")
		}
		return
	}
	for i, group := range grouped(binds) {
		name := p.name()
		if i == 0 {
			name = h.listenerNames.of(name)
		} else {
			name = h.listenerNames.fresh(name)
		}
		l := &listener{table: table{at: p.at, what: p.what()}, name: name, pool: to.pool}
		l.text(p.at, p.what(), "name", name)
		var addresses []string
		for _, b := range group {
			addresses = append(addresses, b.address)
		}
		l.texts(group[0].at, "bind", "listen", mergeFamilies(addresses))
		l.text(p.at, p.what(), "pool", to.pool)
		h.limits(l, p)
		h.idle(l, p, to)
		for _, o := range group[0].options {
			l.set(group[0].at, o.what, o.key, o.value)
		}
		if group[0].proxied {
			l.texts(group[0].at, "accept-proxy", "proxy_in", []string{"0.0.0.0/0", "::/0"})
			h.note(group[0].at, "accept-proxy", "as in HAProxy everybody's header is believed: write into proxy_in who is in front of ebb")
		}
		if len(allow) > 0 {
			l.texts(from.at, from.words[0], "allow", allow)
		}
		if len(deny) > 0 {
			l.texts(from.at, from.words[0], "deny", deny)
		}
		h.listeners = append(h.listeners, l)
	}
}

func (h *haproxy) limits(l *listener, p *proxy) {
	limit, ok := p.last["maxconn"]
	if !ok {
		limit, ok = h.global["maxconn"]
	}
	if ok {
		if n, ok := h.count(limit, limit.arg(1), 0, 10_000_000); ok && n > 0 {
			l.number(limit.at, "maxconn", "max_conns", n)
		}
	}
	if r, ok := p.last["rate-limit"]; ok {
		if n, ok := h.count(r, r.arg(2), 0, 1_000_000); ok && n > 0 {
			l.number(r.at, "rate-limit", "accept_rate", n)
			h.note(r.at, "rate-limit", "HAProxy lets clients wait, ebb refuses those that are too many")
		}
	}
}

// idle sets what ends sessions that do nothing. A tunnel's timeout is in force as soon as both sides have spoken.
func (h *haproxy) idle(l *listener, p, to *proxy) {
	idle, from := shortest("tunnel", to)
	if idle == 0 {
		idle, from = shortest("client", p)
		if server, of := shortest("server", to); server > 0 && (idle == 0 || server < idle) {
			idle, from = server, of
		}
	}
	if idle > 0 {
		l.span(from.at, from.words[0]+" "+from.arg(1), "idle_timeout", max(idle, time.Millisecond))
	}
	half, of := shortest("client-fin", p)
	if server, sf := shortest("server-fin", to); server > 0 && (half == 0 || server < half) {
		half, of = server, sf
	}
	if half > 0 {
		l.span(of.at, of.words[0]+" "+of.arg(1), "half_close_timeout", max(half, time.Millisecond))
	}
}
