package migrate

import (
	"net/netip"
	"slices"
	"strings"
	"time"
)

// poolFor makes a pool of where a server sends to, or gives one that is the same; connects tells that it is for TCP, too. nil
// if there is none.
func (n *nginx) poolFor(d *directive, s settings, connects bool) *pool {
	target := n.literal(d.arg(1), s)
	if strings.Contains(target, "$") {
		n.refuse(d.at, "proxy_pass", "a listener of ebb has one pool, and no variables choose it: give each choice a port, and a listener, of its own")
		return nil
	}
	from, name := d, target
	list := []*directive{{at: d.at, words: []string{"server", target}}}
	if up := n.upstreams[target]; up != nil {
		from, list = up, up.inner
		n.used[target] = true
	} else if host, _, err := hostPort(target); err == nil && host != "" {
		name = host
	}
	p := &pool{table: table{at: from.at, what: printable(strings.Join(from.words, " "))}, name: name}
	resolver, family, refresh := n.resolver(list, s)
	policy, key := "roundrobin", ""
	conns := -1
	for _, d := range list {
		switch d.name() {
		case "server":
			if b := n.backend(d, p, &conns); b != nil {
				if host := b.entries[0].value; !isAddress(strings.Trim(host, `"`)) {
					if family != "" {
						b.text(d.at, "resolver", "family", family)
					}
					if refresh > 0 {
						b.span(d.at, "resolver", "refresh", max(refresh, 100*time.Millisecond))
					}
				}
				p.backends = append(p.backends, b)
			}
		case "least_conn":
			policy = "leastconn"
		case "random":
			policy = "random"
		case "least_time":
			policy = "least_time"
		case "hash":
			switch of := strings.NewReplacer("{", "", "}", "").Replace(d.arg(1)); of {
			case "$remote_addr", "$binary_remote_addr":
				policy = "hash"
			case "$remote_addr$remote_port", "$remote_addr:$remote_port", "$binary_remote_addr$remote_port":
				policy, key = "hash", "source_port"
			case "$server_addr$server_port", "$server_addr:$server_port", "$server_port", "$server_addr":
				policy, key = "hash", "destination"
			case "$ssl_preread_server_name":
				policy, key = "hash", "sni"
			default:
				n.refuse(d.at, "hash", "ebb hashes by the client's address ($remote_addr), with its port, by its own address, or by the name that a client of TLS asks for; found %s", printable(of))
			}
		case "zone", "resolver", "resolver_timeout", "keepalive":
		case "state":
			n.refuse(d.at, "state", "write the servers of that file as [[pool.%s.backend]]", printable(name))
		default:
			n.refuse(d.at, d.name(), "this import does not know it")
		}
	}
	p.text(from.at, "balance", "balance", policy)
	if key != "" {
		p.text(from.at, "hash", "hash_key", key)
	}
	if conns > 0 {
		p.number(from.at, "max_conns", "max_conns", conns)
	}
	if resolver != "" {
		p.text(from.at, "resolver", "resolver", resolver)
	}
	p.datagram = !connects
	for _, other := range n.pools {
		if other.at == p.at && !connects && !other.has("proxy_out") && s.first("proxy_bind") == nil && !other.has("socket.source") {
			return other
		}
	}
	if connects {
		n.connecting(p, s)
	}
	if bind := s.first("proxy_bind"); bind != nil && bind.arg(1) != "off" {
		n.source(p, bind)
	}
	for _, other := range n.pools {
		switch {
		case other.at != p.at:
		case other.datagram && !p.has("proxy_out") && p.has("socket.source") == other.has("socket.source"):
			other.entries, other.datagram = p.entries, false
			return other
		case samePool(other, p):
			return other
		}
	}
	if len(p.backends) > 0 {
		p.name = n.poolNames.fresh(name)
		n.pools = append(n.pools, p)
	}
	return p
}

// samePool tells that two pools of one upstream say the same.
func samePool(a, b *pool) bool {
	return slices.EqualFunc(a.entries, b.entries, func(x, y entry) bool { return x.key == y.key && x.value == y.value }) && len(a.backends) == len(b.backends)
}

