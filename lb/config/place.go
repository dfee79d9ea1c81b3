package config

import "strconv"

// place is where a value was written.
type place struct {
	file string
	line int
	flag string // "--name"; then there is neither file nor line
	part string // of a flag's value: "weight"
}

// String says where, in the middle of a sentence.
func (p place) String() string {
	if p.flag != "" {
		return "by " + p.flag
	}
	return "on line " + strconv.Itoa(p.line)
}

// Problem is a problem with what has been found to be valid, but shows when it is put to work. what is a part of the
// config that may have a problem of this kind: "listener NAME", which is about its addresses, "resolver NAME", "pool NAME",
// a key, such as "admin.listen", or one of a part's socket, such as "pool NAME socket.mark".
func (c *Config) Problem(what, text string) Problem {
	v, ok := c.places[what]
	if !ok {
		return Problem{Key: what, Text: text}
	}
	v.src = new(source)
	v.fail("%s", text)
	return v.src.problems[0]
}

// locate notes where the parts are of which Problem speaks.
func (c *Config) locate(root value) {
	c.places = make(map[string]value)
	note := func(what string, v value) { c.places[what] = value{at: v.at, path: v.path} }
	tables, _ := root.raw.(map[string]value)
	for _, table := range []string{"admin", "log", "relay"} {
		entries, _ := tables[table].raw.(map[string]value)
		for key, v := range entries {
			note(table+"."+key, v)
		}
	}
	for _, table := range []string{"resolver", "pool"} {
		entries, _ := tables[table].raw.(map[string]value)
		for name, v := range entries {
			note(table+" "+name, v)
			c.locateSocket(table+" "+name, v)
		}
	}
	list, _ := tables["listener"].raw.([]value)
	for _, l := range list {
		if name, ok := l.written("name").raw.(string); ok {
			note("listener "+name, l.written("listen"))
			c.locateSocket("listener "+name, l)
		}
	}
}

// locateSocket notes where the socket options of a part are.
func (c *Config) locateSocket(what string, v value) {
	if !v.has("socket") {
		return
	}
	entries, _ := v.written("socket").raw.(map[string]value)
	for key, e := range entries {
		c.places[what+" socket."+key] = value{at: e.at, path: e.path}
	}
}
