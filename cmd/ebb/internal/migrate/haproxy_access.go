package migrate

import (
	"slices"
	"strings"
)

// access turns rules about the client's address into allow and deny. Whatever it cannot say breaks the proxy.
func (h *haproxy) access(p *proxy, proxied bool) (allow, deny []string, from line) {
	var rules []rule
	refuse := func(l line, format string, args ...any) {
		h.refuse(l.at, "tcp-request "+l.arg(1), format, args...)
		p.broken = true
	}
	for _, l := range p.rules {
		verb := l.arg(2)
		switch {
		case l.arg(1) == "inspect-delay":
			h.note(l.at, "tcp-request inspect-delay", "ebb waits for nothing that a client says, and this is left out")
			continue
		case l.arg(1) != "connection" && l.arg(1) != "session" && l.arg(1) != "content":
			refuse(l, "this import does not know it")
			continue
		case verb != "accept" && verb != "reject":
			refuse(l, "%s: ebb has no rules with variables, tables and headers; for limits of one source write source_max_conns and source_rate of the listener", printable(verb))
			continue
		case l.arg(1) == "connection" && proxied:
			refuse(l, "with accept-proxy this looks at the proxy in front; write who that may be into proxy_in of the listener")
			continue
		}
		of, negated, why := h.condition(p, l.rest(3))
		if why != "" {
			refuse(l, "%s", why)
			continue
		}
		if from = l; !negated {
			rules = append(rules, rule{verb == "accept", of})
			continue
		}
		if verb == "accept" || l.at != p.rules[len(p.rules)-1].at {
			refuse(l, "what it says of all others can only be carried over if it rejects them and is the last rule: turn it around")
		}
		rules = append(rules, rule{true, of}, rule{false, nil})
	}
	allow, deny, why := access(rules)
	if why != "" {
		refuse(from, "%s", why)
	}
	return allow, deny, from
}

const conditionForm = "ebb judges a client by its address alone, before it says anything: what can be carried over is \"if\" or \"unless\" with one or several (or) src"

// condition reads "if A or B", and "unless A". nil is everybody.
func (h *haproxy) condition(p *proxy, words []string) (of []string, negated bool, why string) {
	if len(words) == 0 {
		return nil, false, ""
	}
	negated = words[0] == "unless"
	if words[0] != "if" && words[0] != "unless" {
		return nil, false, conditionForm
	}
	words = words[1:]
	terms := 0
	for i := 0; i < len(words); {
		if words[i] == "or" || words[i] == "||" {
			i++
			continue
		}
		if terms > 0 && words[i-1] != "or" && words[i-1] != "||" { // two in a row are both
			return nil, false, conditionForm
		}
		terms++
		word, not := strings.CutPrefix(words[i], "!")
		if word == "" && i+1 < len(words) { // "! name"
			i++
			word = words[i]
		}
		var list []string
		if word == "{" {
			end := slices.Index(words[i:], "}")
			if end < 0 {
				return nil, false, "a brace is not closed"
			}
			list, why = sources(words[i+1 : i+end])
			i += end + 1
		} else {
			list, why = h.acl(p, word)
			i++
		}
		if why != "" {
			return nil, false, why
		}
		if not && (terms > 1 || i < len(words)) {
			return nil, false, conditionForm
		}
		negated = negated != not
		of = append(of, list...)
	}
	if len(of) == 0 {
		return nil, false, conditionForm
	}
	return of, negated, ""
}

// acl gives what the lines of a name say.
func (h *haproxy) acl(p *proxy, name string) (of []string, why string) {
	if name == "LOCALHOST" {
		return []string{"127.0.0.0/8", "::1"}, ""
	}
	for _, l := range p.acls[name] {
		list, why := sources(l.rest(2))
		if why != "" {
			return nil, why
		}
		of = append(of, list...)
	}
	if len(of) == 0 {
		return nil, "there is no acl " + printable(name)
	}
	return of, ""
}

// sources reads "src" with addresses, prefixes and files of them.
func sources(words []string) (of []string, why string) {
	if len(words) == 0 || words[0] != "src" {
		return nil, conditionForm
	}
	for i := 1; i < len(words); i++ {
		switch w := words[i]; {
		case w == "-f" && i+1 < len(words):
			i++
			if !strings.HasPrefix(words[i], "/") {
				return nil, "the list " + printable(words[i]) + " is not named by its absolute path"
			}
			of = append(of, words[i])
		case w == "-m" && i+1 < len(words) && words[i+1] == "ip":
			i++
		case w == "-n", w == "--":
		case strings.HasPrefix(w, "-"):
			return nil, "this import does not know " + printable(w) + " of src"
		default:
			of = append(of, w)
		}
	}
	if len(of) == 0 {
		return nil, conditionForm
	}
	return of, ""
}
