package config

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// notYet refuses what has a name but no function.
const notYet = "not in this version"

// value is one node of the tree.
type value struct {
	at  place
	in  string // the path of the table that it is in, "" at the top
	key string // what is in a list has that of the list
	raw any    // string, int64, float64, bool, time.Time, []value, table
	src *source
}

// path names the value in problems: "pool.pg.backend.port".
func (v value) path() string {
	if v.in == "" {
		return showKey(v.key)
	}
	return v.in + "." + showKey(v.key)
}

// table has one entry for each key, in the order of their lines.
type table []value

// newTable puts entries into their order.
func newTable(entries ...value) table {
	slices.SortFunc(entries, func(a, b value) int { return cmp.Or(cmp.Compare(a.at.line, b.at.line), cmp.Compare(a.key, b.key)) })
	return entries
}

// find gives the entry of a key.
func (t table) find(key string) (value, bool) {
	for _, e := range t {
		if e.key == key {
			return e, true
		}
	}
	return value{}, false
}

// with gives a table that has an entry too, instead of the one that had its key.
func (t table) with(e value) table {
	return newTable(append(slices.DeleteFunc(slices.Clone(t), func(was value) bool { return was.key == e.key }), e)...)
}

// source gathers what is found while the tree is read.
type source struct {
	file         string // that is read; "" is none
	problems     Problems
	resolverRef  []reference
	poolRef      []reference
	listens      []bound
	waiting      map[string]value // pools whose clients may wait, and the key that says so
	proxied      map[string]value // pools with proxy_out
	connecting   map[string]value // pools with max_connecting
	pools        map[string]value
	preread      map[string]value // listeners that say how long they wait, without proxy_in
	adminWritten bool             // listens has the address of the admin API
	bad          map[spot]bool    // the values that have a problem
	homes        []home
}

// spot identifies a value.
type spot struct {
	given
	line int
	path string
}

func (v value) spot() spot { return spot{v.given(), v.at.line, v.path()} }

// given says who gave the value.
func (v value) given() given {
	if v.at.given == nil {
		return given{file: v.src.file}
	}
	return *v.at.given
}

// fail notes a problem with a value.
func (v value) fail(format string, args ...any) {
	by := v.given()
	p := Problem{File: by.file, Line: v.at.line, Key: v.path(), Text: fmt.Sprintf(format, args...)}
	if by.flag != "" {
		p.Key = by.flag
		if by.part != "" {
			p.Text = by.part + ": " + p.Text
		}
	}
	v.src.problems = append(v.src.problems, p)
	if v.src.bad == nil {
		v.src.bad = make(map[spot]bool)
	}
	v.src.bad[v.spot()] = true
}

// origin says who gave the value, in the middle of a sentence.
func (v value) origin() string {
	switch {
	case v.at.flag() != "":
		return v.at.flag()
	case v.at.line > 0:
		return v.path() + " " + v.at.String()
	}
	return v.path()
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
		if v.at.flag() != "" {
			if _, err := strconv.Atoi(raw); err == nil {
				return raw
			}
		}
		return strconv.Quote(raw)
	case []value:
		return "a list"
	case table:
		return "a table"
	case time.Time:
		return "a date"
	default:
		return fmt.Sprint(raw)
	}
}

// child is a value inside v, at the same place.
func (v value) child(key string, raw any) value {
	return value{at: v.at, in: v.path(), key: key, raw: raw, src: v.src}
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

// table gives the entries of a table, and refuses what is none.
func (v value) table() (table, bool) {
	t, ok := v.raw.(table)
	if !ok {
		v.noTable()
	}
	return t, ok
}

// noTable says what a table would look like.
func (v value) noTable() {
	if l, ok := v.raw.([]value); ok && len(l) > 0 {
		if _, ok := l[0].raw.(table); ok {
			v.fail("found a list of tables, expected one, in single brackets: [%s]", v.path())
			return
		}
	}
	form := map[string]string{
		"backend": `, such as { host = "db.example.com", port = 5432 }`,
		"check":   `, such as { kind = "tcp" }`,
		"on":      `, such as { removed = "drain" }`,
	}[v.key]
	v.unexpected("a table%s", form)
}

// written gives the first of the named entries that a table has, and otherwise the table itself: the place to blame.
func (v value) written(names ...string) value {
	t, _ := v.raw.(table)
	for _, name := range names {
		if e, ok := t.find(name); ok {
			return e
		}
	}
	return v
}

// sound tells that none of the named entries has a problem, so that rules about several of them make sense.
func (v value) sound(names ...string) bool {
	t, _ := v.raw.(table)
	for _, name := range names {
		if len(v.src.bad) == 0 {
			return true
		}
		if e, ok := t.find(name); ok && v.src.bad[e.spot()] {
			return false
		}
	}
	return true
}

func (v value) has(name string) bool {
	t, _ := v.raw.(table)
	_, ok := t.find(name)
	return ok
}

// tables gives the elements of a list of tables.
func (v value) tables(what string) []value {
	l, ok := v.raw.([]value)
	switch _, one := v.raw.(table); {
	case one:
		v.fail("found one table, expected a list of them: %s", what)
	case !ok:
		v.unexpected("%s tables", what)
	case len(l) == 0:
		v.fail("found an empty list, expected at least one %s", what)
	}
	return l
}

// texts gives one string or a list of them as values, which are no part of the text that is read.
func (v value) texts(what string) []value {
	switch raw := v.raw.(type) {
	case string:
		v.raw = strings.Clone(raw)
		return []value{v}
	case []value:
		out := make([]value, 0, len(raw))
		for _, e := range raw {
			if s, ok := e.text(what); ok {
				e.raw = s
				out = append(out, e)
			}
		}
		return out
	}
	v.unexpected("%s, or a list of them", what)
	return nil
}

// text gives a string, which is no part of the text that is read.
func (v value) text(what string) (string, bool) {
	s, ok := v.raw.(string)
	if !ok {
		v.unexpected("%s", what)
	}
	return strings.Clone(s), ok
}
