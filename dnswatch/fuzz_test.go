package dnswatch

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// message packs a reply for seeds.
func message(f *testing.F, q question, rcode int, answer, extra []string) []byte {
	f.Helper()
	m := new(dns.Msg)
	m.SetQuestion(q.name, uint16(q.typ))
	m.Response, m.Id, m.Rcode = true, 7, rcode
	for _, line := range answer {
		rr, err := dns.NewRR(line)
		if err != nil {
			f.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	for _, line := range extra {
		rr, err := dns.NewRR(line)
		if err != nil {
			f.Fatal(err)
		}
		m.Extra = append(m.Extra, rr)
	}
	wire, err := m.Pack()
	if err != nil {
		f.Fatal(err)
	}
	return wire
}

// carried tells that a message has a record in its answer section, with that owner.
func carried(section []dns.RR, owner string, r Record) bool {
	return slices.ContainsFunc(section, func(rr dns.RR) bool {
		if rr.Header().Class != dns.ClassINET || dns.CanonicalName(rr.Header().Name) != owner {
			return false
		}
		switch rr := rr.(type) {
		case *dns.A:
			return rr.A.String() == r.Addr.String()
		case *dns.AAAA:
			return rr.AAAA.String() == r.Addr.String() || "::ffff:"+r.Addr.String() == rr.AAAA.String()
		case *dns.SRV:
			return dns.CanonicalName(rr.Target) == r.Target && rr.Port == r.Port && rr.Priority == r.Priority && rr.Weight == r.Weight
		}
		return false
	})
}

// Whatever the bytes, a record is delivered only if the message answers the question and carries it.
func FuzzReply(f *testing.F) {
	q := question{"db.test.", TypeA}
	s := question{"_pg._tcp.db.test.", TypeSRV}
	wire := message(f, q, 0, []string{"db.test. 5 IN CNAME x.test.", "x.test. 3 IN A 192.0.2.1", "y.test. 3 IN A 192.0.2.2"}, nil)
	f.Add(wire, false)
	f.Add(wire[:len(wire)-3], false)
	f.Add(wire[:len(wire)-16], false)
	f.Add([]byte{0, 7, 0x82, 0, 0, 1, 0, 0, 0, 0, 0, 0}, false)
	f.Add(message(f, s, 0, []string{s.name + " 5 IN SRV 1 2 3 a.test.", s.name + " 5 IN SRV 0 0 0 ."}, []string{"a.test. 3 IN A 192.0.2.1"}), true)
	f.Fuzz(func(t *testing.T, wire []byte, service bool) {
		q := query{question: q}
		if service {
			q.question = s
		}
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
		if err != nil || c.more != "" {
			return
		}
		if len(c.chain) > maxHops || len(c.records) > maxRecords || len(c.hints) > maxRecords || c.ttl < 0 {
			t.Fatalf("out of bounds: %d hops, %d records, %d hints, TTL %v", len(c.chain), len(c.records), len(c.hints), c.ttl)
		}
		if (c.kind == KindOK) != (len(c.records) > 0) {
			t.Fatalf("%s with %d records", c.kind, len(c.records))
		}
		if len(m.Question) != 1 || dns.CanonicalName(m.Question[0].Name) != q.name || int(binary.BigEndian.Uint16(wire[6:])) != len(m.Answer) {
			t.Fatalf("an answer from a reply to %v with %d records", m.Question, len(m.Answer))
		}
		owner := q.name
		if len(c.chain) > 0 {
			owner = c.chain[len(c.chain)-1]
		}
		for _, r := range c.records {
			if !carried(m.Answer, owner, r) || service != (r.Port != 0) || service && (isLocalhost(r.Target) || CheckName(r.Target) != nil) {
				t.Fatalf("record %v is not in the reply for %s, or of no use", r, owner)
			}
		}
		for _, h := range c.hints {
			if !carried(m.Extra, h.Target, h) || !slices.ContainsFunc(c.records, func(r Record) bool { return r.Target == h.Target }) {
				t.Fatalf("hint %+v does not belong to %v", h, c.records)
			}
		}
	})
}

// Whatever a sequence of replies says, a resolution ends within its budget, and what it delivers was carried by a reply
// to a question that it asked.
func FuzzResolution(f *testing.F) {
	q := question{"db.test.", TypeA}
	alias := message(f, q, 0, []string{"db.test. 5 IN CNAME x.test."}, nil)
	f.Add(alias, message(f, question{"x.test.", TypeA}, 0, []string{"x.test. 3 IN A 192.0.2.1"}, nil), uint8(0))
	f.Add(alias, alias, uint8(1))
	f.Add(message(f, q, 1, nil, nil), message(f, q, 3, nil, nil), uint8(2))
	f.Fuzz(func(t *testing.T, first, second []byte, how uint8) {
		c := ResolverConfig{Name: "r", Servers: []string{"udp://192.0.2.1", "udp://192.0.2.2"}, CaseRandomization: how&4 != 0}
		c.Strategy = []string{StrategyFailover, StrategyRotate}[how&1]
		r, err := newResolver(c, Options{}.withDefaults())
		if err != nil {
			t.Fatal(err)
		}
		defer r.close()
		asked := 0
		var given []*dns.Msg
		var names []string
		r.exchange = func(_ context.Context, s server, q query) (*dns.Msg, error) {
			wire := slices.Clone(first)
			if asked++; asked%2 == 0 {
				wire = slices.Clone(second)
			}
			if how&2 != 0 && len(wire) > 12 { // let the reply be one to whatever was asked
				question, err := q.pack(7)
				if err != nil {
					return nil, err
				}
				end := 12 + len(q.name) + 1 + 4
				if len(question) < end {
					return nil, errMalformed
				}
				wire = append(append(slices.Clone(wire[:12]), question[12:end]...), wire[12:]...)
				binary.BigEndian.PutUint16(wire[4:], 1)
			}
			if len(wire) < 2 {
				return nil, errMalformed
			}
			binary.BigEndian.PutUint16(wire, 7)
			m, discard, err := q.verify(wire, 7)
			if discard != "" {
				return nil, errors.New(discard)
			}
			if err == nil {
				given, names = append(given, m), append(names, q.name)
			}
			return m, err
		}
		a := r.resolve(context.Background(), "db.test.", TypeA, nil)
		if asked > maxQueries || len(a.Chain) > maxHops {
			t.Fatalf("%d questions, %d hops", asked, len(a.Chain))
		}
		if (a.Kind == KindOK) != (len(a.Records) > 0) || (a.Kind == KindFailure) != (a.Err != nil) {
			t.Fatalf("not an answer: %+v", a)
		}
		owner := "db.test."
		if len(a.Chain) > 0 {
			owner = a.Chain[len(a.Chain)-1]
		}
		for _, rec := range a.Records {
			last := given[len(given)-1]
			if last.Truncated || !carried(last.Answer, owner, rec) {
				t.Fatalf("record %v is not in the last reply for %s", rec, owner)
			}
			if n := names[len(names)-1]; n != "db.test." && !slices.Contains(a.Chain, n) {
				t.Fatalf("asked for %s, which is not on the chain %v", n, a.Chain)
			}
		}
	})
}

// Whatever a server sends over a stream, in whatever pieces, a question ends with its verified reply or an error.
func FuzzStream(f *testing.F) {
	q := question{"db.test.", TypeA}
	wire := message(f, q, 0, []string{"db.test. 3 IN A 192.0.2.1"}, nil)
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(len(wire))), wire...)
	f.Add(framed, uint8(1), true)
	f.Add(append(framed, framed...), uint8(200), true)
	f.Add([]byte{0, 3, 1, 2, 3}, uint8(2), false)
	f.Add([]byte{0xff, 0xff, 1}, uint8(2), false)
	f.Fuzz(func(t *testing.T, bytes []byte, piece uint8, rightID bool) {
		bytes = bytes[:min(len(bytes), 1<<16)]
		w := newWire(nil, func(string) {})
		defer w.close()
		s := newTCP(w, server{scheme: schemeTCP})
		ids := make(chan uint16, 8)
		s.dial = func(context.Context) (net.Conn, error) {
			ours, theirs := net.Pipe()
			w.running.Go(func() {
				defer theirs.Close()
				question := make([]byte, 2)
				if _, err := io.ReadFull(theirs, question); err != nil {
					return
				}
				question = make([]byte, binary.BigEndian.Uint16(question))
				if _, err := io.ReadFull(theirs, question); err != nil {
					return
				}
				ids <- binary.BigEndian.Uint16(question)
				out := slices.Clone(bytes)
				if rightID && len(out) >= 4 {
					copy(out[2:], question[:2])
				}
				for chunk := range slices.Chunk(out, int(piece)+1) {
					if _, err := theirs.Write(chunk); err != nil {
						return
					}
				}
			})
			return ours, nil
		}
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		m, err := s.exchange(ctx, query{question: q})
		if (m == nil) == (err == nil) {
			t.Fatalf("neither a reply nor an error, or both: %v %v", m, err)
		}
		if ctx.Err() != nil {
			t.Fatal("it did not end, though the server has hung up")
		}
		if err == nil && (m.Id != <-ids || !m.Response) {
			t.Fatalf("a reply with another id: %v", m)
		}
		if err == nil && !m.Truncated && len(m.Question) == 1 && dns.CanonicalName(m.Question[0].Name) != q.name {
			t.Fatalf("a reply to %v", m.Question)
		}
	})
}

func FuzzServer(f *testing.F) {
	for _, s := range []string{"udp://1.2.3.4", "tls://[::1]:853#dns.test", "https://1.2.3.4/dns-query#dns.test", "tcp://::1", "udp://fe80::1%lo"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		s, err := parseServer(text)
		if err != nil {
			return
		}
		if again, err := parseServer(s.String()); err != nil || again != s {
			t.Fatalf("%q reads as %s, and that as %s, %v", text, s, again, err)
		}
		if !s.addr.IsValid() || s.addr.Port() == 0 {
			t.Fatalf("%q has no address", text)
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
		c := &resolvConf{current: s}
		for _, full := range c.candidates("db") {
			if isLocalhost(full) || CheckName(full) != nil {
				t.Fatalf("%q would go to the wire", full)
			}
		}
		for name, addrs := range parseHosts(text) {
			if name != canonical(name) || len(addrs) == 0 {
				t.Fatalf("%q has %v", name, addrs)
			}
		}
	})
}
