package migrate

import (
	"fmt"
	"strings"
)

// names gives each thing of a kind a name that ebb takes, and no two the same.
type names struct {
	given map[string]string // by what they were called
	taken map[string]bool
}

func newNames() *names { return &names{make(map[string]string), make(map[string]bool)} }

// maxName is the longest name in bytes.
const maxName = 63

// fresh makes a name that nobody has.
func (n *names) fresh(wanted string) string {
	clean := strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || r == '.' || r == '-' || r == '_':
			return r
		}
		return '-'
	}, wanted)
	if len(clean) > maxName-6 { // there is room for a number
		clean = clean[:maxName-6]
	}
	if strings.Trim(clean, ".") == "" {
		clean = "unnamed"
	}
	name := clean
	for i := 2; n.taken[name]; i++ {
		name = fmt.Sprintf("%s-%d", clean, i)
	}
	n.taken[name] = true
	return name
}

// of is the one name of what was called so.
func (n *names) of(called string) string {
	if n.given[called] == "" {
		n.given[called] = n.fresh(called)
	}
	return n.given[called]
}
