package migrate

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Input is a text with the name that findings have for it.
type Input struct{ Name, Text string }

// Result is what became of a config.
type Result struct {
	TOML    string    // a config for ebb; "" if nothing could be carried over
	Refused []Finding // what could not be, by place
	Notes   []Finding // what ebb does otherwise, each once, by place
}

// Finding is a remark on one word of a text.
type Finding struct {
	File string
	Line int    // from 1; 0 is the text as a whole
	What string // the word, such as "use_backend"
	Text string // what is wrong with it, and what to write instead
}

func (f Finding) String() string {
	at := f.File
	if f.Line > 0 {
		at += fmt.Sprintf(":%d", f.Line)
	}
	if f.What != "" {
		at += ": " + f.What
	}
	return at + ": " + f.Text
}

// place is where a word stands.
type place struct {
	file int // counts inputs in the order in which they were read
	line int
}

func (p place) compare(q place) int {
	return cmp.Or(cmp.Compare(p.file, q.file), cmp.Compare(p.line, q.line))
}

type remark struct {
	at         place
	what, text string
}

// report collects remarks.
type report struct {
	files          []string
	refused, noted []remark
}

// maxRemarks bounds what is kept of each kind.
const maxRemarks = 1000

func (r *report) refuse(at place, what, format string, args ...any) {
	add(&r.refused, remark{at, what, fmt.Sprintf(format, args...)}, func(a, b remark) bool { return a == b })
}

// note is once for each word and text, wherever they stand.
func (r *report) note(at place, what, format string, args ...any) {
	add(&r.noted, remark{at, what, fmt.Sprintf(format, args...)}, func(a, b remark) bool { return a.what == b.what && a.text == b.text })
}

func add(list *[]remark, m remark, same func(a, b remark) bool) {
	m.what = printable(m.what)
	if len(*list) < maxRemarks && !slices.ContainsFunc(*list, func(other remark) bool { return same(m, other) }) {
		*list = append(*list, m)
	}
}

// printable is a word as it may stand in a line.
func printable(s string) string {
	const most = 60
	if len(s) > most {
		s = s[:most] + "..."
	}
	return strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(s, "?"))
}

func (r *report) findings(list []remark) []Finding {
	slices.SortStableFunc(list, func(a, b remark) int { return a.at.compare(b.at) })
	var out []Finding
	for _, m := range list {
		out = append(out, Finding{r.files[m.at.file], m.at.line, m.what, m.text})
	}
	return out
}
