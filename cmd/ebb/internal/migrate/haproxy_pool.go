package migrate

import (
	"slices"
	"strings"
	"time"
)

// addPool makes a pool of a backend or listen.
func (h *haproxy) addPool(p *proxy) {
	b := &pool{table: table{at: p.at, what: p.what()}, name: h.poolNames.of(p.name())}
	p.pool = b.name
	h.balance(p, b)
	if d, l, ok := p.time("connect"); ok && d > 0 {
		b.span(l.at, "timeout connect", "connect_timeout", max(d, time.Millisecond))
	}
	if l, ok := p.last["retries"]; ok {
		if n, ok := h.count(l, l.arg(1), 0, 1000); ok {
			b.number(l.at, "retries", "connect_attempts", min(n+1, 100))
		}
	}
	var servers []*server
	type target struct {
		host string
		port int
	}
	first := make(map[target]string)
	for _, l := range p.servers {
		s := h.readServer(p, l)
		if s == nil {
			continue
		}
		at := target{s.host, s.port}
		if other, twice := first[at]; twice {
			h.refuse(l.at, l.words[0]+" "+l.arg(1), "it is where %s is, and a pool of ebb has each address once: give that the weight of both", printable(other))
			continue
		}
		first[at] = l.arg(1)
		servers = append(servers, s)
	}
	if len(p.servers) == 0 {
		return // orphans says so where it matters: a listen may be a frontend
	}
	h.backends(p, b, servers)
	h.shared(p, b, servers)
	b.check = h.checkOf(p, b, servers)
	h.pools = append(h.pools, b)
}

func (h *haproxy) backends(p *proxy, b *pool, servers []*server) {
	_, together := p.options["allbackups"]
	tier := 0
	for _, s := range servers {
		t := &table{at: s.at, what: s.words[0] + " " + s.arg(1)}
		t.text(s.at, t.what, "host", s.host)
		if s.srv {
			t.text(s.at, t.what, "type", "srv")
		} else {
			t.number(s.at, t.what, "port", s.port)
		}
		if w, ok := s.params["weight"]; ok && !s.srv {
			if n, ok := h.count(line{s.at, []string{"weight"}}, w, 0, 256); ok && n != 1 {
				t.number(s.at, "weight", "weight", n)
			}
		}
		if _, off := s.params["disabled"]; off && !s.srv {
			t.number(s.at, "disabled", "weight", 0)
		}
		if _, backup := s.params["backup"]; backup {
			if tier++; together {
				tier = 1
			}
			t.number(s.at, "backup", "tier", tier)
		}
		switch prefer := s.params["resolve-prefer"]; {
		case isAddress(s.host):
		case s.params["family"] != "":
			t.text(s.at, t.what, "family", s.params["family"])
		case prefer == "ipv4" || prefer == "ipv6":
			t.text(s.at, "resolve-prefer", "family", "prefer_"+prefer)
		}
		if s.count > 0 {
			h.note(s.at, "server-template", "ebb has as many peers as the answer has addresses, each once, and no slots")
		} else if !isAddress(s.host) && !s.srv {
			h.note(s.at, "server", "of a name that has several addresses HAProxy uses one for a server; ebb uses all of them, and asks again while it runs")
		}
		b.backends = append(b.backends, t)
	}
}

// same gives what all servers say; where they differ, the first counts and the others are refused.
func (h *haproxy) same(servers []*server, param string) (value string, at place, ok bool) {
	for i, s := range servers {
		v, said := s.params[param]
		switch {
		case i == 0:
			value, at, ok = v, s.at, said
		case v != value || said != ok:
			h.refuse(s.at, s.words[0]+" "+s.arg(1)+" "+param, "it differs from that of %s, and a pool of ebb has one for all its peers: say the same for all, or make a pool of its own of this server", printable(servers[0].arg(1)))
		}
	}
	return value, at, ok
}

// shared sets what a pool has once and HAProxy has for each server.
func (h *haproxy) shared(p *proxy, b *pool, servers []*server) {
	_, at, v1 := h.same(servers, "send-proxy")
	_, at2, v2 := h.same(servers, "send-proxy-v2")
	switch {
	case v2:
		b.text(at2, "send-proxy-v2", "proxy_out", "v2")
	case v1:
		b.text(at, "send-proxy", "proxy_out", "v1")
	}
	if text, at, ok := h.same(servers, "maxconn"); ok {
		if n, ok := h.count(line{at, []string{"maxconn"}}, text, 0, 10_000_000); ok && n > 0 {
			b.number(at, "maxconn", "max_conns", n)
			h.queue(p, b, servers, at)
		}
	}
	if text, at, ok := h.same(servers, "slowstart"); ok {
		if d, ok := h.span(line{at, []string{"slowstart"}}, text); ok && d > 0 {
			b.span(at, "slowstart", "slow_start", max(d, time.Millisecond))
		}
	}
	if text, at, ok := h.same(servers, "tcp-ut"); ok {
		if d, ok := h.span(line{at, []string{"tcp-ut"}}, text); ok && d > 0 {
			b.span(at, "tcp-ut", "socket.user_timeout", max(d, time.Millisecond))
		}
	}
	if text, at, ok := h.same(servers, "on-marked-up"); ok && text == "shutdown-backup-sessions" {
		b.text(at, "on-marked-up", "on.failback", "close")
	}
	h.source(p, b)
	if name, at, ok := h.same(servers, "resolvers"); ok {
		if h.named[name] == "" {
			h.refuse(at, "resolvers", "there is no section resolvers %s", printable(name))
			return
		}
		b.text(at, "resolvers", "resolver", h.named[name])
	}
}

