package config

import (
	"cmp"
	"time"
)

// The table of keys: what may stand where, what it fills, and what has a name but no function in this version. A key
// that is missing here is unknown. config.example.toml shows each that is accepted, which a test proves.

// key is one key of a table that fills a T.
type key[T any] struct {
	name string
	read func(*T, value) // nil: refused
	why  string          // it is refused; "": not in this version
	need string          // what is expected if the key is missing; "" if it may be
}

var topKeys = []key[Config]{
	{name: "admin", read: readAdmin},
	{name: "log", read: readLog},
	{name: "relay", read: func(c *Config, v value) { readTable(v, relayKeys, &c.Relay) }},
	{name: "shutdown_delay", read: func(c *Config, v value) { v.duration(&c.ShutdownDelay, 0, "") }},
	{name: "shutdown_timeout", read: func(c *Config, v value) { v.duration(&c.ShutdownTimeout, 0, "") }},
	{name: "resolver", read: readResolvers},
	{name: "listener", read: readListeners},
	{name: "pool", read: readPools},
	{name: "state_file", read: func(c *Config, v value) { v.file(&c.StateFile, "off") }},
}

var logKeys = []key[Log]{
	{name: "level", read: func(l *Log, v value) { v.word(&l.Level, "debug info warn error", "") }},
	{name: "format", read: func(l *Log, v value) { v.word(&l.Format, "auto text json", "") }},
	{name: "target", read: func(l *Log, v value) { v.logTarget(&l.Target) }},
	{name: "access", read: func(l *Log, v value) { v.word(&l.Access, "close all off", "") }},
	{name: "progress", read: func(l *Log, v value) { v.duration(&l.Progress, time.Second, "off") }},
}

var relayKeys = []key[Relay]{
	{name: "engine", read: func(r *Relay, v value) { v.word(&r.Engine, "auto uring epoll portable", "") }},
	{name: "loops", read: func(r *Relay, v value) { v.int(&r.Loops, 1, 1024, "auto") }},
}

var resolverKeys = []key[Resolver]{
	{name: "servers", read: func(r *Resolver, v value) { v.servers(&r.Servers) }},
	{name: "strategy", read: func(r *Resolver, v value) { v.word(&r.Strategy, "failover rotate race", "") }},
	{name: "attempt_timeout", read: func(r *Resolver, v value) { v.duration(&r.AttemptTimeout, time.Millisecond, "") }},
	{name: "attempts", read: func(r *Resolver, v value) { v.int(&r.Attempts, 1, 10, "") }},
	{name: "deadline", read: func(r *Resolver, v value) { v.duration(&r.Deadline, time.Millisecond, "") }},
	{name: "edns_size", read: func(r *Resolver, v value) { v.int(&r.EDNSSize, 512, 4096, "") }},
	{name: "case_randomization", read: func(r *Resolver, v value) { v.bool(&r.CaseRandomization) }},
	{name: "ca_file", read: func(r *Resolver, v value) { v.file(&r.CAFile, "system") }},
	{name: "hosts_file", read: func(r *Resolver, v value) { v.file(&r.HostsFile, "off") }},
	{name: "search"},
}

var listenerKeys = []key[Listener]{
	{name: "name", read: func(l *Listener, v value) { v.name(&l.Name) }, need: "a name"},
	{name: "listen", read: func(l *Listener, v value) { v.listen(&l.Listen) }, need: "an address such as \"tcp://0.0.0.0:5432\", or a list of them"},
	{name: "pool", read: readPoolOf, need: "the name of a pool"},
	{name: "max_conns", read: func(l *Listener, v value) { v.int(&l.MaxConns, 1, maxConns, "off") }},
	{name: "idle_timeout", read: readIdleTimeout},
	{name: "half_close_timeout", read: func(l *Listener, v value) { v.duration(&l.HalfCloseTimeout, time.Millisecond, "off") }},
	{name: "max_age", read: func(l *Listener, v value) { v.duration(&l.MaxAge, time.Millisecond, "off") }},
	{name: "datapath", read: func(l *Listener, v value) { v.word(&l.Datapath, "relay", "kernel") }},
	{name: "allow", read: func(l *Listener, v value) { l.Allow = readAccess(v) }},
	{name: "deny", read: func(l *Listener, v value) { l.Deny = readAccess(v) }},
	{name: "accept_rate", read: func(l *Listener, v value) { v.int(&l.AcceptRate, 1, 1_000_000, "off") }},
	{name: "source_max_conns", read: func(l *Listener, v value) { v.int(&l.SourceMaxConns, 1, maxConns, "off") }},
	{name: "source_rate", read: func(l *Listener, v value) { v.int(&l.SourceRate, 1, 1_000_000, "off") }},
	{name: "source_prefix_ipv4", read: func(l *Listener, v value) { v.int(&l.SourcePrefixIPv4, 1, 32, "") }},
	{name: "source_prefix_ipv6", read: func(l *Listener, v value) { v.int(&l.SourcePrefixIPv6, 1, 128, "") }},
	{name: "mode", read: func(l *Listener, v value) { v.word(&l.Mode, "session reqresp oneway", "") }},
	{name: "responses", read: func(l *Listener, v value) { v.int(&l.Responses, 1, maxDatagrams, "off") }},
	{name: "requests", read: func(l *Listener, v value) { v.int(&l.Requests, 1, maxDatagrams, "off") }},
	{name: "max_flows_per_source", read: func(l *Listener, v value) { v.int(&l.MaxFlowsPerSource, 1, maxConns, "off") }},
	{name: "quic_id_length", read: func(l *Listener, v value) { v.int(&l.QUICIDLength, 1, 20, "off") }},
	{name: "quic_server_length", read: func(l *Listener, v value) { v.int(&l.QUICServerLength, 1, 19, "off") }},
	{name: "pass_ecn", read: func(l *Listener, v value) { v.bool(&l.PassECN) }},
	{name: "pass_dscp", read: func(l *Listener, v value) { v.bool(&l.PassDSCP) }},
	{name: "proxy_in", read: func(l *Listener, v value) { l.ProxyIn = readAccess(v) }},
	{name: "preread_timeout", read: func(l *Listener, v value) { v.duration(&l.PrereadTimeout, time.Millisecond, "") }},
	{name: "socket", read: func(l *Listener, v value) { readSocket(v, clientSocketKeys, &l.Socket, &l.Socket.Socket) }},
}

