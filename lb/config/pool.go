package config

import (
	"slices"
	"strings"
)

func readPools(c *Config, v value) {
	entries, _ := v.table()
	v.src.pools = make(map[string]value)
	v.src.waiting, v.src.proxied, v.src.connecting = make(map[string]value), make(map[string]value), make(map[string]value)
	c.Pools = make([]Pool, len(entries))
	for i, e := range entries {
		p := &c.Pools[i]
		*p = unset.Pools[0]
		p.Backends, p.Check = nil, nil
		e.named("pool")
		p.Name = strings.Clone(e.key)
		readTable(e, poolKeys, p)
		checkWaiting(e, p)
		checkConnect(e, p)
		if p.ProxyOut != "off" {
			v.src.proxied[p.Name] = e.written("proxy_out")
		}
		v.src.pools[p.Name] = e
		if p.MaxConnecting > 0 {
			v.src.connecting[p.Name] = e.written("max_connecting")
		}
	}
}

// checkConnect refuses a deadline that would leave no attempt its time, so that none was ever the peer's failure.
func checkConnect(v value, p *Pool) {
	if p.ConnectDeadline > 0 && p.ConnectDeadline <= p.ConnectTimeout && v.sound("connect_deadline", "connect_timeout") {
		deadline := v.written("connect_deadline")
		deadline.fail("found %s for all attempts, but connect_timeout is %s for one, expected more", deadline.found(), Brief(p.ConnectTimeout))
	}
}

// choosePolicies gives pools that do not say how they balance their default, which depends on who sends to them: hash if
// that is UDP and nothing else.
func (s *source) choosePolicies(c *Config) {
	tcp, udp := make(map[string]bool), make(map[string]bool)
	for _, l := range c.Listeners {
		for _, e := range l.Listen {
			tcp[l.Pool], udp[l.Pool] = tcp[l.Pool] || e.Network == "tcp", udp[l.Pool] || e.Network == "udp"
		}
	}
	for i := range c.Pools {
		p := &c.Pools[i]
		v := s.pools[p.Name]
		if !v.has("balance") && udp[p.Name] && !tcp[p.Name] {
			p.Balance = "hash"
		}
		checkHash(v, p)
	}
}

// checkHashKeys refuses keys that a listener's clients cannot have, and a time to wait for what nobody waits for.
func (s *source) checkHashKeys(c *Config) {
	keys := make(map[string]string)
	for _, p := range c.Pools {
		switch {
		case !s.pools[p.Name].sound("balance", "hash_key"):
		case p.Balance == "hash":
			keys[p.Name] = p.HashKey
		default:
			keys[p.Name] = ""
		}
	}
	for _, l := range c.Listeners {
		key, known := keys[l.Pool]
		v := s.pools[l.Pool].written("hash_key")
		if key == "sni" && slices.ContainsFunc(l.Listen, func(e Endpoint) bool { return e.Network != "tcp" }) {
			v.fail("found \"sni\", but listener %q is not tcp:// only: elsewhere no ClientHello is waited for", l.Name)
		}
		if key == "proxy_source" && len(l.ProxyIn) == 0 {
			v.fail("found \"proxy_source\", but listener %q has no proxy_in, expected it: its clients say nothing of whose they are", l.Name)
		}
		if timeout, waits := s.preread[l.Name]; waits && known && key != "sni" {
			timeout.fail("found without proxy_in and without a pool with hash_key = \"sni\", expected one of them: nothing else is read before the session begins")
		}
	}
}

// checkHash refuses what only hash goes by, with another policy, and prefixes of what is no client's address.
func checkHash(v value, p *Pool) {
	usual := &unset.Pools[0]
	prefixes := p.HashPrefixIPv4 != usual.HashPrefixIPv4 || p.HashPrefixIPv6 != usual.HashPrefixIPv6
	if p.Balance == "hash" {
		if prefixes && (p.HashKey == "source_port" || p.HashKey == "destination") && v.sound("hash_key", "hash_prefix_ipv4", "hash_prefix_ipv6") {
			v.written("hash_prefix_ipv4", "hash_prefix_ipv6").fail("found with hash_key %q, which has no use for it, expected with hash_key \"source\"", p.HashKey)
		}
		return
	}
	for _, unused := range []struct {
		key    string
		differ bool
	}{
		{"hash_key", p.HashKey != usual.HashKey},
		{"hash_prefix_ipv4", p.HashPrefixIPv4 != usual.HashPrefixIPv4},
		{"hash_prefix_ipv6", p.HashPrefixIPv6 != usual.HashPrefixIPv6},
		{"bounded", p.Bounded != usual.Bounded},
	} {
		if unused.differ && v.sound("balance", unused.key) {
			v.written(unused.key).fail("found with balance %q, which has no use for it, expected with balance \"hash\"", p.Balance)
		}
	}
}

// checkWaiting refuses a queue that nobody would ever be in, and notes pools whose clients may wait.
func checkWaiting(v value, p *Pool) {
	queue := v.written("queue")
	limits := []string{"max_conns", "pool_max_conns", "max_connecting", "connect_rate"}
	if p.Queue > 0 && p.MaxConns+p.PoolMaxConns+p.MaxConnecting+p.ConnectRate == 0 && v.sound(append(limits, "queue")...) {
		queue.fail("found a queue without a limit, expected one of %s: nobody waits where there is none", strings.Join(limits, ", "))
	}
	if p.Queue > 0 || p.WhenNone == "hold" {
		v.src.waiting[p.Name] = queue
		if p.Queue == 0 {
			v.src.waiting[p.Name] = v.written("when_none")
		}
	}
}

// checkPoolsUDP refuses, where clients are UDP, pools whose clients may wait: a datagram cannot. It refuses those with the
// PROXY protocol, too.
func (s *source) checkPoolsUDP(c *Config) {
	for _, l := range c.Listeners {
		if !slices.ContainsFunc(l.Listen, func(e Endpoint) bool { return e.Network == "udp" }) {
			continue
		}
		if v, waits := s.waiting[l.Pool]; waits {
			v.fail("found %s, but listener %q is UDP, expected TCP only: a datagram cannot wait", v.found(), l.Name)
		}
		if v, connecting := s.connecting[l.Pool]; connecting {
			v.fail("found %s, but listener %q is UDP, expected TCP only: nobody accepts a datagram", v.found(), l.Name)
		}
		if v, proxied := s.proxied[l.Pool]; proxied {
			v.fail("found %s, but listener %q is UDP, expected TCP only: there is no header for datagrams in this version", v.found(), l.Name)
		}
	}
}

func readResolverOf(p *Pool, v value) {
	const expected = "the name of a resolver"
	if s, ok := v.text(expected); ok {
		p.Resolver = s
		v.src.resolverRef = append(v.src.resolverRef, reference{v, s})
	}
}
