package config

import (
	"strconv"
	"strings"
)

// maxDepth bounds dotted keys and nested values: far more than any config needs, and little enough that the TOML parser,
// which recurses, cannot be made to exhaust its stack.
const maxDepth = 16

// keyLines knows the line of every key and every element of a list. The TOML library tells positions only of its own
// errors, so this scanner reads the text a second time. It understands just enough: where keys, values, strings and
// comments begin and end. It stops at the first thing that it does not understand, which is an error of syntax that the
// library reports.
type keyLines struct {
	text string
	pos  int
	line int // of pos, from 1

	nodes   []node          // by id
	index   map[entry]int32 // of tables with more than fewKeys
	parts   []string        // of the key that was read last
	tooDeep int             // line that exceeds maxDepth; 0 if none does
	again   []again         // keys with two values
}

// node is a key, or an element of a list, and what is inside it. Nodes refer to each other by id.
type node struct {
	key         string // "" of an element
	line        int32  // where it first appears
	first, last int32  // inside
	next        int32  // beside
	table       int32  // of an array of tables: the last one
	element     bool
	indexed     bool // its keys are in the index
}

const (
	none int32 = iota // has nothing inside
	top
)

// entry is a key in a table.
type entry struct {
	table int32
	key   string
}

// fewKeys of a table are looked through one by one.
const fewKeys = 8

// again is a second value of a key. The library refuses most of them, but not a.b = 1 before a = 2.
type again struct {
	id   int32
	line int
}

func scanLines(text string) *keyLines {
	most := 2 + strings.Count(text, "\n") + strings.Count(text, "[[") // unless lists have many elements
	s := &keyLines{text: text, line: 1, nodes: make([]node, top+1, most), index: make(map[entry]int32)}
	table := top
	for {
		s.skip(true)
		var ok bool
		switch {
		case s.pos == len(s.text):
			return s
		case s.accept("[["):
			table, ok = s.header(true)
		case s.accept("["):
			table, ok = s.header(false)
		default:
			ok = s.pair(table, 0)
		}
		if !ok {
			return s
		}
	}
}

// add notes what is inside a node.
func (s *keyLines) add(in int32, n node) (id int32) {
	id, n.line = int32(len(s.nodes)), int32(s.line)
	s.nodes = append(s.nodes, n)
	if last := s.nodes[in].last; last != none {
		s.nodes[last].next = id
	} else {
		s.nodes[in].first = id
	}
	s.nodes[in].last = id
	return id
}

// element gives the node of the element of a list that follows another, or of the first if that is none; it is noted if it is new.
func (s *keyLines) element(list, before int32) (id int32) {
	at := s.nodes[list].first
	if before != none {
		at = s.nodes[before].next
	}
	if id = s.elementFrom(at); id == none {
		id = s.add(list, node{element: true})
	}
	return id
}

// enter gives the node of a key in a table, and whether it was there; it is noted if it was not.
func (s *keyLines) enter(table int32, key string) (id int32, known bool) {
	if s.nodes[table].indexed {
		id, known = s.index[entry{table, key}]
	} else {
		id, known = s.look(table, key)
	}
	if known {
		return id, true
	}
	id = s.add(table, node{key: key})
	if s.nodes[table].indexed {
		s.index[entry{table, key}] = id
	}
	return id, false
}

// look goes through the keys of a table, and has the index find them from now on if they are many.
func (s *keyLines) look(table int32, key string) (id int32, known bool) {
	keys := 0
	for id = s.keyFrom(s.nodes[table].first); id != none; id = s.keyFrom(s.nodes[id].next) {
		if s.nodes[id].key == key {
			return id, true
		}
		keys++
	}
	if keys < fewKeys {
		return none, false
	}
	for id = s.keyFrom(s.nodes[table].first); id != none; id = s.keyFrom(s.nodes[id].next) {
		s.index[entry{table, s.nodes[id].key}] = id
	}
	s.nodes[table].indexed = true
	return none, false
}

// keyFrom gives the first of a node and those that follow it that is a key.
func (s *keyLines) keyFrom(id int32) int32 { return s.from(id, false) }

// elementFrom gives the first of a node and those that follow it that is an element.
func (s *keyLines) elementFrom(id int32) int32 { return s.from(id, true) }

func (s *keyLines) from(id int32, element bool) int32 {
	for id != none && s.nodes[id].element != element {
		id = s.nodes[id].next
	}
	return id
}

// paths names every node as problems do.
func (s *keyLines) paths() []string {
	paths := make([]string, len(s.nodes))
	for in := range s.nodes { // before what is inside
		for id := s.nodes[in].first; id != none; id = s.nodes[id].next {
			switch paths[id] = paths[in]; {
			case s.nodes[id].element:
			case paths[in] == "":
				paths[id] = showKey(s.nodes[id].key)
			default:
				paths[id] += "." + showKey(s.nodes[id].key)
			}
		}
	}
	return paths
}

