package config

import (
	"slices"
	"time"
)

func readListeners(c *Config, v value) {
	seen := make(map[string]place)
	v.src.preread = make(map[string]value)
	entries := v.tables("[[listener]]")
	c.Listeners = make([]Listener, 0, len(entries))
	v.src.listens = slices.Grow(v.src.listens, len(entries))
	for _, e := range entries {
		n := len(c.Listeners)
		c.Listeners = append(c.Listeners, unset.Listeners[0])
		l := &c.Listeners[n]
		first := len(v.src.listens)
		if !readTable(e, listenerKeys, l) {
			c.Listeners = c.Listeners[:n]
			continue
		}
		for i := range v.src.listens[first:] {
			v.src.listens[first+i].v6only = l.Socket.V6Only
		}
		checkUDP(e, l)
		checkAccess(e, l)
		checkSources(e, l)
		checkProxyIn(e, l)
		checkMode(e, l)
		checkSocketNetworks(e, l)
		name := e.written("name")
		if first, twice := seen[l.Name]; twice {
			name.fail("found %q again, first %s, expected a name of its own", l.Name, first)
		} else if l.Name != "" {
			seen[l.Name] = name.at
		}
	}
}

// checkUDP refuses a UDP listener whose flows would never end: nothing but idle_timeout ends them. With TCP beside it,
// "off" is for TCP, and UDP has its default.
func checkUDP(v value, l *Listener) {
	if len(l.Listen) == 0 || slices.ContainsFunc(l.Listen, func(e Endpoint) bool { return e.Network != "udp" }) {
		return
	}
	idle := v.written("idle_timeout")
	if off, _ := idle.raw.(string); off == "off" {
		idle.unexpected("a duration such as \"1m\": nothing else ends a UDP flow")
	}
	if l.MaxAge > 0 {
		v.written("max_age").fail("found on a listener that is UDP, expected idle_timeout: that ends a UDP flow")
	}
}

// checkProxyIn refuses a PROXY header where there are only datagrams to put it in, and notes who says how long to wait for none.
func checkProxyIn(v value, l *Listener) {
	udp := slices.ContainsFunc(l.Listen, func(e Endpoint) bool { return e.Network == "udp" })
	switch {
	case len(l.ProxyIn) > 0 && udp:
		v.written("proxy_in").fail("found on a listener that is UDP, expected TCP only: there is no header for datagrams in this version")
	case len(l.ProxyIn) == 0 && l.PrereadTimeout != unset.Listeners[0].PrereadTimeout && v.sound("proxy_in", "preread_timeout"):
		v.src.preread[l.Name] = v.written("preread_timeout")
	}
}

// checkMode refuses keys for UDP that the listener has no use for, unless they say what holds anyway.
func checkMode(v value, l *Listener) {
	if !v.sound("listen", "mode", "responses", "requests", "max_flows_per_source", "quic_id_length", "quic_server_length", "pass_ecn", "pass_dscp") {
		return
	}
	udp := slices.ContainsFunc(l.Listen, func(e Endpoint) bool { return e.Network == "udp" })
	usual := &unset.Listeners[0]
	switch {
	case !udp && l.Mode != usual.Mode:
		v.written("mode").fail("found %q on a listener without UDP, expected a udp:// address or no mode", l.Mode)
	case !udp && l.MaxFlowsPerSource != usual.MaxFlowsPerSource:
		v.written("max_flows_per_source").fail("found on a listener without UDP, expected a udp:// address")
	case !udp && (l.PassECN || l.PassDSCP):
		v.written("pass_ecn", "pass_dscp").fail("found on a listener without UDP, expected a udp:// address: TCP has its own on either side")
	case l.Mode != "reqresp" && l.Responses != usual.Responses:
		v.written("responses").fail("found with mode %q, which has no use for it, expected with mode \"reqresp\"", l.Mode)
	case !udp && l.QUICIDLength != usual.QUICIDLength:
		v.written("quic_id_length").fail("found on a listener without UDP, expected a udp:// address")
	case l.Mode != "session" && l.QUICIDLength != usual.QUICIDLength:
		v.written("quic_id_length").fail("found with mode %q, expected with mode \"session\": QUIC is no requests and responses", l.Mode)
	case l.QUICServerLength >= max(l.QUICIDLength, 1):
		v.written("quic_server_length").fail("found %d with quic_id_length %d, expected less: the first byte of an id is not the server's", l.QUICServerLength, l.QUICIDLength)
	case l.Mode == "session" && l.Requests != usual.Requests:
		v.written("requests").fail("found with mode %q, which has no use for it, expected with mode \"reqresp\" or \"oneway\"", l.Mode)
	}
}

// readIdleTimeout reads one key for two fields: TCP sessions may idle for ever, UDP flows may not.
func readIdleTimeout(l *Listener, v value) {
	v.duration(&l.IdleTimeout, time.Millisecond, "off")
	if l.IdleTimeout > 0 {
		l.UDPIdleTimeout = l.IdleTimeout
	}
}

// checkSources refuses a length of prefixes that nothing is counted by.
func checkSources(v value, l *Listener) {
	of := &unset.Listeners[0]
	same := l.SourcePrefixIPv4 == of.SourcePrefixIPv4 && l.SourcePrefixIPv6 == of.SourcePrefixIPv6
	if !same && l.SourceMaxConns == 0 && l.SourceRate == 0 && v.sound("source_max_conns", "source_rate") {
		v.written("source_prefix_ipv4", "source_prefix_ipv6").fail("found without source_max_conns and source_rate, expected beside one of them")
	}
}

func readPoolOf(l *Listener, v value) {
	const expected = "the name of a pool"
	if s, ok := v.text(expected); ok {
		l.Pool = s
		v.src.poolRef = append(v.src.poolRef, reference{v, s})
	}
}
