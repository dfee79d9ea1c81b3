package config

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Problem is one thing that is wrong, and where.
type Problem struct {
	File string // "" for a flag
	Line int    // from 1; 0 for the file as a whole
	Key  string // dotted, without the indices of lists; for a flag "--name"; "" for the file as a whole
	Text string // what was found, what is expected
}

func (p Problem) String() string {
	var b strings.Builder
	if p.File != "" {
		b.WriteString(p.File)
		if p.Line > 0 {
			fmt.Fprintf(&b, ":%d", p.Line)
		}
		b.WriteString(": ")
	}
	if p.Key != "" {
		b.WriteString(p.Key + ": ")
	}
	b.WriteString(p.Text)
	return b.String()
}

// Error is String: a problem that shows later than in Load may be an error of its own.
func (p Problem) Error() string { return p.String() }

// Problems is the error that Load and FromFlags return: everything that is wrong, at least one, sorted by line with those
// of flags first.
type Problems []Problem

// Error has one line for each problem.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return strings.Join(lines, "\n")
}

// err is nil if there are no problems: a nil Problems in an error would not be.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	var once Problems
	seen := make(map[Problem]bool) // one flag may stand for a key of several tables
	for _, p := range ps {
		if !seen[p] {
			seen[p] = true
			once = append(once, p)
		}
	}
	slices.SortStableFunc(once, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return once
}
