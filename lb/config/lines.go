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

	at      map[step]node
	tables  map[int32]int // id of an array of tables -> number of its last element
	parts   []string      // of the key that was read last
	tooDeep int           // line that exceeds maxDepth; 0 if none does
	again   []again       // keys with two values
}

// step leads from a table to what a key of it stands for, or from a list to an element.
type step struct {
	from  int32 // id of the node; 0 is the top
	index int32 // from 1, of an element; 0 for a key
	key   string
}

// node is what a step leads to.
type node struct {
	id   int32 // from 1
	line int32 // where it first appears
}

// again is a second value of a key. The library refuses most of them, but not a.b = 1 before a = 2.
type again struct {
	step
	line, first int
}

// path is how problems name the key.
func (a again) path(steps map[int32]step) string {
	path := showKey(a.key)
	for to := a.step; to.from != 0; {
		if to = steps[to.from]; to.index == 0 {
			path = showKey(to.key) + "." + path
		}
	}
	return path
}

func keyStep(from int32, key string) step { return step{from: from, key: key} }

// elementStep leads to the element i, from 0.
func elementStep(from int32, i int) step { return step{from: from, index: int32(i) + 1} }

func scanLines(text string) *keyLines {
	s := &keyLines{text: text, line: 1, at: make(map[step]node, strings.Count(text, "\n")), tables: make(map[int32]int)}
	table := int32(0)
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

// node gives the node that a step leads to, and notes it if it is new.
func (s *keyLines) node(to step) (n node, known bool) {
	if n, known = s.at[to]; !known {
		n = node{id: int32(len(s.at)) + 1, line: int32(s.line)}
		s.at[to] = n
	}
	return n, known
}

// header reads the rest of [a.b] or [[a.b]] and gives the table that follows.
func (s *keyLines) header(array bool) (table int32, ok bool) {
	if !s.key() || !s.accept("]") || array && !s.accept("]") {
		return 0, false
	}
	for i, part := range s.parts {
		n, _ := s.node(keyStep(table, part))
		last, isArray := s.tables[n.id]
		if array && i == len(s.parts)-1 {
			if isArray {
				last++
			}
			s.tables[n.id] = last
			isArray = true
		}
		if isArray {
			n, _ = s.node(elementStep(n.id, last))
		}
		table = n.id
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
		to := keyStep(id, part)
		n, known := s.node(to)
		if known && i == len(s.parts)-1 {
			s.again = append(s.again, again{to, s.line, int(n.line)})
		}
		id = n.id
	}
	if !s.accept("=") {
		return false
	}
	s.skip(false)
	return s.value(id, depth)
}

// steps gives the step that leads to each node, by its id.
func (s *keyLines) steps() map[int32]step {
	steps := make(map[int32]step, len(s.at))
	for to, n := range s.at {
		steps[n.id] = to
	}
	return steps
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
		return s.elements("]", func(i int) bool {
			n, _ := s.node(elementStep(id, i))
			return s.value(n.id, depth+1)
		})
	case s.accept("{"):
		return s.elements("}", func(int) bool { return s.pair(id, depth) })
	}
	start := s.pos
	for s.pos < len(s.text) && !strings.ContainsRune(",]}#\n", rune(s.text[s.pos])) {
		s.pos++
	}
	return s.pos > start
}

// elements reads what is between brackets, one element after the other.
func (s *keyLines) elements(end string, one func(i int) bool) bool {
	for i := 0; ; i++ {
		s.skip(true)
		if s.accept(end) {
			return true
		}
		if !one(i) {
			return false
		}
		s.skip(true)
		if !s.accept(",") {
			return s.accept(end)
		}
	}
}