// source sets where connections to the servers come from.
func (h *haproxy) source(p *proxy, b *pool) {
	l, ok := p.last["source"]
	if !ok {
		return
	}
	host, port, err := hostPort(l.arg(1))
	if err != nil || port != 0 || !isAddress(host) {
		h.refuse(l.at, "source", "%q is no address without a port: write source_ports of [pool.%s.socket] for ports", printable(l.arg(1)), b.name)
		return
	}
	if host != "0.0.0.0" && host != "::" {
		b.text(l.at, "source", "socket.source", host)
	}
	switch words := l.rest(2); {
	case len(words) == 0:
	case len(words) == 2 && words[0] == "interface":
		b.text(l.at, "source", "socket.interface", words[1])
	case len(words) == 2 && words[0] == "usesrc" && words[1] == "clientip":
		b.text(l.at, "source", "socket.source", "client")
	default:
		h.refuse(l.at, "source "+words[0], "ebb knows usesrc clientip, and interface")
	}
}

// mostWaiting is what stands for HAProxy's queue without a bound.
const mostWaiting = 10_000

// queue lets clients wait at a maxconn, as HAProxy does.
func (h *haproxy) queue(p *proxy, b *pool, servers []*server, at place) {
	n := mostWaiting
	if text, from, ok := h.same(servers, "maxqueue"); ok {
		each, ok := h.count(line{from, []string{"maxqueue"}}, text, 0, 1_000_000)
		if ok && each > 0 {
			n = min(each*len(servers), 10_000_000)
		}
	}
	b.number(at, "maxconn", "queue", n)
	d, l, ok := p.time("queue")
	if !ok {
		d, l, ok = p.time("connect")
	}
	if ok && d > 0 {
		b.span(l.at, l.words[0]+" "+l.arg(1), "queue_timeout", max(d, time.Millisecond))
	}
}

// balance sets the policy. HAProxy's own default is roundrobin.
func (h *haproxy) balance(p *proxy, b *pool) {
	l, ok := p.last["balance"]
	if !ok {
		l = line{p.at, []string{"balance", "roundrobin"}}
	}
	word, _, _ := strings.Cut(l.arg(1), "(")
	policy, key := "", ""
	switch word {
	case "roundrobin", "static-rr":
		policy = "roundrobin"
	case "leastconn", "first", "random":
		policy = word
	case "source":
		policy = "hash"
	case "hash":
		switch l.arg(2) {
		case "src":
			policy = "hash"
		case "dst":
			policy, key = "hash", "destination"
		case "req.ssl_sni", "req_ssl_sni":
			policy, key = "hash", "sni"
		}
	}
	if policy == "" {
		h.refuse(l.at, "balance "+l.arg(1), "ebb knows leastconn, roundrobin, random, first, and hash by the client's address, by its own or by the name that a client of TLS asks for; it does not look at requests")
		policy = "leastconn"
	}
	if stick, ok := p.last["stick"]; ok {
		policy = h.stick(p, stick, policy)
	}
	b.text(l.at, "balance", "balance", policy)
	if policy == "hash" && key != "" {
		b.text(l.at, "balance", "hash_key", key)
	}
	if f, ok := p.last["hash-balance-factor"]; ok && policy == "hash" {
		if n, ok := h.count(f, f.arg(1), 0, 10000); ok && n > 100 {
			b.set(f.at, f.words[0], "bounded", strings.TrimSuffix(decimal(n), ".00"))
		}
	}
}

// stick turns the two uses of stick tables that are about addresses into policies.
func (h *haproxy) stick(p *proxy, l line, policy string) string {
	t := p.last["stick-table"]
	size := ""
	if i := slices.Index(t.words, "size"); i >= 0 {
		size = t.arg(i + 1)
	}
	switch {
	case l.arg(1) != "on" || len(l.words) > 3 || l.arg(2) != "src" && size != "1":
		h.refuse(l.at, "stick "+l.arg(1), "ebb has no tables: balance = \"hash\" keeps a client on its peer, balance = \"sticky\" all clients on one")
	case size == "1":
		h.note(l.at, "stick", "balance = \"sticky\": one peer has everything, until it is out, and does not get it back")
		return "sticky"
	default:
		h.note(l.at, "stick", "balance = \"hash\": a client's peer follows from its address, on every instance and over restarts; one that returns gets its clients back")
		return "hash"
	}
	return policy
}