// literal puts in what set says, where that is plain text.
func (n *nginx) literal(text string, s settings) string {
	for _, d := range s["set"] {
		name, ok := strings.CutPrefix(d.arg(1), "$")
		if ok && (text == "$"+name || text == "${"+name+"}") {
			return d.arg(2)
		}
	}
	return text
}

// connecting sets what a server says about connects; in ebb a pool has it.
func (n *nginx) connecting(p *pool, s settings) {
	timeout := 60 * time.Second // nginx's
	if d := s.first("proxy_connect_timeout"); d != nil {
		if t, ok := n.span(d); ok && t > 0 {
			timeout = t
			p.span(d.at, d.name(), "connect_timeout", t)
		}
	} else {
		p.span(p.at, "proxy_connect_timeout", "connect_timeout", timeout)
	}
	if d := s.first("proxy_next_upstream_tries"); d != nil {
		if i, ok := n.count(d.at, d.name(), d.arg(1), 0, 100); ok && i > 0 {
			p.number(d.at, d.name(), "connect_attempts", i)
		}
	}
	if d := s.first("proxy_next_upstream"); d != nil && d.arg(1) == "off" {
		p.number(d.at, d.name(), "connect_attempts", 1)
	}
	if d := s.first("proxy_next_upstream_timeout"); d != nil {
		if t, ok := n.span(d); ok && t > timeout {
			p.span(d.at, d.name(), "connect_deadline", t)
		} else if ok && t > 0 {
			n.note(d.at, d.name(), "it is not above proxy_connect_timeout, and left out: connect_deadline of the pool must be")
		}
	}
	if s.on("proxy_protocol") {
		p.text(s.first("proxy_protocol").at, "proxy_protocol", "proxy_out", "v1")
	}
}

// source sets where connections to the servers come from.
func (n *nginx) source(p *pool, d *directive) {
	host, port, err := hostPort(d.arg(1))
	switch {
	case d.arg(1) == "$remote_addr" && d.arg(2) == "transparent":
		p.text(d.at, d.name(), "socket.source", "client")
	case err == nil && port == 0 && isAddress(host) && d.arg(2) == "":
		p.text(d.at, d.name(), "socket.source", host)
	default:
		n.refuse(d.at, d.name(), "ebb knows an address, and $remote_addr with transparent")
	}
}

// backend makes a backend of a server in an upstream; nil if it cannot be carried over.
func (n *nginx) backend(d *directive, p *pool, conns *int) *table {
	what := "server " + printable(d.arg(1))
	b := &table{at: d.at, what: what}
	if strings.HasPrefix(d.arg(1), "unix:") {
		n.refuse(d.at, what, "ebb connects over TCP and UDP, not over unix sockets")
		return nil
	}
	host, port, err := hostPort(d.arg(1))
	if err != nil {
		n.refuse(d.at, what, "%v", err)
		return nil
	}
	b.text(d.at, what, "host", host)
	b.number(d.at, what, "port", port)
	service, limit := "", 0
	weight := func(i int) { b.number(d.at, what, "weight", i) }
	for _, w := range d.rest(2) {
		key, value, _ := strings.Cut(w, "=")
		switch key {
		case "weight":
			if i, ok := n.count(d.at, what+" weight", value, 1, 65535); ok && i != 1 {
				weight(i)
			}
		case "max_conns":
			if i, ok := n.count(d.at, what+" max_conns", value, 0, 10_000_000); ok {
				limit = i
			}
		case "max_fails", "fail_timeout":
			n.note(d.at, key, "ebb takes a peer out for a while after three failed connects in a row, and never the last one; a [pool.NAME.check] finds out earlier")
		case "backup":
			b.number(d.at, what, "tier", 1)
		case "down":
			weight(0)
			n.note(d.at, "down", "the server has weight 0")
		case "resolve":
		case "service":
			if service = value; !strings.Contains(service, ".") {
				service = "_" + service + "._tcp"
			}
		case "slow_start":
			if t, ok := duration(value, time.Second); ok && t > 0 {
				p.span(d.at, what, "slow_start", max(t, time.Millisecond))
			}
		default:
			n.refuse(d.at, what+" "+key, "this import does not know it")
		}
	}
	if *conns >= 0 && *conns != limit {
		n.refuse(d.at, what+" max_conns", "it differs from that of another server, and a pool of ebb has one for all its peers: say the same for all")
	} else {
		*conns = limit
	}
	switch {
	case service != "":
		b.text(d.at, what, "host", service+"."+host)
		b.text(d.at, what, "type", "srv")
		b.drop("weight")
		b.drop("port")
	case port == 0:
		n.refuse(d.at, what, "its port is missing")
		return nil
	}
	return b
}

