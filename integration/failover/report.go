//go:build linux

package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// result is what clients saw, counted from the moment in which the old primary was none any more.
type result struct {
	first   time.Duration // until the first write on the new primary; 0: there was none
	closed  time.Duration // until the last session on the old one had ended; 0: before
	open    int           // sessions on it that never ended
	took    int           // writes that the old one took since
	late    int           // those of them that began after the first on the new one
	errors  int           // that clients got since the scenario began
	slowest time.Duration // write that succeeded, with the connect before it
}

// target bounds a result; zero is no bound.
type target struct {
	first, closed time.Duration
	fenced        bool // the old primary takes no write since; it never takes one after the first on the new one
	noErrors      bool
}

// result says what became of clients that have stopped.
func (c *clients) result(begin, since time.Time) (r result) {
	var first time.Time
	for _, w := range c.writes {
		if w.at.Before(begin) {
			continue
		}
		r.slowest = max(r.slowest, w.at.Sub(w.begun))
		if w.server == hostB && (first.IsZero() || w.at.Before(first)) {
			first = w.at
		}
	}
	for _, w := range c.writes {
		if w.server != hostA || !w.begun.After(since) {
			continue
		}
		r.took++
		if !first.IsZero() && w.begun.After(first) {
			r.late++
		}
	}
	if !first.IsZero() {
		r.first = max(first.Sub(since), time.Millisecond)
	}
	for _, s := range c.sessions {
		switch {
		case s.server != hostA:
		case s.closed.IsZero():
			r.open++
		default:
			r.closed = max(r.closed, s.closed.Sub(since))
		}
	}
	for _, f := range c.failed {
		if f.at.After(begin) {
			r.errors++
		}
	}
	return r
}

func (r result) String() string {
	return fmt.Sprintf("first write after %s, old sessions closed after %s, %d writes on the old one, %d of them late, %d errors", r.firstWord(), r.closedWord(), r.took, r.late, r.errors)
}

func (r result) firstWord() string {
	if r.first == 0 {
		return "never"
	}
	return fmt.Sprintf("%.2f s", r.first.Seconds())
}

func (r result) closedWord() string {
	if r.open > 0 {
		return fmt.Sprintf("never (%d)", r.open)
	}
	return fmt.Sprintf("%.2f s", r.closed.Seconds())
}

// worse keeps of each figure the one that clients like less.
func worse(a, b result) result {
	if a.first == 0 || b.first == 0 {
		a.first = 0
	} else {
		a.first = max(a.first, b.first)
	}
	a.closed, a.open, a.late, a.took = max(a.closed, b.closed), max(a.open, b.open), max(a.late, b.late), max(a.took, b.took)
	a.errors, a.slowest = max(a.errors, b.errors), max(a.slowest, b.slowest)
	return a
}

// misses says which bounds a result does not keep.
func (t target) misses(r result) (list []string) {
	if t.first > 0 && (r.first == 0 || r.first > t.first) {
		list = append(list, fmt.Sprintf("first write, at most %v", t.first))
	}
	if t.closed > 0 && (r.open > 0 || r.closed > t.closed) {
		list = append(list, fmt.Sprintf("old sessions closed, at most %v", t.closed))
	}
	if r.late > 0 {
		list = append(list, "writes on the old primary after the first on the new one")
	}
	if t.fenced && r.took > 0 {
		list = append(list, "writes on a demoted server")
	}
	if t.noErrors && r.errors > 0 {
		list = append(list, "no client errors")
	}
	return list
}

// report has the results of all rounds.
type report struct{ rows []row }

type row struct {
	scenario scenario
	proxy    string
	result   result
}

func (r *report) add(s scenario, p proxy, got result) {
	at := slices.IndexFunc(r.rows, func(one row) bool { return one.scenario.name == s.name && one.proxy == p.name })
	if at < 0 {
		r.rows = append(r.rows, row{s, p.name, got})
		return
	}
	r.rows[at].result = worse(r.rows[at].result, got)
}

// print writes the report as Markdown, and tells whether ebb keeps all targets.
func (r *report) print(w io.Writer) bool {
	kept := true
	fmt.Fprintln(w, "| scenario | proxy | first write on the new primary | last old session closed | writes that the old one took since / after that first one | client errors | slowest write | target |")
	fmt.Fprintln(w, "|---|---|---|---|---|---|---|---|")
	for _, one := range r.rows {
		said := "-"
		if one.proxy == ebbProxy.name {
			said = "kept"
			if missed := one.scenario.target.misses(one.result); len(missed) > 0 {
				said, kept = "MISSED: "+strings.Join(missed, "; "), false
			}
		}
		got := one.result
		first := got.firstWord()
		if one.scenario.alone {
			first = "-"
		}
		fmt.Fprintf(w, "| %s | %s | %s | %s | %d / %d | %d | %.2f s | %s |\n", one.scenario.name, one.proxy, first, got.closedWord(), got.took, got.late, got.errors,
			got.slowest.Seconds(), said)
	}
	fmt.Fprintln(w)
	for i, one := range r.rows {
		if i == 0 || r.rows[i-1].scenario.name != one.scenario.name {
			fmt.Fprintf(w, "- %s: %s.\n", one.scenario.name, one.scenario.about)
		}
	}
	return kept
}
