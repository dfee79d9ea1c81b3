package migrate

import (
	"slices"
	"strings"
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
