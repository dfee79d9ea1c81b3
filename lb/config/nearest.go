package config

import "strings"

// nearest gives the one word that is near s; "" if none is, or several are as near. Case and what joins the parts of a word do not
// count. A word that goes on where s ends, or the other way round, is near where no other is.
func nearest(s string, words []string) string {
	if len(s) > 63 || len(words) > 1000 { // a courtesy must not cost seconds
		return ""
	}
	s = fold(s)
	best, least := "", 1+min(3, (len(s)+1)/3)
	for _, w := range words {
		switch d := distance(s, fold(w)); {
		case d < least:
			best, least = w, d
		case d == least:
			best = ""
		}
	}
	for _, w := range words {
		if f := fold(w); best == "" && min(len(s), len(f)) >= 3 && (strings.HasPrefix(s, f) || strings.HasPrefix(f, s)) {
			best = w
		}
	}
	return best
}

// fold gives what counts of a word.
func fold(s string) string {
	return strings.NewReplacer("-", "", "_", "", " ", "").Replace(strings.ToLower(s))
}

// distance counts the bytes to insert, delete or replace, or neighbours to swap, between a and b (optimal string
// alignment).
func distance(a, b string) int {
	var before []int
	last := make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := range len(a) {
		row := make([]int, len(b)+1)
		row[0] = i + 1
		for j := range len(b) {
			differ := 1
			if a[i] == b[j] {
				differ = 0
			}
			row[j+1] = min(last[j+1]+1, row[j]+1, last[j]+differ)
			if i > 0 && j > 0 && a[i] == b[j-1] && a[i-1] == b[j] {
				row[j+1] = min(row[j+1], before[j-1]+1)
			}
		}
		before, last = last, row
	}
	return last[len(b)]
}
