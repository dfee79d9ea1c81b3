package config

import (
	"strconv"
	"strings"
)

// place is where a value was written.
type place struct {
	line  int    // 0 if that is not known
	given *given // nil: in the file that is read
}

// given is who gave a value.
type given struct {
	file string
	flag string // "--name"; then there is neither file nor line
	part string // of a flag's value: "weight"
}

// flag is the flag that gave the value; "" if none did.
func (p place) flag() string {
	if p.given == nil {
		return ""
	}
	return p.given.flag
}

// String says where, in the middle of a sentence.
func (p place) String() string {
	if flag := p.flag(); flag != "" {
		return "by " + flag
	}
	return "on line " + strconv.Itoa(p.line)
}

// Problem is a problem with what has been found to be valid, but shows when it is put to work. what is a part of the
// config that may have a problem of this kind: "listener NAME", which is about its addresses, "resolver NAME", "pool NAME",
// a key, such as "admin.listen", or one of a part's socket, such as "pool NAME socket.mark".
func (c *Config) Problem(what, text string) Problem {
	if c.places == nil {
		return Problem{Key: what, Text: text}
	}
	v, ok := c.places.of[what]
	if !ok {
		return Problem{Key: what, Text: text}
	}
	v.src = &source{file: c.places.file}
	v.fail("%s", text)
	return v.src.problems[0]
}

// places are where the parts of a config are of which Problem speaks.
type places struct {
	file string
	of   map[string]value // without src
}

func (p *places) note(what string, v value) {
	p.of[what] = value{at: v.at, in: strings.Clone(v.in), key: strings.Clone(v.key)}
}

// locate notes where the parts are.
func (c *Config) locate(root value) {
	p := &places{root.src.file, make(map[string]value, len(c.Resolvers)+len(c.Pools)+len(c.Listeners))}
	c.places = p
	for _, what := range []string{"admin", "log", "relay"} {
		entries, _ := root.written(what).raw.(table)
		for _, v := range entries {
			p.note(what+"."+v.key, v)
		}
	}
	for _, what := range []string{"resolver", "pool"} {
		entries, _ := root.written(what).raw.(table)
		for _, v := range entries {
			p.note(what+" "+v.key, v)
			p.noteSocket(what+" "+v.key, v)
		}
	}
	list, _ := root.written("listener").raw.([]value)
	for _, l := range list {
		if name, ok := l.written("name").raw.(string); ok {
			p.note("listener "+name, l.written("listen"))
			p.noteSocket("listener "+name, l)
		}
	}
}

// noteSocket notes where the socket options of a part are.
func (p *places) noteSocket(what string, v value) {
	if !v.has("socket") {
		return
	}
	entries, _ := v.written("socket").raw.(table)
	for _, e := range entries {
		p.note(what+" socket."+e.key, e)
	}
}
