package config

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

func readResolverOf(p *Pool, v value) {
	const expected = "the name of a resolver"
	if s, ok := v.text(expected); ok {
		p.Resolver = s
		v.src.resolverRef = append(v.src.resolverRef, reference{v, s})
	}
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