var poolKeys = []key[Pool]{
	{name: "balance", read: func(p *Pool, v value) {
		v.word(&p.Balance, "leastconn roundrobin random first sticky hash least_time", "")
	}},
	{name: "hash_key", read: func(p *Pool, v value) {
		v.word(&p.HashKey, "source source_port destination sni proxy_source", "")
	}},
	{name: "hash_prefix_ipv4", read: func(p *Pool, v value) { v.int(&p.HashPrefixIPv4, 1, 32, "") }},
	{name: "hash_prefix_ipv6", read: func(p *Pool, v value) { v.int(&p.HashPrefixIPv6, 1, 128, "") }},
	{name: "bounded", read: func(p *Pool, v value) { v.factor(&p.Bounded, 1, 100, "off") }},
	{name: "resolver", read: readResolverOf},
	{name: "connect_timeout", read: func(p *Pool, v value) { v.duration(&p.ConnectTimeout, time.Millisecond, "") }},
	{name: "connect_attempts", read: func(p *Pool, v value) { v.int(&p.ConnectAttempts, 1, 100, "") }},
	{name: "connect_deadline", read: func(p *Pool, v value) { v.duration(&p.ConnectDeadline, time.Millisecond, "off") }},
	{name: "first_byte_timeout", read: func(p *Pool, v value) { v.duration(&p.FirstByteTimeout, time.Millisecond, "off") }},
	{name: "proxy_out", read: func(p *Pool, v value) { v.word(&p.ProxyOut, "off v1 v2", "") }},
	{name: "max_conns", read: func(p *Pool, v value) { v.int(&p.MaxConns, 1, maxConns, "off") }},
	{name: "pool_max_conns", read: func(p *Pool, v value) { v.int(&p.PoolMaxConns, 1, maxConns, "off") }},
	{name: "max_connecting", read: func(p *Pool, v value) { v.int(&p.MaxConnecting, 1, maxConns, "off") }},
	{name: "connect_rate", read: func(p *Pool, v value) { v.int(&p.ConnectRate, 1, maxConns, "off") }},
	{name: "queue", read: func(p *Pool, v value) { v.int(&p.Queue, 1, maxConns, "off") }},
	{name: "queue_timeout", read: func(p *Pool, v value) { v.duration(&p.QueueTimeout, time.Millisecond, "") }},
	{name: "when_none", read: func(p *Pool, v value) { v.word(&p.WhenNone, "refuse hold", "") }},
	{name: "hold_timeout", read: func(p *Pool, v value) { v.duration(&p.HoldTimeout, time.Millisecond, "") }},
	{name: "hold_max", read: func(p *Pool, v value) { v.int(&p.HoldMax, 1, maxConns, "") }},
	{name: "refuse_with", read: func(p *Pool, v value) { v.word(&p.RefuseWith, "reset fin postgres mysql redis", "") }},
	{name: "drain_timeout", read: func(p *Pool, v value) { v.duration(&p.DrainTimeout, time.Millisecond, "off") }},
	{name: "quiet_time", read: func(p *Pool, v value) { v.duration(&p.QuietTime, time.Millisecond, "") }},
	{name: "close_rate", read: func(p *Pool, v value) { v.int(&p.CloseRate, 1, maxConns, "off") }},
	{name: "min_up", read: func(p *Pool, v value) { v.int(&p.MinUp, 1, 65535, "") }},
	{name: "failback", read: func(p *Pool, v value) { v.failback(&p.Failback) }},
	{name: "slow_start", read: func(p *Pool, v value) { v.duration(&p.SlowStart, time.Millisecond, "off") }},
	{name: "socket", read: func(p *Pool, v value) { readSocket(v, peerSocketKeys, &p.Socket, &p.Socket.Socket) }},
	{name: "on", read: func(p *Pool, v value) { readTable(v, onKeys, &p.On) }},
	{name: "backend", read: readBackends, need: "at least one backend"},
	{name: "check", read: readCheck},
}

