package dnswatch

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// collected is what one reply says about a question.
type collected struct {
	kind    Kind
	records []Record
	hints   []Record // addresses of SRV targets that came along
	omitted int      // records beyond maxRecords
	ttl     time.Duration
	chain   []string
	more    string // not empty: the reply ended at this CNAME target, which must be asked for
}

// collect reads the answer section: from the name asked along CNAMEs to the records. Records of other owners, types and
// classes are not looked at. hops is the number of CNAMEs that may still be followed.
func collect(m *dns.Msg, q question, hops int) (c collected, err error) {
	at := q.name
	c.ttl = -1
	for {
		none, bad := false, 0
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || h.Rrtype != uint16(q.typ) || dns.CanonicalName(h.Name) != at {
				continue
			}
			c.shorten(lifetime(h.Ttl))
			switch r, what := record(rr); what {
			case usable:
				c.records = append(c.records, r)
			case noService:
				none = true
			default:
				bad++
			}
		}
		switch {
		case len(c.records) > 0:
			c.records = tidy(c.records)
			if q.typ == TypeSRV {
				c.hints = hints(m.Extra, c.records)
			}
			c.omitted = max(len(c.records)-maxRecords, 0)
			c.records = c.records[:len(c.records)-c.omitted]
			return c, nil
		case none: // RFC 2782: decidedly not available
			c.kind = KindNoData
			c.shorten(maxNegative)
			return c, nil
		case bad > 0:
			return c, fmt.Errorf("%w: none of the %d records is usable", errUnusable, bad)
		}
		next := ""
		for _, rr := range m.Answer {
			if alias, ok := rr.(*dns.CNAME); ok && alias.Hdr.Class == dns.ClassINET && dns.CanonicalName(alias.Hdr.Name) == at {
				next = dns.CanonicalName(alias.Target)
				c.shorten(lifetime(alias.Hdr.Ttl))
				break
			}
		}
		if next == "" {
			break
		}
		switch {
		case next == q.name || slices.Contains(c.chain, next):
			return c, fmt.Errorf("CNAME loop at %s", next)
		case len(c.chain) >= hops:
			return c, fmt.Errorf("more than %d CNAMEs", maxHops)
		}
		c.chain = append(c.chain, next)
		at = next
	}
	holds, known := negativeTTL(m)
	switch {
	case m.Rcode == dns.RcodeNameError:
		c.kind = KindNXDomain
	case len(c.chain) > 0 && !known: // the server stopped half way
		c.more = at
		return c, nil
	default:
		c.kind = KindNoData
	}
	c.shorten(holds)
	return c, nil
}

func (c *collected) shorten(ttl time.Duration) {
	if c.ttl < 0 || ttl < c.ttl {
		c.ttl = ttl
	}
}

// negativeTTL is how long a negative answer holds (RFC 2308), at most 5 s: an empty answer is asked again soon.
func negativeTTL(m *dns.Msg) (ttl time.Duration, known bool) {
	for _, rr := range m.Ns {
		if soa, ok := rr.(*dns.SOA); ok {
			return min(lifetime(soa.Hdr.Ttl), lifetime(soa.Minttl), maxNegative), true
		}
	}
	return maxNegative, false
}

// lifetime reads a TTL. With the top bit set it is longer than any that is meant (RFC 8767 section 4).
func lifetime(ttl uint32) time.Duration { return time.Duration(min(ttl, 1<<31-1)) * time.Second }

// errUnusable is an answer of records that nobody could connect to. It is a failure: it does not say that there is nothing.
var errUnusable = errors.New("unusable answer")

// use says what can be made of a record.
type use uint8

const (
	unusable use = iota
	usable
	noService // an SRV record with the target "."
)

func record(rr dns.RR) (Record, use) {
	if srv, ok := rr.(*dns.SRV); ok {
		target := dns.CanonicalName(srv.Target)
		switch {
		case target == ".":
			return Record{}, noService
		case srv.Port == 0, CheckName(target) != nil, isLocalhost(target):
			return Record{}, unusable
		}
		return Record{
			TTL: lifetime(srv.Hdr.Ttl), Target: target, Port: srv.Port, Priority: srv.Priority, Weight: srv.Weight,
		}, usable
	}
	addr, ok := address(rr)
	if !ok {
		return Record{}, unusable
	}
	return Record{Addr: addr, TTL: lifetime(rr.Header().Ttl)}, usable
}

func address(rr dns.RR) (netip.Addr, bool) {
	switch rr := rr.(type) {
	case *dns.A:
		a, ok := netip.AddrFromSlice(rr.A)
		return a.Unmap(), ok
	case *dns.AAAA:
		a, ok := netip.AddrFromSlice(rr.AAAA)
		return a.Unmap(), ok
	}
	return netip.Addr{}, false
}

// hints picks the addresses of targets from the additional section.
func hints(extra []dns.RR, records []Record) []Record {
	targets := make(map[string]bool, len(records))
	for _, r := range records {
		targets[r.Target] = true
	}
	var found []Record
	for _, rr := range extra {
		addr, ok := address(rr)
		if !ok || rr.Header().Class != dns.ClassINET {
			continue
		}
		if owner := dns.CanonicalName(rr.Header().Name); targets[owner] {
			found = append(found, Record{Addr: addr, TTL: lifetime(rr.Header().Ttl), Target: owner})
		}
	}
	found = tidy(found)
	return found[:min(len(found), maxRecords)]
}

// tidy sorts records and keeps one per address or service: the shortest-lived, the heaviest.
func tidy(records []Record) []Record {
	slices.SortFunc(records, func(a, b Record) int {
		return cmp.Or(
			cmp.Compare(a.Priority, b.Priority), strings.Compare(a.Target, b.Target), cmp.Compare(a.Port, b.Port),
			a.Addr.Compare(b.Addr), cmp.Compare(b.Weight, a.Weight), cmp.Compare(a.TTL, b.TTL),
		)
	})
	return slices.CompactFunc(records, func(a, b Record) bool {
		return a.Priority == b.Priority && a.Target == b.Target && a.Port == b.Port && a.Addr == b.Addr
	})
}
