package migrate

import "strings"

// Program tells whose config a text is: "haproxy" if its first word begins one of HAProxy's sections, and "nginx" otherwise.
func Program(text string) string {
	for l := range strings.Lines(text) {
		words := strings.Fields(l)
		if len(words) == 0 || strings.HasPrefix(words[0], "#") {
			continue
		}
		_, other := otherSections[words[0]]
		known := strings.Contains(" global defaults frontend backend listen resolvers ", " "+words[0]+" ") || words[0][0] == '.'
		if (other || known) && !strings.ContainsAny(words[len(words)-1], ";{") {
			return "haproxy"
		}
		return "nginx"
	}
	return "haproxy"
}
