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
	place
	path string
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
		v.noTable()
		return nil, nil, false
	}
	names := slices.SortedFunc(maps.Keys(t), func(a, b string) int {
		return cmp.Or(cmp.Compare(t[a].at.line, t[b].at.line), cmp.Compare(a, b))
	})
	return names, t, true
}

// noTable says what a table would look like.
func (v value) noTable() {
	if l, ok := v.raw.([]value); ok && len(l) > 0 {
		if _, ok := l[0].raw.(map[string]value); ok {
			v.fail("found a list of tables, expected one, in single brackets: [%s]", v.path)
			return
		}
	}
	form := map[string]string{
		"backend": `, such as { host = "db.example.com", port = 5432 }`,
		"check":   `, such as { kind = "tcp" }`,
		"on":      `, such as { removed = "drain" }`,
	}[v.path[strings.LastIndexByte(v.path, '.')+1:]]
	v.unexpected("a table%s", form)
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
