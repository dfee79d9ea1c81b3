package migrate

import (
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/ebb-lb/ebb/lb/config"
)

// result shows the draft to lb/config, takes out what that does not accept, with a remark, and repeats that until all is
// accepted. What is taken out takes along what cannot be without it.
func (d *draft) result(r *report) *Result {
	for {
		d.orphans(r)
		if len(d.listeners) == 0 {
			r.refuse(place{}, "", "there is no listener in it that ebb could carry")
			return &Result{"", r.findings(r.refused), r.findings(r.noted)}
		}
		w := d.write(func(at place, what string) string {
			return printable(fmt.Sprintf("%s:%d: %s", filepath.Base(r.files[at.file]), at.line, what))
		})
		text := w.b.String()
		_, err := config.Parse("import", text, nil)
		if err == nil {
			return &Result{strings.TrimPrefix(text, "\n"), r.findings(r.refused), r.findings(r.noted)}
		}
		var problems config.Problems
		if !errors.As(err, &problems) {
			panic("migrate: config.Parse returned " + err.Error()) // it promises Problems
		}
		if !d.remove(r, w, problems) {
			panic("migrate: nothing in the draft is to blame for " + err.Error())
		}
	}
}

// lineOfResult is where a problem speaks of a line of what nobody has seen.
var lineOfResult = regexp.MustCompile(`(, first)? on line [0-9]+`)

// remove takes out what has problems, and tells whether that was anything.
func (d *draft) remove(r *report, w *writer, problems config.Problems) (any bool) {
	for _, p := range problems {
		if p.File != "import" { // a file that the config names; the line that names it comes with it, or is to be found
			r.refuse(place{}, filepath.Base(p.File), "%s", p)
			continue
		}
		if p.Line < 1 || p.Line > len(w.lines) {
			continue
		}
		s := w.lines[p.Line-1]
		if s.table == nil {
			continue
		}
		at, what, key := s.table.at, s.table.what, p.Key
		if s.entry != nil {
			at, what = s.entry.at, s.entry.what
		}
		r.refuse(at, what, "ebb does not take it: %s: %s", key[strings.LastIndexByte(key, '.')+1:], lineOfResult.ReplaceAllString(p.Text, ""))
		any = true
		switch {
		case s.backend != nil:
			s.pool.backends = slices.DeleteFunc(s.pool.backends, func(b *table) bool { return b == s.backend })
		case s.pool != nil:
			d.pools = slices.DeleteFunc(d.pools, func(p *pool) bool { return p == s.pool })
		case s.listener != nil:
			d.listeners = slices.DeleteFunc(d.listeners, func(l *listener) bool { return l == s.listener })
		case s.resolver != nil:
			d.resolvers = slices.DeleteFunc(d.resolvers, func(o *resolver) bool { return o == s.resolver })
		default:
			d.top.drop(s.entry.key)
		}
	}
	if any {
		return true
	}
	for _, p := range problems { // only files, of access lists: their listener goes
		for _, l := range d.listeners {
			if slices.ContainsFunc(l.entries, func(e entry) bool { return strings.Contains(e.value, quote(p.File)) }) {
				d.listeners = slices.DeleteFunc(d.listeners, func(o *listener) bool { return o == l })
				return true
			}
		}
	}
	return false
}

// orphans takes out pools without backends and listeners without a pool.
func (d *draft) orphans(r *report) {
	d.pools = slices.DeleteFunc(d.pools, func(p *pool) bool {
		if len(p.backends) == 0 {
			r.refuse(p.at, p.what, "it is left out: none of its servers could be carried over")
		}
		return len(p.backends) == 0
	})
	d.listeners = slices.DeleteFunc(d.listeners, func(l *listener) bool {
		there := slices.ContainsFunc(d.pools, func(p *pool) bool { return p.name == l.pool })
		if !there {
			r.refuse(l.at, l.what, "it is left out, because what it sends to is")
		}
		return !there
	})
}
