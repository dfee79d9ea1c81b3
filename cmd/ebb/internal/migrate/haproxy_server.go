package migrate

import (
	"slices"
	"strings"
	"time"
)

// server is one server of a backend.
type server struct {
	line
	host   string
	port   int
	count  int // of a template; 0 of a server
	srv    bool
	params map[string]string // the last word for each
}

// serverWords are the parameters that are carried over, or mean nothing to ebb; the number says how many words follow.
var serverWords = map[string]int{
	"weight": 1, "check": 0, "inter": 1, "fastinter": 1, "downinter": 1, "rise": 1, "fall": 1, "port": 1, "addr": 1, "backup": 0, "maxconn": 1, "maxqueue": 1,
	"send-proxy": 0, "send-proxy-v2": 0, "check-send-proxy": 0, "slowstart": 1, "on-marked-down": 1, "on-marked-up": 1, "tcp-ut": 1, "resolvers": 1, "resolve-prefer": 1, "disabled": 0,
	"agent-check": 0, "agent-port": 1, "agent-inter": 1, "check-ssl": 0, "verify": 1, "ca-file": 1, "check-sni": 1, "crt": 1,
	"init-addr": 1, "init-state": 1, "observe": 1, "error-limit": 1, "on-error": 1, "resolve-opts": 1, "resolve-net": 1, "minconn": 1,
	"enabled": 0, "id": 1, "guid": 1, "cookie": 1, "stick": 0, "non-stick": 0, "check-reuse-pool": 0, "hash-key": 1, "log-bufsize": 1,
	"pool-max-conn": 1, "pool-low-conn": 1, "pool-purge-delay": 1, "pool-conn-name": 1, "max-reuse": 1, "ws": 1, "redir": 1, "idle-ping": 1,
	"no-ssl": 0, "no-verifyhost": 0, "no-tfo": 0, "strict-maxconn": 0, "no-sslv3": 0, "no-tlsv10": 0, "no-tlsv11": 0, "no-tlsv12": 0, "no-tlsv13": 0,
	"no-ssl-reuse": 0, "no-tls-tickets": 0, "ssl-min-ver": 1, "ssl-max-ver": 1, "ciphers": 1, "ciphersuites": 1, "force-sslv3": 0, "force-tlsv12": 0, "force-tlsv13": 0, "sni": 1, "alpn": 1, "check-alpn": 1, "check-proto": 1,
}

// serverNotes say what ebb does instead.
var serverNotes = map[string]string{
	"init-addr":    "ebb starts at once and goes on asking for names that have no address yet",
	"init-state":   "the first answer of a check decides, and all first checks are made at once",
	"observe":      "ebb takes a peer out for a while after three failed connects in a row",
	"error-limit":  "ebb takes a peer out for a while after three failed connects in a row",
	"on-error":     "ebb takes a peer out for a while after three failed connects in a row",
	"resolve-opts": "ebb uses every address of an answer, each once",
	"minconn":      "ebb has no limit that follows the load; maxconn is carried over",
	"downinter":    "ebb asks at the same interval, up or down",
	"disabled":     "the server has weight 0: ebb ready has no effect on that, a weight in the file, or ebb weight, has",
}

// serverRefused would be missed. serverFatal are those without which a server is not itself.
var serverRefused = map[string]string{
	"ssl":                  "ebb does not encrypt: TLS of the client passes as it is; else keep a proxy for TLS between ebb and this server",
	"send-proxy-v2-ssl":    "ebb does not end TLS, and so has nothing to tell of it: send-proxy-v2",
	"send-proxy-v2-ssl-cn": "ebb does not end TLS, and so has nothing to tell of it: send-proxy-v2",
	"set-proxy-v2-tlv-fmt": "ebb sends no further fields: send-proxy-v2",
	"proxy-v2-options":     "ebb sends no further fields: send-proxy-v2",
	"source":               noSource,
	"usesrc":               noSource,
	"interface":            noSource,
	"socks4":               "ebb connects to its peers directly",
	"check-via-socks4":     "ebb connects to its peers directly",
	"track":                "ebb checks each peer of each pool; pools that ask the same in the same way share one check",
	"namespace":            "ebb connects from the network namespace in which it is started",
	"tfo":                  "ebb has no TCP Fast Open: leave it out",
	"proto":                "ebb carries bytes, whatever protocol they are of: leave it out",
	"shard":                "ebb shares no tables between instances",
	"agent-addr":           "ebb asks an agent at the peer's own address",
	"agent-send":           "ebb says nothing to an agent",
	"crl-file":             "ebb reads no revocation lists",
	"resolve-net":          "ebb uses every address of an answer",
}

