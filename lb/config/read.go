package config

import (
	"cmp"
	"net/netip"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// read makes the Config that a tree describes.
func read(root value) *Config {
	c := defaults()
	c.Resolvers, c.Listeners, c.Pools = nil, nil, nil
	readTable(root, topKeys, &c)
	if !slices.ContainsFunc(c.Resolvers, func(r Resolver) bool { return r.Name == "default" }) {
		c.Resolvers = append(c.Resolvers, defaults().Resolvers[0])
	}
	slices.SortFunc(c.Resolvers, func(a, b Resolver) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Pools, func(a, b Pool) int { return cmp.Compare(a.Name, b.Name) })
	root.src.checkNames(&c)
	root.src.checkListens(&c)
	return &c
}

func readResolvers(c *Config, v value) {
	names, entries, _ := v.table()
	for _, name := range names {
		r := defaults().Resolvers[0]
		entries[name].named("resolver", name)
		r.Name = name
		readResolver(entries[name], &r)
		c.Resolvers = append(c.Resolvers, r)
	}
}

func readResolver(v value, r *Resolver) {
	if readTable(v, resolverKeys, r) && v.sound("attempt_timeout", "deadline") && r.AttemptTimeout > r.Deadline {
		v.written("deadline", "attempt_timeout").fail("found attempt_timeout %s above deadline %s, expected at most as much",
			brief(r.AttemptTimeout), brief(r.Deadline))
	}
}

// named refuses a table whose own name cannot be one.
func (v value) named(what, name string) {
	if !isName(name) {
		v.fail("found a %s of this name, expected 1 to 63 letters, digits, dots, hyphens and underscores", what)
	}
}

func readListeners(c *Config, v value) {
	seen := make(map[string]place)
	for _, e := range v.tables("[[listener]]") {
		l := defaults().Listeners[0]
		if !readTable(e, listenerKeys, &l) {
			continue
		}
		checkUDPIdle(e, l)
		name := e.written("name")
		if first, twice := seen[l.Name]; twice {
			name.fail("found %q again, first %s, expected a name of its own", l.Name, first)
		} else if l.Name != "" {
			seen[l.Name] = name.at
		}
		c.Listeners = append(c.Listeners, l)
	}
}

// checkUDPIdle refuses a UDP listener whose flows would never end: nothing else ends them. With TCP beside it, "off" is
// for TCP, and UDP has its default.
func checkUDPIdle(v value, l Listener) {
	idle := v.written("idle_timeout")
	onlyUDP := len(l.Listen) > 0 && !slices.ContainsFunc(l.Listen, func(e Endpoint) bool { return e.Network != "udp" })
	if off, _ := idle.raw.(string); off == "off" && onlyUDP {
		idle.unexpected("a duration such as \"1m\": nothing else ends a UDP flow")
	}
}

// readIdleTimeout reads one key for two fields: TCP sessions may idle for ever, UDP flows may not.
func readIdleTimeout(l *Listener, v value) {
	v.duration(&l.IdleTimeout, time.Millisecond, "off")
	if l.IdleTimeout > 0 {
		l.UDPIdleTimeout = l.IdleTimeout
	}
}

func readPoolOf(l *Listener, v value) {
	const expected = "the name of a pool"
	if s, ok := v.text(expected); ok {
		l.Pool = s
		v.src.poolRef = append(v.src.poolRef, reference{v, s})
	}
}

func readResolverOf(p *Pool, v value) {
	const expected = "the name of a resolver"
	if s, ok := v.text(expected); ok {
		p.Resolver = s
		v.src.resolverRef = append(v.src.resolverRef, reference{v, s})
	}
}

func readPools(c *Config, v value) {
	names, entries, _ := v.table()
	for _, name := range names {
		p := defaults().Pools[0]
		p.Backends, p.Check = nil, nil
		entries[name].named("pool", name)
		p.Name = name
		readTable(entries[name], poolKeys, &p)
		c.Pools = append(c.Pools, p)
	}
}

func readBackends(p *Pool, v value) {
	type target struct {
		host string
		port int
	}
	seen := make(map[target]place)
	for _, e := range v.tables("[[pool.NAME.backend]]") {
		b := defaults().Pools[0].Backends[0]
		if !readTable(e, backendKeys, &b) {
			continue
		}
		checkBackend(e, b)
		t := target{strings.ToLower(strings.TrimSuffix(b.Host, ".")), b.Port}
		host := e.written("host")
		if first, twice := seen[t]; twice {
			host.fail("found %s port %d again in this pool, first %s, expected each backend once", b.Host, b.Port, first)
		} else if b.Host != "" && b.Port != 0 {
			seen[t] = host.at
		}
		p.Backends = append(p.Backends, b)
	}
}

func checkBackend(v value, b Backend) {
	if v.sound("min_refresh", "max_refresh") && b.MinRefresh > b.MaxRefresh {
		v.written("max_refresh", "min_refresh").fail("found min_refresh %s above max_refresh %s, expected at most as much",
			brief(b.MinRefresh), brief(b.MaxRefresh))
	}
	if a, err := netip.ParseAddr(b.Host); err == nil {
		if is4 := a.Unmap().Is4(); is4 && b.Family == "ipv6" || !is4 && b.Family == "ipv4" {
			v.written("family").fail("found %q with the address %s, expected its own family or \"auto\"", b.Family, b.Host)
		}
	}
}

// readTier accepts what tiers will be, and then refuses all but the one there is.
func readTier(b *Backend, v value) {
	v.int(&b.Tier, 0, 65535, "")
	if b.Tier != 0 {
		v.fail("found %d, tiers are %s, expected 0", b.Tier, notYet)
	}
}

func readAllowAnswers(b *Backend, v value) {
	var out []string
	for _, e := range v.texts("\"loopback\" or \"link-local\"") {
		var word string
		e.word(&word, "loopback link-local", "")
		if word != "" && slices.Contains(out, word) {
			e.fail("found %q twice", word)
		} else if word != "" {
			out = append(out, word)
		}
	}
	slices.Sort(out)
	b.AllowAnswers = out
}

func readCheck(p *Pool, v value) {
	c := *defaults().Pools[0].Check
	if !readTable(v, checkKeys, &c) {
		return
	}
	switch {
	case !v.has("fast_interval"):
		c.FastInterval = min(c.FastInterval, c.Interval)
	case v.sound("interval", "fast_interval") && c.FastInterval > c.Interval:
		v.written("fast_interval").fail("found %s above interval %s, expected at most as much", brief(c.FastInterval), brief(c.Interval))
	}
	p.Check = &c
}

// hostsFile reads the path of a hosts file. It must not depend on where ebb was started.
func (v value) hostsFile(dst *string) {
	const expected = "an absolute path, or \"off\""
	s, ok := v.text(expected)
	switch {
	case !ok:
	case s == "off":
		*dst = ""
	case !filepath.IsAbs(s) || strings.ContainsRune(s, 0):
		v.unexpected(expected)
	default:
		*dst = s
	}
}

// checkNames refuses references to what does not exist.
func (s *source) checkNames(c *Config) {
	pools := make([]string, len(c.Pools))
	for i, p := range c.Pools {
		pools[i] = p.Name
	}
	resolvers := make([]string, len(c.Resolvers))
	for i, r := range c.Resolvers {
		resolvers[i] = r.Name
	}
	for _, r := range s.poolRef {
		r.check("pool", pools)
	}
	for _, r := range s.resolverRef {
		r.check("resolver", resolvers)
	}
}

// check looks for a name in the sorted names.
func (r reference) check(what string, names []string) {
	if _, found := slices.BinarySearch(names, r.name); found {
		return
	}
	switch near := nearest(r.name, names); {
	case near != "":
		r.fail("found %s, there is no such %s, did you mean %q?", r.found(), what, near)
	case len(names) == 0 || len(names) > 20:
		r.fail("found %s, there is no such %s, expected the name of a [%s.NAME] table", r.found(), what, what)
	default:
		r.fail("found %s, there is no such %s, expected %s", r.found(), what, choice(names))
	}
}
