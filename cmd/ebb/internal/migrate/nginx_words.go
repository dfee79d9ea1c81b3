package migrate

import (
	"fmt"
	"path/filepath"
	"strings"
)

// directive is one directive of an nginx config: words, and what stands in its braces.
type directive struct {
	at    place
	words []string
	block bool
	inner []*directive
}

func (d *directive) name() string { return d.words[0] }

// arg is the n-th word, "" if there is none.
func (d *directive) arg(n int) string {
	if n < len(d.words) {
		return d.words[n]
	}
	return ""
}

func (d *directive) rest(n int) []string {
	if n >= len(d.words) {
		return nil
	}
	return d.words[n:]
}

const (
	maxBlocks   = 20      // braces in each other
	maxIncluded = 4 << 20 // bytes of all files together
)

// nginxReader makes directives of a text and of what it includes.
type nginxReader struct {
	*report
	base string // where names of includes begin
	open func(pattern string) ([]Input, error)
	read int // bytes
	deep []string
}

// file reads one text.
func (n *nginxReader) file(in Input) []*directive {
	n.files = append(n.files, in.Name)
	if n.read += len(in.Text); n.read > maxIncluded {
		n.refuse(place{len(n.files) - 1, 0}, "", "the files together have more than %d MiB", maxIncluded>>20)
		return nil
	}
	s := &nginxScanner{text: in.Text, at: place{len(n.files) - 1, 1}}
	list, err := n.block(s, 0)
	if err != nil {
		n.refuse(s.at, "", "%v", err)
	}
	return list
}

// block reads up to the brace that ends it.
func (n *nginxReader) block(s *nginxScanner, depth int) (list []*directive, err error) {
	if depth > maxBlocks {
		return nil, fmt.Errorf("more than %d braces in each other", maxBlocks)
	}
	var d *directive
	for {
		word, plain, err := s.next()
		switch {
		case err != nil:
			return list, err
		case plain && word == "" || plain && word == "}":
			switch {
			case d != nil:
				return list, fmt.Errorf("the directive %s does not end with a semicolon", printable(d.name()))
			case (word == "") != (depth == 0):
				return list, fmt.Errorf("braces do not match")
			}
			return list, nil
		case plain && word == ";":
			if d == nil {
				return list, fmt.Errorf("a semicolon ends nothing")
			}
			if d.name() == "include" {
				list = append(list, n.include(d)...)
			} else {
				list = append(list, d)
			}
			d = nil
		case plain && word == "{":
			if d == nil {
				return list, fmt.Errorf("a brace opens nothing")
			}
			d.block = true
			list = append(list, d)
			if d.inner, err = n.block(s, depth+1); err != nil {
				return list, err
			}
			d = nil
		case d == nil:
			d = &directive{at: s.at, words: []string{word}}
		default:
			d.words = append(d.words, word)
		}
	}
}

// include reads files in place of the directive.
func (n *nginxReader) include(d *directive) (list []*directive) {
	pattern := d.arg(1)
	if !filepath.IsAbs(pattern) {
		pattern = filepath.Join(n.base, pattern)
	}
	if len(n.deep) >= maxBlocks {
		n.refuse(d.at, "include", "files include each other more than %d deep", maxBlocks)
		return nil
	}
	found, err := n.open(pattern)
	if err != nil {
		n.refuse(d.at, "include", "%v", err)
	}
	n.deep = append(n.deep, pattern)
	for _, in := range found {
		if n.read > maxIncluded {
			break
		}
		list = append(list, n.file(in)...)
	}
	n.deep = n.deep[:len(n.deep)-1]
	return list
}

// nginxScanner makes words of a text.
type nginxScanner struct {
	text string
	pos  int
	at   place // of the last word
	line int   // newlines passed
}

// next gives a word, or plain a mark: ";", "{" or "}"; "" is the end.
func (s *nginxScanner) next() (word string, plain bool, err error) {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; c {
		case '\n':
			s.line++
			s.pos++
		case ' ', '\t', '\r':
			s.pos++
		case '#':
			for s.pos < len(s.text) && s.text[s.pos] != '\n' {
				s.pos++
			}
		case ';', '{', '}':
			s.at.line = s.line + 1
			s.pos++
			return string(c), true, nil
		case '"', '\'':
			return s.quoted(c)
		default:
			return s.bare()
		}
	}
	s.at.line = s.line + 1
	return "", true, nil
}

func (s *nginxScanner) quoted(mark byte) (word string, plain bool, err error) {
	s.at.line = s.line + 1
	var b strings.Builder
	for s.pos++; s.pos < len(s.text); s.pos++ {
		c := s.text[s.pos]
		switch {
		case c == mark:
			s.pos++
			return b.String(), false, nil
		case c == '\\' && s.pos+1 < len(s.text):
			s.pos++
			b.WriteString(unescaped(s.text[s.pos]))
			continue
		case c == '\n':
			s.line++
		}
		b.WriteByte(c)
	}
	return "", false, fmt.Errorf("a quote %c is not closed", mark)
}

func (s *nginxScanner) bare() (word string, plain bool, err error) {
	s.at.line = s.line + 1
	var b strings.Builder
	for ; s.pos < len(s.text); s.pos++ {
		c := s.text[s.pos]
		switch {
		case c == '\\' && s.pos+1 < len(s.text):
			s.pos++
			b.WriteString(unescaped(s.text[s.pos]))
			continue
		case c == '$' && strings.HasPrefix(s.text[s.pos:], "${"):
			b.WriteString("${")
			s.pos++
			continue
		case c == '}' && strings.Contains(b.String(), "${"):
			b.WriteByte(c)
			continue
		case c == ' ' || c == '\t' || c == '\r' || c == '\n' || c == ';' || c == '{' || c == '}':
			return b.String(), false, nil
		}
		b.WriteByte(c)
	}
	return b.String(), false, nil
}

func unescaped(c byte) string {
	switch c {
	case 'n':
		return "\n"
	case 'r':
		return "\r"
	case 't':
		return "\t"
	case '"', '\'', '\\', ' ', ';', '{', '}', '#', '$':
		return string(c)
	}
	return "\\" + string(c)
}
