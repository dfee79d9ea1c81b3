package config

import (
	"cmp"
	"slices"
)

// read makes the Config that a tree describes.
func read(root value) *Config {
	c := defaults()
	c.Resolvers, c.Listeners, c.Pools = nil, nil, nil
	root.src.homes = homes()
	readTable(root, topKeys, &c)
	if !slices.ContainsFunc(c.Resolvers, func(r Resolver) bool { return r.Name == "default" }) {
		c.Resolvers = append(c.Resolvers, unset.Resolvers[0])
	}
	slices.SortFunc(c.Resolvers, func(a, b Resolver) int { return cmp.Compare(a.Name, b.Name) })
	slices.SortFunc(c.Pools, func(a, b Pool) int { return cmp.Compare(a.Name, b.Name) })
	root.src.checkNames(&c)
	root.src.checkListens(&c)
	root.src.choosePolicies(&c)
	root.src.checkPoolsUDP(&c)
	root.src.checkHashKeys(&c)
	if len(root.src.problems) == 0 { // else nobody will put it to work
		c.locate(root)
	}
	return &c
}

// named refuses a table whose own name cannot be one.
func (v value) named(what string) {
	if !isName(v.key) {
		v.fail("found a %s of this name, expected 1 to 63 letters, digits, dots, hyphens and underscores", what)
	}
}
