package migrate

import (
	"slices"
	"strings"
	"time"
)

// listen is one address of a server.
type listen struct {
	at      place
	network string
	address string
	proxied bool
}

// listenQuiet change nothing for ebb, which has one socket for each address.
var listenQuiet = []string{"reuseport", "backlog", "bind", "deferred", "so_keepalive", "fastopen", "rcvbuf", "sndbuf", "ipv6only", "setfib", "accept_filter", "multipath"}

// server makes listeners of a server: one for each protocol.
func (n *nginx) server(d *directive, s settings) {
	pass := s.first("proxy_pass")
	if pass == nil {
		n.refuse(d.at, "server", "it has no proxy_pass, and is left out")
		return
	}
	listens, closed := n.listens(s)
	allow, deny, from, ok := n.access(s)
	if preread := s.first("ssl_preread"); preread != nil && preread.arg(1) == "on" && strings.Contains(pass.arg(1), "$") {
		n.refuse(preread.at, "ssl_preread", "ebb looks at no bytes of a session: give each name a port, and a listener, of its own")
	}
	if len(listens) == 0 {
		n.refuse(d.at, "server", "it has no listen that could be carried over")
		return
	}
	if closed || !ok {
		n.refuse(d.at, "server", "it is left out: without what is refused it would let in, or send on, what it must not")
		return
	}
	p := n.poolFor(pass, s, slices.ContainsFunc(listens, func(l listen) bool { return l.network == "tcp" }))
	if p == nil {
		n.refuse(d.at, "server", "it is left out, because what it sends to is")
		return
	}
	for _, network := range []string{"tcp", "udp"} {
		for _, proxied := range []bool{false, true} {
			var addresses []string
			for _, l := range listens {
				if l.network == network && l.proxied == proxied {
					addresses = append(addresses, network+"://"+l.address)
				}
			}
			if len(addresses) == 0 {
				continue
			}
			name := p.name
			if n.listenerNames.taken[name] {
				name = portName(network, addresses[0])
			}
			l := &listener{table: table{at: d.at, what: "server"}, name: n.listenerNames.fresh(name), pool: p.name}
			l.text(d.at, "server", "name", l.name)
			if alone(addresses) {
				l.texts(d.at, "listen", "listen", addresses)
				l.set(d.at, "listen", "socket.v6only", "true")
			} else {
				l.texts(d.at, "listen", "listen", mergeFamilies(addresses))
			}
			l.text(pass.at, "proxy_pass", "pool", p.name)
			n.limits(l, s)
			n.times(l, s, network)
			if proxied {
				n.proxied(l, s)
			}
			if len(allow) > 0 {
				l.texts(from.at, from.name(), "allow", allow)
			}
			if len(deny) > 0 {
				l.texts(from.at, from.name(), "deny", deny)
			}
			n.listeners = append(n.listeners, l)
		}
	}
}

// alone tells that there is all of IPv6 and not the same of IPv4: nginx's [::] is IPv6 alone, and ebb's is both families.
func alone(addresses []string) bool {
	return slices.ContainsFunc(addresses, func(a string) bool {
		scheme, port, all := strings.Cut(a, "://[::]:")
		return all && !slices.Contains(addresses, scheme+"://0.0.0.0:"+port)
	})
}

// listens reads the addresses of a server. closed tells that one of them must not be served without what ebb lacks.
func (n *nginx) listens(s settings) (list []listen, closed bool) {
	for _, l := range s["listen"] {
		address, why := listenAddress(l.arg(1))
		if why != "" {
			n.refuse(l.at, "listen", "%s", why)
			continue
		}
		at := listen{l.at, "tcp", address, false}
		for _, w := range l.rest(2) {
			key, _, _ := strings.Cut(w, "=")
			switch {
			case w == "udp":
				at.network = "udp"
			case w == "proxy_protocol":
				at.proxied = true
			case w == "ssl":
				n.refuse(l.at, "listen ssl", "ebb does not end TLS: without ssl it passes TLS on to servers that speak it; else keep nginx for TLS behind ebb")
				closed = true
			case slices.Contains(listenQuiet, key):
			default:
				n.refuse(l.at, "listen "+w, "this import does not know it")
			}
		}
		list = append(list, at)
	}
	return list, closed
}

