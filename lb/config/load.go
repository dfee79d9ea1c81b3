package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/BurntSushi/toml"
)

// maxFile bounds a config file, in bytes: enough for some ten thousand backends with many keys each.
const maxFile = 4 << 20

// Load makes the Config of a file, with flags that override its [admin], [log] and [relay]; other flags are refused
// beside a file. With file "" the flags are all there is, as for FromFlags. flags may be nil. The error is Problems.
func Load(file string, flags *Flags) (*Config, error) {
	if flags == nil {
		flags = new(Flags)
	}
	if file == "" {
		return FromFlags(flags)
	}
	text, err := readFile(file)
	if err != nil {
		return nil, Problems{{File: file, Text: err.Error()}}
	}
	return Parse(file, text, flags)
}

// readFile gives the text of a file, or says why it cannot be a config.
func readFile(file string) (string, error) {
	f, err := os.Open(file)
	if errors.Is(err, fs.ErrNotExist) {
		return "", errors.New("no such file, expected a TOML file")
	}
	if errors.Is(err, fs.ErrPermission) {
		return "", fmt.Errorf("%w for user %d, expected a file that this user may read", reason(err), os.Geteuid())
	}
	if err != nil {
		return "", reason(err)
	}
	defer f.Close()
	var text strings.Builder
	if info, err := f.Stat(); err == nil {
		if info.IsDir() {
			return "", errors.New("found a directory, expected a TOML file")
		}
		text.Grow(int(min(info.Size(), maxFile)))
	}
	if _, err := io.Copy(&text, io.LimitReader(f, maxFile+1)); err != nil {
		return "", reason(err)
	}
	if text.Len() > maxFile {
		return "", fmt.Errorf("found more than %d MiB, expected a TOML file of at most as much", maxFile>>20)
	}
	return text.String(), nil
}

// reason is an error without the path, which stands before it anyway.
func reason(err error) error {
	var path *fs.PathError
	if errors.As(err, &path) {
		return fmt.Errorf("%s: %w", path.Op, path.Err)
	}
	return err
}

// Parse is Load for the text of a file; file is only a name.
func Parse(file, text string, flags *Flags) (*Config, error) {
	if flags == nil {
		flags = new(Flags)
	}
	src := &source{file: file}
	text = strings.TrimPrefix(text, "\ufeff") // the library does too, and its offsets are without it
	if i := binaryAt(text); i >= 0 {
		src.add(file, 1+strings.Count(text[:i], "\n"), "syntax", "found binary data, expected a TOML file in UTF-8")
		return nil, src.problems.err()
	}
	lines, tree, broken := src.decode(file, text)
	if tree == nil {
		return nil, src.problems.err()
	}
	syntax := src.problems
	src.problems = nil
	root := value{at: place{line: 1}, src: src}.buildTable("", tree, top, lines)
	root = flags.override(root)
	if !root.has("listener") {
		value{at: root.at, key: "listener", src: src}.fail("missing, expected at least one [[listener]]")
	}
	c := read(root)
	for _, p := range src.problems {
		if !broken[p.Line] || p.File != file {
			syntax = append(syntax, p)
		}
	}
	if err := syntax.err(); err != nil {
		return nil, err
	}
	return c, nil
}

func (s *source) add(file string, line int, key, text string) {
	s.problems = append(s.problems, Problem{File: file, Line: line, Key: key, Text: text})
}

// binaryAt gives the offset of the first byte that no TOML file has; -1 if there is none.
func binaryAt(text string) int {
	for i, r := range text {
		if r == 0 {
			return i
		}
		if r == utf8.RuneError {
			if _, size := utf8.DecodeRuneInString(text[i:]); size == 1 {
				return i
			}
		}
	}
	return -1
}

// plainPair is a line that holds one key and its value and nothing that could go on in the next line.
var plainPair = regexp.MustCompile(`^[ \t]*([A-Za-z0-9_-]+)[ \t]*=`)

// maxSyntax bounds the errors of syntax that are reported at once.
const maxSyntax = 20