// resolver makes a resolver of ebb, for an upstream of its own or for stream { }.
func (n *nginx) resolver(list []*directive, s settings) (name, family string, refresh time.Duration) {
	d, wait := s.first("resolver"), s.first("resolver_timeout")
	for _, own := range list {
		switch own.name() {
		case "resolver":
			d = own
		case "resolver_timeout":
			wait = own
		}
	}
	named := slices.ContainsFunc(list, func(d *directive) bool {
		host, _, err := hostPort(d.arg(1))
		return d.name() == "server" && err == nil && !isAddress(host)
	})
	if d == nil || !named {
		return "", "", 0
	}
	r := &resolver{table: table{at: d.at, what: "resolver"}, name: "nginx"}
	var servers []string
	for _, w := range d.rest(1) {
		switch key, value, ok := strings.Cut(w, "="); {
		case ok && key == "valid":
			refresh, _ = duration(value, time.Second)
		case ok && key == "ipv6" && value == "off":
			family = "ipv4"
		case ok && key == "ipv4" && value == "off":
			family = "ipv6"
		case ok && (key == "ipv6" || key == "ipv4" || key == "status_zone"):
		case ok && key == "local":
			servers = append(servers, "system")
		case ok:
			n.refuse(d.at, "resolver "+key, "this import does not know it")
		default:
			url, why := nameserver(w)
			if why != "" {
				n.refuse(d.at, "resolver", "%s", why)
				continue
			}
			servers = append(servers, url)
		}
	}
	if len(servers) == 0 {
		return "", family, refresh
	}
	r.texts(d.at, "resolver", "servers", slices.Compact(servers))
	if len(servers) > 1 {
		r.text(d.at, "resolver", "strategy", "rotate")
	}
	if wait != nil {
		if t, ok := n.span(wait); ok && t > 0 {
			r.span(wait.at, wait.name(), "deadline", t)
			if t < time.Second {
				r.span(wait.at, wait.name(), "attempt_timeout", t)
			}
		}
	}
	for _, other := range n.resolvers {
		if slices.EqualFunc(other.entries, r.entries, func(x, y entry) bool { return x.key == y.key && x.value == y.value }) {
			return other.name, family, refresh
		}
	}
	r.name = n.resolverNames.fresh("nginx")
	n.resolvers = append(n.resolvers, r)
	return r.name, family, refresh
}

// listenAddress is an address of nginx as ebb writes it, without a scheme.
func listenAddress(s string) (address, why string) {
	if strings.HasPrefix(s, "unix:") {
		return "", `unix sockets are not carried over: write listen = "unix:PATH", and who may connect as mode and group of its socket`
	}
	host, port := "0.0.0.0", s
	if i := strings.LastIndexByte(s, ':'); i >= 0 && !strings.HasSuffix(s, "]") {
		host, port = s[:i], s[i+1:]
	}
	if first, _, _ := strings.Cut(port, "-"); first == "" || strings.Trim(first, "0123456789") != "" {
		return "", "the port is missing"
	}
	switch inner := strings.Trim(host, "[]"); {
	case host == "*":
		host = "0.0.0.0"
	case host == "localhost":
		host = "127.0.0.1"
	case !isAddress(inner):
		return "", "ebb listens on IP addresses, not on names"
	default:
		if a, err := netip.ParseAddr(inner); err == nil && a.Is6() {
			host = "[" + inner + "]"
		}
	}
	return host + ":" + port, ""
}

// portName is what a listener without a better name is called.
func portName(network, address string) string {
	return network + "-" + address[strings.LastIndexByte(address, ':')+1:]
}