const onWords = "keep drain quiet close"

var onKeys = []key[On]{
	{name: "dead", read: func(o *On, v value) { v.word(&o.Dead, onWords, "") }},
	{name: "role_lost", read: func(o *On, v value) { v.word(&o.RoleLost, onWords, "") }},
	{name: "degraded", read: func(o *On, v value) { v.word(&o.Degraded, onWords, "") }},
	{name: "removed", read: func(o *On, v value) { v.word(&o.Removed, onWords, "") }},
	{name: "admin_drain", read: func(o *On, v value) { v.word(&o.AdminDrain, onWords, "") }},
	{name: "admin_maint", read: func(o *On, v value) { v.word(&o.AdminMaint, onWords, "") }},
	{name: "failback", read: func(o *On, v value) { v.word(&o.Failback, onWords, "") }},
}

var backendKeys = []key[Backend]{
	{name: "host", read: func(b *Backend, v value) { v.host(&b.Host) }, need: "a DNS name or an IP address"},
	{name: "port", read: func(b *Backend, v value) { v.int(&b.Port, 1, 65535, "") }}, // needed, unless SRV records give it
	{name: "type", read: func(b *Backend, v value) { v.word(&b.Type, "addr srv", "") }},
	{name: "weight", read: func(b *Backend, v value) { v.int(&b.Weight, 0, 65535, "") }},
	{name: "tier", read: func(b *Backend, v value) { v.int(&b.Tier, 0, 65535, "") }},
	{name: "family", read: func(b *Backend, v value) {
		v.word(&b.Family, "auto ipv4 ipv6 both prefer_ipv4 prefer_ipv6", "")
	}},
	{name: "refresh", read: func(b *Backend, v value) { v.duration(&b.Refresh, minRefresh, "ttl") }},
	{name: "min_refresh", read: func(b *Backend, v value) { v.duration(&b.MinRefresh, minRefresh, "") }},
	{name: "max_refresh", read: func(b *Backend, v value) { v.duration(&b.MaxRefresh, minRefresh, "") }},
	{name: "on_empty", read: func(b *Backend, v value) { v.word(&b.OnEmpty, "hold keep remove", "") }},
	{name: "empty_hold", read: func(b *Backend, v value) { v.duration(&b.EmptyHold, 0, "") }},
	{name: "on_error", read: func(b *Backend, v value) { v.word(&b.OnError, "keep remove", "") }},
	{name: "max_stale", read: func(b *Backend, v value) { v.duration(&b.MaxStale, time.Second, "off") }},
	{name: "absent_hold", read: func(b *Backend, v value) { v.duration(&b.AbsentHold, 0, "") }},
	{name: "allow_answers", read: readAllowAnswers},
	{name: "mode"},
}

const (
	maxConns     = 10_000_000
	maxDatagrams = 1_000_000              // that a mode of UDP counts
	minRefresh   = 100 * time.Millisecond // of one name: DNS servers are not ours alone
	minInterval  = 10 * time.Millisecond  // of checks
)

// readTable fills into from a table: every known key is read, all others are refused.
func readTable[T any](v value, keys []key[T], into *T) bool {
	entries, ok := v.table()
	if !ok {
		return false
	}
	for _, e := range entries {
		k := find(keys, e.key)
		switch {
		case k == nil:
			e.unknown(known(keys), e.key)
		case k.read == nil:
			e.fail("%s", cmp.Or(k.why, notYet))
		default:
			k.read(into, e)
		}
	}
	for i := range keys {
		if k := &keys[i]; k.need != "" && !v.has(k.name) {
			v.child(k.name, nil).fail("missing, expected %s", k.need)
		}
	}
	return true
}

func find[T any](keys []key[T], name string) *key[T] {
	for i := range keys {
		if keys[i].name == name {
			return &keys[i]
		}
	}
	return nil
}

func known[T any](keys []key[T]) []string {
	var names []string
	for _, k := range keys {
		if k.read != nil {
			names = append(names, k.name)
		}
	}
	return names
}
