package migrate

import (
	"slices"
	"strings"
	"time"
)

// bind is one address of a frontend.
type bind struct {
	at      place
	address string // as ebb writes it: tcp://...
	proxied bool   // accept-proxy
	options []entry
}

// like tells that one listener can serve both.
func (b bind) like(o bind) bool {
	return b.proxied == o.proxied && slices.EqualFunc(b.options, o.options, func(x, y entry) bool { return x.key == y.key && x.value == y.value })
}

// bindWords are the parameters of bind that change nothing for ebb; the number says how many words follow.
var bindWords = map[string]int{
	"accept-proxy": 0, "backlog": 1, "defer-accept": 0, "id": 1, "guid": 1, "guid-prefix": 1, "maxconn": 1, "name": 1, "nice": 1, "process": 1, "shards": 1,
	"thread": 1, "v4v6": 0, "gid": 1, "group": 1, "uid": 1, "user": 1, "mode": 1, "level": 1, "severity-output": 1, "cc": 1,
}

// bindRefused are those that ebb has not.
var bindRefused = map[string]string{
	"ssl":                  "ebb does not end TLS: with mode tcp and without ssl it passes TLS on to servers that speak it; else keep a proxy for TLS behind ebb",
	"crt":                  "ebb does not end TLS",
	"accept-netscaler-cip": "ebb knows the PROXY protocol: accept-proxy",
	"mss":                  "ebb has no socket options of this kind",
	"tfo":                  "ebb has no TCP Fast Open: leave it out",
	"namespace":            "ebb listens in the network namespace in which it is started",
}

// binds reads the addresses of a proxy.
func (h *haproxy) binds(p *proxy) (list []bind) {
	v4 := make(map[string]bool) // ports of all IPv4 addresses
	for _, l := range p.binds {
		for _, a := range strings.Split(l.arg(1), ",") {
			if port, ok := strings.CutPrefix(strings.TrimPrefix(a, "*"), ":"); ok {
				v4[port] = true
			} else if port, ok := strings.CutPrefix(a, "0.0.0.0:"); ok {
				v4[port] = true
			}
		}
	}
	for _, l := range p.binds {
		proxied, good := false, true
		var options table
		words := l.rest(2)
		for i := 0; i < len(words); i++ {
			switch n, known := bindWords[words[i]]; {
			case words[i] == "v6only" && v4[l.arg(1)[strings.LastIndexByte(l.arg(1), ':')+1:]]: // both families are served
			case words[i] == "v6only" || words[i] == "transparent":
				options.set(l.at, "bind "+words[i], "socket."+words[i], "true")
			case words[i] == "interface" && i+1 < len(words):
				i++
				options.text(l.at, "bind interface", "socket.interface", words[i])
			case words[i] == "tcp-ut" && i+1 < len(words):
				i++
				if d, ok := h.span(line{l.at, []string{"bind tcp-ut"}}, words[i]); ok && d > 0 {
					options.span(l.at, "bind tcp-ut", "socket.user_timeout", max(d, time.Millisecond))
				}
			case known:
				proxied = proxied || words[i] == "accept-proxy"
				i += n
			default:
				why := bindRefused[words[i]]
				if why == "" {
					why = "this import does not know it"
				}
				h.refuse(l.at, "bind "+words[i], "%s", why)
				good = false
				i = len(words) // how many words belong to it is not known
			}
		}
		if !good {
			p.broken = p.broken || slices.Contains(words, "ssl")
			continue
		}
		for _, a := range strings.Split(l.arg(1), ",") {
			address, why := bindAddress(a)
			if why != "" {
				h.refuse(l.at, "bind "+a, "%s", why)
				continue
			}
			list = append(list, bind{l.at, address, proxied, options.entries})
		}
	}
	if len(p.binds) == 0 {
		h.refuse(p.at, p.what(), "it has no bind, and so no address")
	}
	return list
}

// bindAddress is an address as ebb writes it.
func bindAddress(s string) (address, why string) {
	s = strings.TrimPrefix(s, "tcp@")
	if strings.HasPrefix(s, "/") || strings.HasPrefix(s, "unix@") || strings.HasPrefix(s, "abns@") || strings.HasPrefix(s, "uxst@") {
		return "", `unix sockets are not carried over: write listen = "unix:PATH", and who may connect as mode and group of its socket`
	}
	family, rest, ok := strings.Cut(s, "@")
	if ok {
		if !slices.Contains([]string{"ipv4", "ipv6", "tcp4", "tcp6"}, family) {
			return "", "ebb listens on IP addresses"
		}
		s = rest
	}
	i := strings.LastIndexByte(s, ':')
	if i < 0 {
		return "", "the port is missing"
	}
	host, port := strings.Trim(s[:i], "[]"), s[i+1:]
	switch {
	case host == "" && strings.HasSuffix(family, "6"), host == "*" && strings.HasSuffix(family, "6"):
		host = "[::]"
	case host == "" || host == "*":
		host = "0.0.0.0"
	case !isAddress(host):
		return "", "ebb listens on IP addresses, not on names"
	case strings.Contains(host, ":"):
		host = "[" + host + "]"
	}
	return "tcp://" + host + ":" + port, ""
}

// grouped puts together what one listener can serve.
func grouped(list []bind) (groups [][]bind) {
	for _, b := range list {
		i := slices.IndexFunc(groups, func(g []bind) bool { return g[0].like(b) })
		if i < 0 {
			groups = append(groups, nil)
			i = len(groups) - 1
		}
		groups[i] = append(groups[i], b)
	}
	return groups
}

// mergeFamilies makes one address of 0.0.0.0 and [::] with the same port: ebb's [::] is both.
func mergeFamilies(addresses []string) (merged []string) {
	for _, a := range addresses {
		scheme, rest, _ := strings.Cut(a, "://")
		if port, ok := strings.CutPrefix(rest, "0.0.0.0:"); ok && slices.Contains(addresses, scheme+"://[::]:"+port) {
			continue
		}
		if port, ok := strings.CutPrefix(rest, "[::]:"); ok {
			a = scheme + "://:" + port
		}
		if !slices.Contains(merged, a) {
			merged = append(merged, a)
		}
	}
	return merged
}
