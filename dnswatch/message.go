package dnswatch

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"
)

const (
	maxHops     = 8    // CNAMEs followed in one resolution
	maxRecords  = 1024 // addresses per name; more are cut off, the same ones every time
	maxNegative = 5 * time.Second
)

// question is what is asked of a server.
type question struct {
	name string // absolute, lower case
	typ  Type
}

// query packs a question with a fresh id.
func (q question) query(ednsSize int) (id uint16, wire []byte, err error) {
	var random [2]byte
	rand.Read(random[:]) // never fails
	m := new(dns.Msg)
	m.SetQuestion(q.name, uint16(q.typ))
	m.Id = binary.BigEndian.Uint16(random[:])
	if ednsSize > 0 {
		m.SetEdns0(uint16(ednsSize), false)
	}
	wire, err = m.Pack()
	return m.Id, wire, err
}

// The reasons why a message is not taken for the reply.
const (
	discardID        = "id"
	discardQuestion  = "question"
	discardNoReply   = "not_response"
	discardMalformed = "malformed"
)

var errMalformed = errors.New("malformed reply")

// verify decides whether a message is the reply to a question. A reason other than "" means that it is not, and that
// waiting goes on. An error means that the server did reply, but that the reply cannot be read.
func (q question) verify(wire []byte, id uint16) (m *dns.Msg, discard string, err error) {
	if len(wire) < 12 {
		return nil, discardMalformed, nil
	}
	if binary.BigEndian.Uint16(wire) != id {
		return nil, discardID, nil
	}
	flags := binary.BigEndian.Uint16(wire[2:])
	if flags&0x8000 == 0 || flags>>11&0xf != dns.OpcodeQuery {
		return nil, discardNoReply, nil
	}
	m = new(dns.Msg)
	if err := m.Unpack(wire); err != nil {
		if flags&0x0200 != 0 { // cut off in the middle of a record: what is whole is fetched by TCP
			return &dns.Msg{MsgHdr: dns.MsgHdr{Id: id, Response: true, Truncated: true}}, "", nil
		}
		return nil, "", fmt.Errorf("%w: %v", errMalformed, err)
	}
	if len(m.Question) == 0 && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
		return m, "", nil // a server that does not understand the question need not repeat it
	}
	if len(m.Question) != 1 || dns.CanonicalName(m.Question[0].Name) != q.name ||
		m.Question[0].Qtype != uint16(q.typ) || m.Question[0].Qclass != dns.ClassINET {
		return nil, discardQuestion, nil
	}
	return m, "", nil
}

// collected is what one reply says about a question.
type collected struct {
	kind    Kind
	records []Record
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
		for _, rr := range m.Answer {
			h := rr.Header()
			if h.Class != dns.ClassINET || h.Rrtype != uint16(q.typ) || dns.CanonicalName(h.Name) != at {
				continue
			}
			if addr, ok := address(rr); ok {
				ttl := lifetime(h.Ttl)
				c.records = append(c.records, Record{addr, ttl})
				c.shorten(ttl)
			}
		}
		if len(c.records) > 0 {
			c.records = tidy(c.records)
			return c, nil
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
		if next == q.name || slices.Contains(c.chain, next) {
			return c, fmt.Errorf("CNAME loop at %s", next)
		}
		if len(c.chain) >= hops {
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

// tidy sorts records by address and keeps one per address, the shortest-lived.
func tidy(records []Record) []Record {
	slices.SortFunc(records, func(a, b Record) int {
		if c := a.Addr.Compare(b.Addr); c != 0 {
			return c
		}
		return int((a.TTL - b.TTL) / time.Second)
	})
	records = slices.CompactFunc(records, func(a, b Record) bool { return a.Addr == b.Addr })
	return records[:min(len(records), maxRecords)]
}