func (s *keyLines) accept(token string) bool {
	if !strings.HasPrefix(s.text[s.pos:], token) {
		return false
	}
	s.pos += len(token)
	return true
}

// skip passes blanks and, if newlines is set, line ends and comments.
func (s *keyLines) skip(newlines bool) {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == ' ' || c == '\t' || c == '\r':
		case c == '\n' && newlines:
			s.line++
		case c == '#' && newlines:
			if end := strings.IndexByte(s.text[s.pos:], '\n'); end >= 0 {
				s.pos += end
			} else {
				s.pos = len(s.text)
			}
			continue
		default:
			return
		}
		s.pos++
	}
}

// header reads the rest of [a.b] or [[a.b]] and gives the table that follows.
func (s *keyLines) header(array bool) (table int32, ok bool) {
	if !s.key() || !s.accept("]") || array && !s.accept("]") {
		return none, false
	}
	table = top
	for i, part := range s.parts {
		table, _ = s.enter(table, part)
		if array && i == len(s.parts)-1 {
			s.nodes[table].table = s.element(table, s.nodes[table].table)
		}
		if last := s.nodes[table].table; last != none {
			table = last
		}
	}
	return table, true
}

// pair reads key = value.
func (s *keyLines) pair(table int32, depth int) bool {
	if !s.key() {
		return false
	}
	id, depth := table, depth+len(s.parts)
	for i, part := range s.parts {
		var known bool
		if id, known = s.enter(id, part); known && i == len(s.parts)-1 {
			s.again = append(s.again, again{id, s.line})
		}
	}
	if !s.accept("=") {
		return false
	}
	s.skip(false)
	return s.value(id, depth)
}

// key reads a key, dotted or not, and the blanks around it, into parts.
func (s *keyLines) key() bool {
	s.parts = s.parts[:0]
	for {
		s.skip(false)
		part, ok := s.keyPart()
		if !ok {
			return false
		}
		s.parts = append(s.parts, part)
		if len(s.parts) > maxDepth {
			s.tooDeep = s.line
			return false
		}
		s.skip(false)
		if !s.accept(".") {
			return true
		}
	}
}

func (s *keyLines) keyPart() (string, bool) {
	start := s.pos
	if s.pos < len(s.text) && (s.text[s.pos] == '"' || s.text[s.pos] == '\'') {
		if !s.quoted() {
			return "", false
		}
		raw := s.text[start:s.pos]
		if plain, err := strconv.Unquote(raw); raw[0] == '"' && err == nil {
			return plain, true
		}
		return raw[1 : len(raw)-1], true
	}
	for s.pos < len(s.text) && !strings.ContainsRune(" \t\r\n.=[]{}\"'#,", rune(s.text[s.pos])) {
		s.pos++
	}
	return s.text[start:s.pos], s.pos > start
}

// quoted reads a string of one line, "..." or '...'.
func (s *keyLines) quoted() bool {
	quote := s.text[s.pos]
	for s.pos++; s.pos < len(s.text) && s.text[s.pos] != '\n'; s.pos++ {
		switch s.text[s.pos] {
		case quote:
			s.pos++
			return true
		case '\\':
			if quote == '"' {
				s.pos++
			}
		}
	}
	return false
}

// quotedLines reads the rest of a string of several lines. It may end with up to two quotes of its own before the three.
func (s *keyLines) quotedLines(quotes string) bool {
	for s.pos < len(s.text) {
		switch {
		case s.accept(quotes):
			for range 2 {
				s.accept(quotes[:1])
			}
			return true
		case s.text[s.pos] == '\\' && quotes[0] == '"':
			s.pos++
		}
		if s.pos < len(s.text) {
			if s.text[s.pos] == '\n' {
				s.line++
			}
			s.pos++
		}
	}
	return false
}

func (s *keyLines) value(id int32, depth int) bool {
	switch {
	case depth > maxDepth:
		s.tooDeep = s.line
		return false
	case s.pos == len(s.text):
		return false
	case s.accept(`"""`):
		return s.quotedLines(`"""`)
	case s.accept(`'''`):
		return s.quotedLines(`'''`)
	case s.text[s.pos] == '"', s.text[s.pos] == '\'':
		return s.quoted()
	case s.accept("["):
		at := none
		return s.elements("]", func() bool {
			at = s.element(id, at)
			return s.value(at, depth+1)
		})
	case s.accept("{"):
		return s.elements("}", func() bool { return s.pair(id, depth) })
	}
	start := s.pos
	for s.pos < len(s.text) && !strings.ContainsRune(",]}#\n", rune(s.text[s.pos])) {
		s.pos++
	}
	return s.pos > start
}

// elements reads what is between brackets, one element after the other.
func (s *keyLines) elements(end string, one func() bool) bool {
	for {
		s.skip(true)
		if s.accept(end) {
			return true
		}
		if !one() {
			return false
		}
		s.skip(true)
		if !s.accept(",") {
			return s.accept(end)
		}
	}
}
