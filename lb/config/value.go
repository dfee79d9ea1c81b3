package config

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// notYet refuses what has a name but no function.
const notYet = "not in this version"

// maxDuration bounds every duration: a year is beyond what any of them is for, and far from an overflow.
const maxDuration = 365 * 24 * time.Hour

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

// value is one node of the tree.
type value struct {
	at   place
	path string // as problems name it: "pool.pg.backend.port"
	raw  any    // string, int64, float64, bool, time.Time, []value, map[string]value
	src  *source
}

// source gathers what is found while the tree is read.
type source struct {
	problems     Problems
	resolverRef  []reference
	poolRef      []reference
	listens      []bound
	adminWritten bool          // listens has the address of the admin API
	bad          map[spot]bool // the values that have a problem
}

// spot identifies a value.
type spot struct {
	place
	path string
}

// reference is a name that must be defined somewhere.
type reference struct {
	value
	name string
}

// fail notes a problem with a value.
func (v value) fail(format string, args ...any) {
	p := Problem{File: v.at.file, Line: v.at.line, Key: v.path, Text: fmt.Sprintf(format, args...)}
	if v.at.flag != "" {
		p.Key = v.at.flag
		if v.at.part != "" {
			p.Text = v.at.part + ": " + p.Text
		}
	}
	v.src.problems = append(v.src.problems, p)
	if v.src.bad == nil {
		v.src.bad = make(map[spot]bool)
	}
	v.src.bad[spot{v.at, v.path}] = true
}

// origin says who gave the value, in the middle of a sentence.
func (v value) origin() string {
	switch {
	case v.at.flag != "":
		return v.at.flag
	case v.at.line > 0:
		return v.path + " " + v.at.String()
	}
	return v.path
}

// unexpected says what was found and what may stand there.
func (v value) unexpected(format string, args ...any) {
	v.fail("found %s, expected %s", v.found(), fmt.Sprintf(format, args...))
}

// found shows a value in a problem. Long text is cut.
func (v value) found() string {
	const most = 80
	switch raw := v.raw.(type) {
	case string:
		if len(raw) > most {
			return strconv.Quote(raw[:most]) + "..."
		}
		if v.at.flag != "" {
			if _, err := strconv.Atoi(raw); err == nil {
				return raw
			}
		}
		return strconv.Quote(raw)
	case []value:
		return "a list"
	case map[string]value:
		return "a table"
	case time.Time:
		return "a date"
	default:
		return fmt.Sprint(raw)
	}
}

// child is a value inside v, at the same place until it is located.
func (v value) child(key string, raw any) value {
	path := showKey(key)
	if v.path != "" {
		path = v.path + "." + path
	}
	return value{at: v.at, path: path, raw: raw, src: v.src}
}

// showKey is a key as it may stand in a line of a problem: quoted if it is not bare, cut if it is long.
func showKey(key string) string {
	switch {
	case isName(key) && !strings.Contains(key, "."):
		return key
	case len(key) > 63:
		return strconv.Quote(key[:63]) + "..."
	}
	return strconv.Quote(key)
}

// table gives the entries of a table in the order of their lines.
func (v value) table() ([]string, map[string]value, bool) {
	t, ok := v.raw.(map[string]value)
	if !ok {
		v.unexpected("a table")
		return nil, nil, false
	}
	names := slices.SortedFunc(maps.Keys(t), func(a, b string) int {
		return cmp.Or(cmp.Compare(t[a].at.line, t[b].at.line), cmp.Compare(a, b))
	})
	return names, t, true
}

// written gives the first of the named entries that a table has, and otherwise the table itself: the place to blame.
func (v value) written(names ...string) value {
	t, _ := v.raw.(map[string]value)
	for _, name := range names {
		if e, ok := t[name]; ok {
			return e
		}
	}
	return v
}

// sound tells that none of the named entries has a problem, so that rules about several of them make sense.
func (v value) sound(names ...string) bool {
	t, _ := v.raw.(map[string]value)
	for _, name := range names {
		if e, ok := t[name]; ok && v.src.bad[spot{e.at, e.path}] {
			return false
		}
	}
	return true
}

