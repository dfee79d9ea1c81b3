package lb

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/ebb-lb/ebb/dnswatch"
)

// watched is one name that a backend needs, and what DNS says about it, type by type.
type watched struct {
	name  string
	sets  map[dnswatch.Type]*rrset
	state map[dnswatch.Type]setState
	subs  []*dnswatch.Subscription
	wish  int  // counts the ways in which it was asked for: answers to an earlier one are not looked at
	gone  bool // needed no more: what still arrives is not looked at
}

func newWatched(name string, types []dnswatch.Type, rule answerRule) *watched {
	w := &watched{name: name, sets: make(map[dnswatch.Type]*rrset), state: make(map[dnswatch.Type]setState)}
	for _, typ := range types {
		w.sets[typ] = &rrset{rule: rule}
	}
	return w
}

// addressTypes lists what is asked for a name. A literal has one family, and only that is asked.
func addressTypes(name, family string, hasIPv6 bool) []dnswatch.Type {
	if a, err := netip.ParseAddr(name); err == nil {
		if a.Unmap().Is4() {
			return []dnswatch.Type{dnswatch.TypeA}
		}
		return []dnswatch.Type{dnswatch.TypeAAAA}
	}
	switch family {
	case "ipv4":
		return []dnswatch.Type{dnswatch.TypeA}
	case "ipv6":
		return []dnswatch.Type{dnswatch.TypeAAAA}
	case "auto":
		if !hasIPv6 {
			return []dnswatch.Type{dnswatch.TypeA}
		}
	}
	return []dnswatch.Type{dnswatch.TypeA, dnswatch.TypeAAAA}
}

// located is an address that a name has now.
type located struct {
	typ   dnswatch.Type
	addr  netip.Addr
	stale bool // only a check may vouch for it
}

// addresses lists what a name stands for now, by the family rule.
func (w *watched) addresses(family string, now time.Time) (list []located) {
	add := func(typ dnswatch.Type) {
		if set := w.sets[typ]; set != nil {
			stale := set.stale(now)
			for _, rec := range set.inForce {
				list = append(list, located{typ, rec.Addr, stale})
			}
		}
	}
	preferred, other := dnswatch.TypeA, dnswatch.TypeAAAA
	switch family {
	case "prefer_ipv6":
		preferred, other = other, preferred
		fallthrough
	case "prefer_ipv4":
		add(preferred)
		// A failure never moves a set that is in force to the other family: the two would flap.
		if set := w.sets[preferred]; set == nil || set.barren() {
			add(other)
		}
	default:
		add(dnswatch.TypeA)
		add(dnswatch.TypeAAAA)
	}
	return list
}

// tells says whether an empty answer of a type is news: a name that has addresses of one family often has none of the
// other, and never had. While that has not been answered, it is what will be told of.
func (w *watched) tells(typ dnswatch.Type) bool {
	if len(w.sets[typ].inForce) > 0 {
		return true
	}
	for other, set := range w.sets {
		if _, answered := w.state[other]; other != typ && (len(set.inForce) > 0 || !answered) {
			return false
		}
	}
	return true
}

// describe gives the last state of each type.
func (w *watched) describe(source string) (parts []string) {
	for typ := range w.sets {
		text := "no answer yet"
		if state, ok := w.state[typ]; ok {
			text = state.String()
		}
		parts = append(parts, fmt.Sprintf("%s %s: %s", source, typ, text))
	}
	return parts
}

// setState is the last answer for a set as people are told of it.
type setState struct {
	kind     dnswatch.Kind
	filtered string // addresses that allow_answers forbids
	omitted  bool   // there were more records than a set may have
	err      string // of a failure; its words differ from time to time without being news
}

func (s setState) String() string {
	text := s.kind.String()
	if s.filtered != "" {
		text += ", not in allow_answers: " + s.filtered
	}
	if s.err != "" {
		text += ", " + s.err
	}
	return text
}

// absolute is a name as DNS status shows it: lower case, without the last dot.
func absolute(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
