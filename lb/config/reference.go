package config

import (
	"slices"
)

// reference is a name that must be defined somewhere.
type reference struct {
	value
	name string
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
		r.fail("found %s, there is no such %s, expected %s, or a table [%s.%s]", r.found(), what, choice(names), what, showKey(r.name))
	}
}