var serverFatal = []string{"ssl", "send-proxy-v2-ssl", "send-proxy-v2-ssl-cn", "socks4", "namespace"}

// readServer reads a line; nil if the server cannot be carried over.
func (h *haproxy) readServer(p *proxy, l line) *server {
	s := &server{line: l, params: make(map[string]string)}
	what := l.words[0] + " " + l.arg(1)
	address, words := l.arg(2), l.rest(3)
	if l.words[0] == "server-template" {
		last := l.arg(2)
		if _, after, ok := strings.Cut(last, "-"); ok {
			last = after
		}
		n, ok := h.count(l, last, 1, 65535)
		if !ok {
			return nil
		}
		s.count, address, words = n, l.arg(3), l.rest(4)
	}
	fatal := false
	words = append(slices.Clone(p.params), words...)
	for i := 0; i < len(words); i++ {
		w := words[i]
		n, known := serverWords[w]
		off, negated := strings.CutPrefix(w, "no-")
		switch {
		case known && i+n < len(words):
			s.params[w] = ""
			if n > 0 {
				s.params[w] = words[i+1]
			}
			i += n
			if text := serverNotes[w]; text != "" {
				h.note(l.at, w, "%s", text)
			}
		case known:
			h.refuse(l.at, what, "the value behind %s is missing", w)
		case negated:
			delete(s.params, off)
		default:
			why := serverRefused[w]
			if why == "" {
				why = "this import does not know it"
			}
			h.refuse(l.at, what+" "+printable(w), "%s", why)
			fatal = fatal || slices.Contains(serverFatal, w)
			if w == "ssl" {
				continue
			}
			i = len(words) // how many words belong to it is not known
		}
	}
	if fatal || !h.address(s, what, address) {
		return nil
	}
	return s
}

// address reads where a server is.
func (h *haproxy) address(s *server, what, text string) bool {
	family, rest, ok := strings.Cut(text, "@")
	if !ok {
		family, rest = "", text
	}
	switch {
	case strings.HasPrefix(text, "/") || family == "unix" || family == "abns" || family == "uxst":
		h.refuse(s.at, what, "ebb connects over TCP, not over unix sockets")
		return false
	case !slices.Contains([]string{"", "ipv4", "ipv6", "tcp", "tcp4", "tcp6"}, family):
		h.refuse(s.at, what, "%q is no address that ebb can connect to over TCP", printable(text))
		return false
	}
	if strings.HasSuffix(family, "4") {
		s.params["family"] = "ipv4"
	} else if strings.HasSuffix(family, "6") {
		s.params["family"] = "ipv6"
	}
	if s.srv = strings.HasPrefix(rest, "_"); s.srv {
		s.host, _, _ = strings.Cut(rest, ":")
		return true
	}
	if i := strings.LastIndexByte(rest, ':'); i >= 0 && (strings.HasPrefix(rest[i+1:], "+") || strings.HasPrefix(rest[i+1:], "-")) {
		h.refuse(s.at, what, "ebb has no ports relative to that of the client: write a listener and a pool for each port")
		return false
	}
	var err error
	if s.host, s.port, err = hostPort(rest); err != nil {
		h.refuse(s.at, what, "%v", err)
		return false
	}
	if s.port == 0 {
		h.refuse(s.at, what, "the port is missing: ebb does not take over that of the client")
		return false
	}
	return true
}

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
		}
	}
	if policy == "" {
		h.refuse(l.at, "balance "+l.arg(1), "ebb knows leastconn, roundrobin, random, first, and hash by the client's address or by its own; it does not look at requests")
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
