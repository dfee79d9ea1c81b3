package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxDuration bounds every duration: a year is beyond what any of them is for, and far from an overflow.
const maxDuration = 365 * 24 * time.Hour

// word reads one of the words of now into dst. Those of later are known, but have no function yet.
func (v value) word(dst *string, now, later string) {
	words := strings.Fields(now)
	s, isText := v.raw.(string)
	switch i := slices.Index(words, s); {
	case isText && i >= 0:
		*dst = words[i]
	case isText && slices.Contains(strings.Fields(later), s):
		v.fail("found %q, %s, expected %s", s, notYet, choice(words))
	default:
		v.unexpected("%s%s", choice(words), suggestion(s, words))
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
		quoted := ""
		if v.raw == any("true") || v.raw == any("false") {
			quoted = ", without quotes"
		}
		v.unexpected("true or false%s", quoted)
		return
	}
	*dst = b
}

// int reads a whole number from low to high. The word, if there is one, stands for zero.
func (v value) int(dst *int, low, high int, word string) {
	n, ok := v.raw.(int64)
	quoted := ""
	if s, isText := v.raw.(string); isText {
		if word != "" && s == word {
			*dst = 0
			return
		}
		written, err := strconv.ParseInt(s, 10, 64)
		switch {
		case err != nil:
		case v.at.flag() != "": // flags have no types
			n, ok = written, true
		default:
			quoted = ", without quotes"
		}
	}
	if !ok || n < int64(low) || n > int64(high) {
		v.unexpected("a whole number from %d to %d%s%s", low, high, or(word), quoted)
		return
	}
	*dst = int(n)
}

// or ends what is expected with a word that may stand there too, if there is one.
func or(word string) string {
	if word == "" {
		return ""
	}
	return fmt.Sprintf(", or %q", word)
}

// factor reads a number from low to high. The word stands for zero.
func (v value) factor(dst *float64, low, high float64, word string) {
	n, ok := v.raw.(float64)
	if whole, isWhole := v.raw.(int64); isWhole {
		n, ok = float64(whole), true
	}
	switch {
	case v.raw == any(word):
		*dst = 0
	case !ok || !(n >= low && n <= high): // nor nan
		v.unexpected("a number from %v to %v, or %q", low, high, word)
	default:
		*dst = n
	}
}

// duration reads a duration from low to maxDuration. The word, if there is one, stands for zero.
func (v value) duration(dst *time.Duration, low time.Duration, word string) {
	s, isText := v.raw.(string)
	d, err := time.ParseDuration(s)
	switch {
	case isText && word != "" && s == word:
		*dst = 0
	case !isText || err != nil || s[len(s)-1] <= '9': // ParseDuration takes a bare 0
		v.unexpected(`a duration with its unit (ms, s, m, h), such as "30s"%s`, or(word))
	case d < low || d > maxDuration:
		v.unexpected("a duration from %s to %s%s", Brief(low), Brief(maxDuration), or(word))
	default:
		*dst = d
	}
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

// failback reads when a lower tier takes its service back.
func (v value) failback(dst *time.Duration) {
	const expected = "\"immediate\", \"never\", or \"after=\" with a duration, such as \"after=5m\""
	s, ok := v.text(expected)
	after, waits := strings.CutPrefix(s, "after=")
	switch {
	case !ok:
	case s == "immediate":
		*dst = 0
	case s == "never":
		*dst = NeverFailback
	case waits:
		v.raw = after
		v.duration(dst, time.Millisecond, "")
	default:
		v.unexpected(expected)
	}
}
