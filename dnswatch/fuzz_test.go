package dnswatch

import (
	"encoding/binary"
	"testing"

	"github.com/miekg/dns"
)

// Whatever the bytes, a record is delivered only if the message answers the question and carries it.
func FuzzReply(f *testing.F) {
	q := query{question: question{"db.test.", TypeA}}
	m := new(dns.Msg)
	m.SetQuestion("db.test.", dns.TypeA)
	m.Response, m.Id = true, 7
	for _, line := range []string{"db.test. 5 IN CNAME x.test.", "x.test. 3 IN A 192.0.2.1", "y.test. 3 IN A 192.0.2.2"} {
		rr, _ := dns.NewRR(line)
		m.Answer = append(m.Answer, rr)
	}
	wire, _ := m.Pack()
	f.Add(wire)
	f.Add(wire[:len(wire)-3])
	f.Add([]byte{0, 7, 0x82, 0, 0, 1, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, wire []byte) {
		m, discard, err := q.verify(wire, 7)
		if discard != "" || err != nil {
			if m != nil {
				t.Fatal("a message was given together with a reason not to take it")
			}
			return
		}
		if binary.BigEndian.Uint16(wire) != 7 || wire[2]&0x80 == 0 {
			t.Fatal("a message with another id, or a question, was taken")
		}
		if m.Truncated || m.Rcode != 0 && m.Rcode != dns.RcodeNameError {
			return // never collected
		}
		c, err := collect(m, q.question, maxHops)
		if err != nil || c.kind != KindOK || c.more != "" {
			return
		}
		if len(m.Question) != 1 || dns.CanonicalName(m.Question[0].Name) != q.name {
			t.Fatalf("records from a reply to %v", m.Question)
		}
		owner := q.name
		if len(c.chain) > 0 {
			owner = c.chain[len(c.chain)-1]
		}
		for _, r := range c.records {
			found := false
			for _, rr := range m.Answer {
				a, isA := rr.(*dns.A)
				found = found || isA && a.Hdr.Class == dns.ClassINET && dns.CanonicalName(a.Hdr.Name) == owner && a.A.String() == r.Addr.String()
			}
			if !found {
				t.Fatalf("record %v is not in the reply for %s", r, owner)
			}
		}
		if len(c.records) == 0 || len(c.chain) > maxHops {
			t.Fatalf("ok with %d records over %d hops", len(c.records), len(c.chain))
		}
	})
}

func FuzzFiles(f *testing.F) {
	f.Add("search a.test\nnameserver 192.0.2.1\noptions ndots:99 timeout:0\n127.0.0.1 x y")
	f.Fuzz(func(t *testing.T, text string) {
		s := parseResolvConf(text)
		if len(s.servers) > 3 || s.ndots < 0 || s.ndots > 15 || s.attempts > 5 {
			t.Fatalf("settings out of bounds: %+v", s)
		}
		for name, addrs := range parseHosts(text) {
			if name != canonical(name) || len(addrs) == 0 {
				t.Fatalf("%q has %v", name, addrs)
			}
		}
	})
}
