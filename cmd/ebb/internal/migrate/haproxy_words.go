package migrate

import (
	"fmt"
	"strings"
)

// line is one line of a HAProxy config, as words. There is at least one.
type line struct {
	at    place
	words []string
}

// rest is the line without its first n words.
func (l line) rest(n int) []string {
	if n >= len(l.words) {
		return nil
	}
	return l.words[n:]
}

// arg is the n-th word, "" if there is none.
func (l line) arg(n int) string {
	if n < len(l.words) {
		return l.words[n]
	}
	return ""
}

// split makes words of a line by HAProxy's rules: quotes, escapes, comments, and variables of the environment inside of double
// quotes.
func split(text string, env func(string) (string, bool)) (words []string, err error) {
	var word strings.Builder
	in, quoted := false, byte(0)
	end := func() {
		if in {
			words = append(words, word.String())
			word.Reset()
			in = false
		}
	}
	for i := 0; i < len(text); i++ {
		c := text[i]
		switch {
		case quoted == '\'':
			if c == '\'' {
				quoted = 0
			} else {
				word.WriteByte(c)
			}
		case c == '\\':
			if i+1 == len(text) {
				return nil, fmt.Errorf("a backslash ends the line")
			}
			n := escape(&word, text[i+1:])
			in = true
			i += n
		case c == '"':
			if in = true; quoted == 0 {
				quoted = c
			} else {
				quoted = 0
			}
		case quoted == '"' && c == '$':
			n, err := expand(&word, text[i+1:], env)
			if err != nil {
				return nil, err
			}
			i += n
		case quoted != 0:
			word.WriteByte(c)
		case c == '\'':
			in, quoted = true, c
		case c == ' ' || c == '\t' || c == '\r':
			end()
		case c == '#':
			end()
			return words, nil
		default:
			in = true
			word.WriteByte(c)
		}
	}
	if quoted != 0 {
		return nil, fmt.Errorf("a quote %c is not closed", quoted)
	}
	end()
	return words, nil
}

// escape writes what stands behind a backslash, and gives how many bytes that was.
func escape(word *strings.Builder, rest string) int {
	c := rest[0]
	switch c {
	case 'n':
		word.WriteByte('\n')
	case 'r':
		word.WriteByte('\r')
	case 't':
		word.WriteByte('\t')
	case 'x':
		var b byte
		if len(rest) >= 3 {
			if _, err := fmt.Sscanf(rest[1:3], "%02x", &b); err == nil {
				word.WriteByte(b)
				return 3
			}
		}
		word.WriteString(`\x`)
	case ' ', '#', '\\', '\'', '"', '$':
		word.WriteByte(c)
	default:
		word.WriteByte('\\')
		word.WriteByte(c)
	}
	return 1
}

// expand writes a variable: NAME, {NAME} or {NAME-default}, and gives how many bytes that was.
func expand(word *strings.Builder, rest string, env func(string) (string, bool)) (n int, err error) {
	braced := strings.HasPrefix(rest, "{")
	if braced {
		n = 1
	}
	begin := n
	for n < len(rest) && (rest[n] == '_' || 'A' <= rest[n] && rest[n] <= 'Z' || 'a' <= rest[n] && rest[n] <= 'z' || n > begin && '0' <= rest[n] && rest[n] <= '9') {
		n++
	}
	name, instead := rest[begin:n], ""
	if name == "" {
		return 0, fmt.Errorf("behind $ there is no name of a variable")
	}
	if braced {
		length := strings.IndexByte(rest[n:], '}')
		if length < 0 {
			return 0, fmt.Errorf("the brace behind ${%s is not closed", printable(name))
		}
		instead = strings.TrimPrefix(rest[n:n+length], "-")
		if instead == "[*]" {
			return 0, fmt.Errorf("the list ${%s[*]}: write it out", printable(name))
		}
		n += length + 1
	}
	value, ok := env(name)
	switch {
	case !ok && instead == "":
		return 0, fmt.Errorf("the variable %s is not set: set it for this command", printable(name))
	case !ok:
		value = instead
	}
	word.WriteString(value)
	return n, nil
}
