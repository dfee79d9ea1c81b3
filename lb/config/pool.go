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