// access turns allow and deny into lists; from is the first of them.
func (n *nginx) access(s settings) (allow, deny []string, from *directive, ok bool) {
	var rules []rule
	for _, d := range s["allow"] {
		r := rule{accept: d.name() == "allow"}
		if d.arg(1) != "all" {
			r.of = []string{d.arg(1)}
		}
		rules = append(rules, r)
	}
	allow, deny, why := access(rules)
	if why != "" {
		n.refuse(s["allow"][0].at, s["allow"][0].name(), "%s", why)
		return nil, nil, nil, false
	}
	return allow, deny, s.first("allow"), true
}

// limits reads limit_conn.
func (n *nginx) limits(l *listener, s settings) {
	for _, d := range s["limit_conn"] {
		i, ok := n.count(d.at, "limit_conn", d.arg(2), 1, 10_000_000)
		if !ok {
			continue
		}
		switch of := n.zones[d.arg(1)]; of {
		case "$binary_remote_addr", "$remote_addr":
			l.number(d.at, "limit_conn", "source_max_conns", i)
			l.number(d.at, "limit_conn", "source_prefix_ipv6", 128)
		case "$server_addr", "$server_port", "$server_name":
			l.number(d.at, "limit_conn", "max_conns", i)
		default:
			n.refuse(d.at, "limit_conn", "ebb counts sessions by the client's address and by listener; the zone %s counts by %q", printable(d.arg(1)), printable(of))
		}
	}
}

// times sets what ends sessions and flows. nginx ends what is quiet for ten minutes if nobody says otherwise.
func (n *nginx) times(l *listener, s settings, network string) {
	at, idle := l.at, 10*time.Minute
	if d := s.first("proxy_timeout"); d != nil {
		if t, ok := n.span(d); ok && t > 0 {
			at, idle = d.at, t
		}
	}
	l.span(at, "proxy_timeout", "idle_timeout", idle)
	if network == "tcp" {
		if s.on("proxy_half_close") {
			l.span(s.first("proxy_half_close").at, "proxy_half_close", "half_close_timeout", idle)
		}
		return
	}
	responses, requests := s.first("proxy_responses"), s.first("proxy_requests")
	if responses != nil {
		switch i, ok := n.count(responses.at, responses.name(), responses.arg(1), 0, 1_000_000); {
		case ok && i == 0:
			l.text(responses.at, responses.name(), "mode", "oneway")
		case ok:
			l.text(responses.at, responses.name(), "mode", "reqresp")
			l.number(responses.at, responses.name(), "responses", i)
		}
	}
	if requests != nil {
		if i, ok := n.count(requests.at, requests.name(), requests.arg(1), 0, 1_000_000); ok && i > 0 {
			if !l.has("mode") {
				l.text(requests.at, requests.name(), "mode", "reqresp")
				l.text(requests.at, requests.name(), "responses", "off")
			}
			l.number(requests.at, requests.name(), "requests", i)
		}
	}
}

// proxied sets who may say who the client is. nginx believes everybody as far as the header's presence goes, and
// set_real_ip_from as far as the address goes.
func (n *nginx) proxied(l *listener, s settings) {
	var who []string
	at := l.at
	for _, d := range s["set_real_ip_from"] {
		at = d.at
		if p, ok := prefix(d.arg(1)); ok {
			who = append(who, short(p))
		} else {
			n.refuse(d.at, d.name(), "found %q, expected an address or a prefix", printable(d.arg(1)))
		}
	}
	if len(who) == 0 {
		who = []string{"0.0.0.0/0", "::/0"}
		n.note(at, "listen proxy_protocol", "everybody's header is believed: write into proxy_in who is in front of ebb")
	}
	l.texts(at, "listen proxy_protocol", "proxy_in", who)
	if d := s.first("proxy_protocol_timeout"); d != nil {
		if t, ok := n.span(d); ok && t > 0 {
			l.span(d.at, d.name(), "preread_timeout", t)
		}
	} else {
		l.span(l.at, "proxy_protocol_timeout", "preread_timeout", 30*time.Second)
	}
}
