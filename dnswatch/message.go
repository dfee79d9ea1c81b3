package dnswatch

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/miekg/dns"
)

const (
	maxHops     = 8    // CNAMEs followed in one resolution
	maxRecords  = 1024 // per name; more are cut off, the same ones every time
	maxNegative = 5 * time.Second
	headerSize  = 12
)

// question is what is asked of a server.
type question struct {
	name string // absolute, lower case
	typ  Type
}

// query is a question in the form in which it goes out once.
type query struct {
	question
	edns  int    // UDP payload offered; 0 is no EDNS
	asked string // the name with letters in random case, which the reply must repeat; "" is off
}

func randomID() uint16 {
	var b [2]byte
	rand.Read(b[:]) // never fails
	return binary.BigEndian.Uint16(b[:])
}

// mixCase gives the letters of a name random case: bits that a forger has to guess, too (0x20).
func mixCase(name string) string {
	b := []byte(name)
	var coins [256]byte
	rand.Read(coins[:])
	for i, c := range b {
		if 'a' <= c && c <= 'z' && coins[i%len(coins)]&1 == 1 {
			b[i] -= 'a' - 'A'
		}
	}
	return string(b)
}

func (q query) pack(id uint16) ([]byte, error) {
	name := q.name
	if q.asked != "" {
		name = q.asked
	}
	m := new(dns.Msg)
	m.SetQuestion(name, uint16(q.typ))
	m.Id = id
	if q.edns > 0 {
		m.SetEdns0(uint16(q.edns), false) // without DO: signatures would only make replies bigger
	}
	return m.Pack()
}

// The reasons why a message is not taken for the reply.
const (
	discardID        = "id"
	discardQuestion  = "question"
	discardNoReply   = "not_response"
	discardMalformed = "malformed"
)

var (
	errMalformed = errors.New("malformed reply")
	errCase      = fmt.Errorf("%w: the name came back in other case", errDoubtful)
)

// verify decides whether a message is the reply to a question. A reason other than "" means that it is not, and that
// waiting goes on. An error means that it is a reply by its id, but cannot be used.
func (q query) verify(wire []byte, id uint16) (m *dns.Msg, discard string, err error) {
	if len(wire) < headerSize {
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
		return nil, "", fmt.Errorf("%w: %w", errMalformed, err)
	}
	// Unpack is content with a message that ends between two records: half a set.
	for i, section := range [...]int{len(m.Question), len(m.Answer), len(m.Ns), len(m.Extra)} {
		if said := int(binary.BigEndian.Uint16(wire[4+2*i:])); said != section && !m.Truncated {
			return nil, "", fmt.Errorf("%w: %d records where the header says %d", errMalformed, section, said)
		}
	}
	if len(m.Question) == 0 && (m.Rcode == dns.RcodeFormatError || m.Rcode == dns.RcodeNotImplemented) {
		return m, "", nil // a server that does not understand the question need not repeat it
	}
	if len(m.Question) != 1 || dns.CanonicalName(m.Question[0].Name) != q.name ||
		m.Question[0].Qtype != uint16(q.typ) || m.Question[0].Qclass != dns.ClassINET {
		return nil, discardQuestion, nil
	}
	if q.asked != "" && m.Question[0].Name != q.asked {
		return nil, "", errCase
	}
	return m, "", nil
}