// decode parses the text. The library stops at its first error; if that is in a line of one key and its value, a text
// without the value takes the place of the line, so that one run also finds what is wrong elsewhere. The lines replaced
// are broken: nothing that is found there later means anything. The tree is nil if there is no going on.
func (s *source) decode(file, text string) (lines *keyLines, tree map[string]any, broken map[int]bool) {
	broken = make(map[int]bool)
	var rows []string
	for {
		lines := scanLines(text)
		if lines.tooDeep > 0 {
			s.add(file, lines.tooDeep, "syntax", fmt.Sprintf("found keys or values nested deeper than %d", maxDepth))
			return nil, nil, broken
		}
		tree, err := decodeTOML(text)
		if err == nil {
			if len(lines.again) > 0 {
				paths := lines.paths()
				for _, a := range lines.again {
					s.add(file, a.line, paths[a.id], fmt.Sprintf("found again, first on line %d, expected each key once", lines.nodes[a.id].line))
				}
			}
			return lines, tree, broken
		}
		if rows == nil {
			rows = strings.SplitAfter(text, "\n")
		}
		// Position.Line is that of the next line if the error is the end of a line.
		line := min(1+strings.Count(text[:min(max(0, err.Position.Start), len(text))], "\n"), len(rows))
		row := rows[line-1]
		key := plainPair.FindStringSubmatch(row)
		if key == nil || broken[line] || len(broken) == maxSyntax {
			if !broken[line] {
				s.add(file, line, "syntax", notTOML(err.Message))
			}
			return nil, nil, broken
		}
		s.add(file, line, key[1], notTOML(err.Message))
		broken[line] = true
		rows[line-1] = "\n"
		if !strings.Contains(err.Message, "already been defined") {
			rows[line-1] = key[1] + " = \"\"\n"
		}
		text = strings.Join(rows, "")
	}
}

// decodeTOML calls the library. Its parser panics where it meets what it takes for its own bug, and a config file is
// input: that must not end the process.
func decodeTOML(text string) (tree map[string]any, perr *toml.ParseError) {
	defer func() {
		if r := recover(); r != nil {
			perr = &toml.ParseError{Message: fmt.Sprintf("the parser gave up: %v", r)}
		}
	}()
	_, err := toml.Decode(text, &tree)
	if err == nil {
		return tree, nil
	}
	var parse toml.ParseError
	if !errors.As(err, &parse) {
		parse = toml.ParseError{Message: err.Error()}
	}
	return nil, &parse
}

// notTOML says what the library found, and what mends the commonest mistakes.
func notTOML(message string) string {
	message = "not TOML: " + oneLine(message)
	switch {
	case strings.Contains(message, "expected value but found") && !strings.Contains(message, `'\n'`):
		message += "; text stands in quotes: \"...\""
	case strings.Contains(message, "expected '.' or '='"):
		message += "; a line is KEY = VALUE, or a table such as [log]"
	case strings.Contains(message, "cannot be used as an array"):
		message += " Write [[...]], in double brackets, each time"
	}
	return message
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// build makes the value of what the library decoded and the scanner located. Keys and strings of it are parts of the text: what
// a Config keeps of them is a copy, for a pool may live for months, and would keep all of the file that it came with.
func (v value) build(raw any, id int32, lines *keyLines) value {
	switch raw := raw.(type) {
	case map[string]any:
		return v.buildTable(v.path(), raw, id, lines)
	case []map[string]any:
		path, list := v.path(), make([]value, len(raw))
		at := lines.elementFrom(lines.nodes[id].first)
		for i, e := range raw {
			list[i] = v.located(at, lines).buildTable(path, e, at, lines)
			at = lines.elementFrom(lines.nodes[at].next)
		}
		v.raw = list
	case []any:
		list := make([]value, len(raw))
		at := lines.elementFrom(lines.nodes[id].first)
		for i, e := range raw {
			list[i] = v.located(at, lines).build(e, at, lines)
			at = lines.elementFrom(lines.nodes[at].next)
		}
		v.raw = list
	default:
		v.raw = raw
	}
	return v
}

// buildTable is build for a table whose path is known.
func (v value) buildTable(path string, raw map[string]any, id int32, lines *keyLines) value {
	t := make(table, 0, len(raw))
	put := func(key string, e any, at int32) {
		entry := value{at: v.at, in: path, key: key, src: v.src}.located(at, lines)
		t = append(t, entry.build(e, at, lines))
	}
	for at := lines.keyFrom(lines.nodes[id].first); at != none; at = lines.keyFrom(lines.nodes[at].next) {
		key := lines.nodes[at].key
		if e, ok := raw[key]; ok {
			put(key, e, at)
		}
	}
	if len(t) < len(raw) { // the scanner is to know every key, but no key is to be lost if it does not
		for key, e := range raw {
			if _, there := t.find(key); !there {
				put(key, e, none)
			}
		}
	}
	v.raw = newTable(t...)
	return v
}

// located is the value at the line of its node, if there is one.
func (v value) located(id int32, lines *keyLines) value {
	if id != none {
		v.at.line = int(lines.nodes[id].line)
	}
	return v
}