func (v value) has(name string) bool {
	t, _ := v.raw.(map[string]value)
	_, ok := t[name]
	return ok
}

// tables gives the elements of a list of tables.
func (v value) tables(what string) []value {
	l, ok := v.raw.([]value)
	switch _, one := v.raw.(map[string]value); {
	case one:
		v.fail("found one table, expected a list of them: %s", what)
	case !ok:
		v.unexpected("%s tables", what)
	case len(l) == 0:
		v.fail("found an empty list, expected at least one %s", what)
	}
	return l
}

// texts gives one string or a list of them as values.
func (v value) texts(what string) []value {
	switch raw := v.raw.(type) {
	case string:
		return []value{v}
	case []value:
		var out []value
		for _, e := range raw {
			if _, ok := e.raw.(string); !ok {
				e.unexpected("%s", what)
				continue
			}
			out = append(out, e)
		}
		return out
	}
	v.unexpected("%s, or a list of them", what)
	return nil
}

func (v value) text(what string) (string, bool) {
	s, ok := v.raw.(string)
	if !ok {
		v.unexpected("%s", what)
	}
	return s, ok
}

// word reads one of the words of now into dst. Those of later are known, but have no function yet.
func (v value) word(dst *string, now, later string) {
	words := strings.Fields(now)
	s, isText := v.raw.(string)
	switch {
	case isText && slices.Contains(words, s):
		*dst = s
	case isText && slices.Contains(strings.Fields(later), s):
		v.fail("found %q, %s, expected %s", s, notYet, choice(words))
	default:
		v.unexpected("%s", choice(words))
	}
}

// choice lists words for people.
func choice(words []string) string {
	if len(words) == 1 {
		return strconv.Quote(words[0])
	}
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = strconv.Quote(w)
	}
	last := len(quoted) - 1
	return strings.Join(quoted[:last], ", ") + " or " + quoted[last]
}

func (v value) bool(dst *bool) {
	b, ok := v.raw.(bool)
	if !ok {
		v.unexpected("true or false")
		return
	}
	*dst = b
}

// int reads a whole number from low to high. The word, if there is one, stands for zero.
func (v value) int(dst *int, low, high int, word string) {
	expected := fmt.Sprintf("a whole number from %d to %d", low, high)
	if word != "" {
		expected += fmt.Sprintf(", or %q", word)
	}
	n, ok := v.raw.(int64)
	if s, isText := v.raw.(string); isText {
		if word != "" && s == word {
			*dst = 0
			return
		}
		if v.at.flag != "" { // flags have no types
			var err error
			n, err = strconv.ParseInt(s, 10, 64)
			ok = err == nil
		}
	}
	if !ok || n < int64(low) || n > int64(high) {
		v.unexpected("%s", expected)
		return
	}
	*dst = int(n)
}

// duration reads a duration from low to maxDuration. The word, if there is one, stands for zero.
func (v value) duration(dst *time.Duration, low time.Duration, word string) {
	or := ""
	if word != "" {
		or = fmt.Sprintf(", or %q", word)
	}
	s, isText := v.raw.(string)
	d, err := time.ParseDuration(s)
	switch {
	case isText && word != "" && s == word:
		*dst = 0
	case !isText || err != nil || s[len(s)-1] <= '9': // ParseDuration takes a bare 0
		v.unexpected(`a duration with its unit (ms, s, m, h), such as "30s"%s`, or)
	case d < low || d > maxDuration:
		v.unexpected("a duration from %s to %s%s", brief(low), brief(maxDuration), or)
	default:
		*dst = d
	}
}

// brief is d as people write it: 1h, not 1h0m0s.
func brief(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// name reads the name of a thing: it stands in URLs, labels and log lines, and none of them should need quoting.
func (v value) name(dst *string) {
	const expected = "a name of 1 to 63 letters, digits, dots, hyphens and underscores"
	s, ok := v.text(expected)
	if !ok {
		return
	}
	if !isName(s) {
		v.unexpected(expected)
		return
	}
	*dst = s
}

func isName(s string) bool {
	for _, c := range []byte(s) {
		if !('a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '.' || c == '-' || c == '_') {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 63 && s != "." && s != ".."
}
