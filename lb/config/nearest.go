package config

// nearest gives the word that s was probably meant to be; "" if none is near.
func nearest(s string, words []string) string {
	if len(s) > 63 || len(words) > 1000 { // a courtesy must not cost seconds
		return ""
	}
	best, least := "", 1+min(3, (len(s)+1)/3)
	for _, w := range words {
		if d := distance(s, w); d < least {
			best, least = w, d
		}
	}
	return best
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
