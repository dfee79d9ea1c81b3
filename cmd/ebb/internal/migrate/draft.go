package migrate

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ebb-lb/ebb/lb/config"
)

// entry is one key of a table, with its value in TOML.
type entry struct {
	at         place
	what       string // the word that it comes from
	key, value string
}

// table is a table of ebb's config.
type table struct {
	at      place
	what    string // the section that it comes from: "backend pg"
	entries []entry
}

// set gives a key its value, in place of the one that it has.
func (t *table) set(at place, what, key, value string) {
	e := entry{at, what, key, value}
	if i := slices.IndexFunc(t.entries, func(e entry) bool { return e.key == key }); i >= 0 {
		t.entries[i] = e
		return
	}
	t.entries = append(t.entries, e)
}

func (t *table) has(key string) bool {
	return slices.ContainsFunc(t.entries, func(e entry) bool { return e.key == key })
}

func (t *table) drop(key string) {
	t.entries = slices.DeleteFunc(t.entries, func(e entry) bool { return e.key == key })
}

func (t *table) text(at place, what, key, s string) { t.set(at, what, key, quote(s)) }
func (t *table) number(at place, what, key string, n int) {
	t.set(at, what, key, strconv.Itoa(n))
}

// span sets a duration; none is off.
func (t *table) span(at place, what, key string, d time.Duration) {
	if d <= 0 {
		t.text(at, what, key, "off")
		return
	}
	t.text(at, what, key, config.Brief(d))
}

// texts sets one string, or a list of them.
func (t *table) texts(at place, what, key string, list []string) {
	if len(list) == 1 && (key == "listen" || key == "servers") {
		t.text(at, what, key, list[0])
		return
	}
	quoted := make([]string, len(list))
	for i, s := range list {
		quoted[i] = quote(s)
	}
	t.set(at, what, key, "["+strings.Join(quoted, ", ")+"]")
}

// quote is s as a string of TOML. Bytes that are no UTF-8 become U+FFFD: who must keep them does not come here.
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func plainText(s string) bool { return utf8.ValidString(s) && !strings.ContainsRune(s, 0) }

// resolver, listener and pool are tables with a name.
type resolver struct {
	table
	name string
}

type listener struct {
	table
	name, pool string
}

type pool struct {
	table
	name     string
	backends []*table
	check    *table
	datagram bool // made for UDP, which says nothing of connects
}

// draft is a config of ebb in the making.
type draft struct {
	top       table
	resolvers []*resolver
	listeners []*listener
	pools     []*pool
}

// spot says to whom a line of the text belongs; what names no entry is about the table as a whole.
type spot struct {
	listener *listener
	pool     *pool
	resolver *resolver
	backend  *table // of the pool
	table    *table
	entry    *entry
}

// writer makes the text, and knows whose each line is.
type writer struct {
	b     strings.Builder
	lines []spot
}

func (w *writer) line(s spot, format string, args ...any) {
	fmt.Fprintf(&w.b, format+"\n", args...)
	w.lines = append(w.lines, s)
}

func (w *writer) table(s spot, head string) {
	w.line(s, "%s", head)
	w.entries(s)
}

func (w *writer) entries(s spot) {
	for i := range s.table.entries {
		e := &s.table.entries[i]
		s.entry = e
		w.line(s, "%s = %s", e.key, e.value)
	}
}

// write gives the draft as TOML. origin says in a comment where a table comes from.
func (d *draft) write(origin func(place, string) string) *writer {
	w := new(writer)
	w.entries(spot{table: &d.top})
	for _, r := range d.resolvers {
		w.line(spot{}, "\n# %s", origin(r.at, r.what))
		w.lines = append(w.lines, spot{}) // two lines are one here
		w.table(spot{resolver: r, table: &r.table}, "[resolver."+bare(r.name)+"]")
	}
	for _, l := range d.listeners {
		w.line(spot{}, "\n# %s", origin(l.at, l.what))
		w.lines = append(w.lines, spot{})
		w.table(spot{listener: l, table: &l.table}, "[[listener]]")
	}
	for _, p := range d.pools {
		w.line(spot{}, "\n# %s", origin(p.at, p.what))
		w.lines = append(w.lines, spot{})
		s := spot{pool: p, table: &p.table}
		head := "pool." + bare(p.name)
		w.table(s, "["+head+"]")
		for _, b := range p.backends {
			w.table(spot{pool: p, table: b, backend: b}, "[["+head+".backend]]")
		}
		if p.check != nil {
			s.table = p.check
			w.table(s, "["+head+".check]")
		}
	}
	return w
}

// bare is a name as a part of a key.
func bare(name string) string {
	if strings.Contains(name, ".") {
		return quote(name)
	}
	return name
}
