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

	at      map[string]int // path -> line where it first appears
	tables  map[string]int // path of an array of tables -> number of its last element
	tooDeep int            // line that exceeds maxDepth; 0 if none does
	again   []again        // keys with two values
}

// again is a second value of a key. The library refuses most of them, but not a.b = 1 before a = 2.
type again struct {
	path        string
	line, first int
}

// pathKey extends a path by a key. A path is a string only so that it can be the key of a map.
func pathKey(path, key string) string { return path + "\x00" + key }

// pathIndex extends a path by the number of an element, from 0.
func pathIndex(path string, i int) string { return path + "\x00#" + strconv.Itoa(i) }

// showPath is a path as problems name it.
func showPath(path string) string {
	var parts []string
	for part := range strings.SplitSeq(path[1:], "\x00") {
		if !strings.HasPrefix(part, "#") {
			parts = append(parts, showKey(part))
		}
	}
	return strings.Join(parts, ".")
}

func scanLines(text string) *keyLines {
	s := &keyLines{text: text, line: 1, at: make(map[string]int, strings.Count(text, "\n")), tables: make(map[string]int)}
	table := ""
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

func (s *keyLines) note(path string) {
	if _, known := s.at[path]; !known {
		s.at[path] = s.line
	}
}

// header reads the rest of [a.b] or [[a.b]] and gives the path of the table that follows.
func (s *keyLines) header(array bool) (path string, ok bool) {
	parts, ok := s.key()
	if !ok || !s.accept("]") || array && !s.accept("]") {
		return "", false
	}
	for i, part := range parts {
		path = pathKey(path, part)
		s.note(path)
		last, isArray := s.tables[path]
		if array && i == len(parts)-1 {
			if isArray {
				last++
			}
			s.tables[path] = last
			isArray = true
		}
		if isArray {
			path = pathIndex(path, last)
			s.note(path)
		}
	}
	return path, true
}

// pair reads key = value.
func (s *keyLines) pair(table string, depth int) bool {
	parts, ok := s.key()
	if !ok {
		return false
	}
	path := table
	for i, part := range parts {
		path = pathKey(path, part)
		if first := s.at[path]; first > 0 && i == len(parts)-1 {
			s.again = append(s.again, again{path, s.line, first})
		}
		s.note(path)
	}
	if !s.accept("=") {
		return false
	}
	s.skip(false)
	return s.value(path, depth+len(parts))
}

// key reads a key, dotted or not, and the blanks around it.
func (s *keyLines) key() (parts []string, ok bool) {
	for {
		s.skip(false)
		part, ok := s.keyPart()
		if !ok {
			return nil, false
		}
		parts = append(parts, part)
		if len(parts) > maxDepth {
			s.tooDeep = s.line
			return nil, false
		}
		s.skip(false)
		if !s.accept(".") {
			return parts, true
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

func (s *keyLines) value(path string, depth int) bool {
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
			element := pathIndex(path, i)
			s.note(element)
			return s.value(element, depth+1)
		})
	case s.accept("{"):
		return s.elements("}", func(int) bool { return s.pair(path, depth) })
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
