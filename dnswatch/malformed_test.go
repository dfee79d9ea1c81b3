package dnswatch

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/ebb-lb/ebb/dnswatch/dnstest"
)

// mutation makes a malformed message of a good reply for db.test, in which the question ends at byte end.
type mutation struct {
	name string
	make func(good []byte, end int) []byte
}

// malformed is the corpus of DN-9: what has broken the resolvers of others, by kind and by position, 500 in all.
func malformed() []mutation {
	var list []mutation
	add := func(name string, make func(good []byte, end int) []byte) { list = append(list, mutation{name, make}) }
	header := func(good []byte, answers int) []byte {
		b := append([]byte(nil), good[:12]...)
		binary.BigEndian.PutUint16(b[6:], uint16(answers))
		binary.BigEndian.PutUint16(b[8:], 0)
		binary.BigEndian.PutUint16(b[10:], 0)
		return b
	}
	question := func(good []byte, end int) []byte { return good[12:end] }
	record := func(name []byte, typ, rdlen uint16, rdata ...byte) []byte {
		b := binary.BigEndian.AppendUint16(append([]byte(nil), name...), typ)
		b = append(b, 0, 1, 0, 0, 0, 9)
		return append(binary.BigEndian.AppendUint16(b, rdlen), rdata...)
	}
	with := func(good []byte, end int, rr []byte) []byte {
		return append(append(header(good, 1), question(good, end)...), rr...)
	}
	pointer := func(to int) []byte { return []byte{0xc0 | byte(to>>8), byte(to)} }
	for at := range 40 {
		add(fmt.Sprintf("owner points to itself, after %d labels", at), func(good []byte, end int) []byte {
			var name []byte
			for range at {
				name = append(name, 1, 'x')
			}
			return with(good, end, record(append(name, pointer(end+len(name))...), 1, 4, 127, 0, 0, 9))
		})
		add(fmt.Sprintf("owner points forward by %d", at+2), func(good []byte, end int) []byte {
			return with(good, end, record(pointer(end+at+2), 1, 4, 0xc0, 0xff, 0xc0, 0xff))
		})
		add(fmt.Sprintf("owner points beyond the end by %d", at), func(good []byte, end int) []byte {
			return with(good, end, record(pointer(end+16+at), 1, 4, 127, 0, 0, 9))
		})
		add(fmt.Sprintf("label of %d bytes", 64+at*3), func(good []byte, end int) []byte {
			n := 64 + at*3
			return with(good, end, record(append([]byte{byte(n)}, append(make([]byte, n), 0)...), 1, 4, 127, 0, 0, 9))
		})
		add(fmt.Sprintf("name of %d bytes", 256+at), func(good []byte, end int) []byte {
			var name []byte
			for len(name) < 192 {
				name = append(append(name, 63), make([]byte, 63)...)
			}
			name = append(append(append(name, 63), make([]byte, 63)...), byte(at+1))
			return with(good, end, record(append(append(name, make([]byte, at+1)...), 0), 1, 4, 127, 0, 0, 9))
		})
		add(fmt.Sprintf("a chain of pointers of %d hops", 127+at), func(good []byte, end int) []byte {
			b := append(header(good, 1), question(good, end)...)
			rdata := pointer(12)
			for i := range 126 + at {
				rdata = append(rdata, pointer(end+12+2*i)...)
			}
			b = append(b, record(pointer(12), 99, uint16(len(rdata)), rdata...)...)
			b[7] = 2
			return append(b, record(pointer(end+12+2*(126+at)), 1, 4, 127, 0, 0, 9)...)
		})
		add(fmt.Sprintf("A of %d bytes", at+5), func(good []byte, end int) []byte {
			return with(good, end, record(pointer(12), 1, uint16(at+5), make([]byte, at+5)...))
		})
		add(fmt.Sprintf("RDLEN over the end by %d", at+1), func(good []byte, end int) []byte {
			return with(good, end, record(pointer(12), 1, uint16(5+at), 127, 0, 0, 9))
		})
		add(fmt.Sprintf("%d answers that are not there", at+2), func(good []byte, end int) []byte {
			b := with(good, end, record(pointer(12), 1, 4, 127, 0, 0, 9))
			binary.BigEndian.PutUint16(b[6:], uint16(3+at*1000))
			return b[:len(b)-1]
		})
		add(fmt.Sprintf("cut after %d bytes", 12+at), func(good []byte, end int) []byte { return good[:12+at] })
	}
	for n := range 12 {
		add(fmt.Sprintf("%d bytes", n), func(good []byte, _ int) []byte { return good[:n] })
	}
	for n := range 4 {
		add(fmt.Sprintf("A of %d bytes", n), func(good []byte, end int) []byte {
			return with(good, end, record(pointer(12), 1, uint16(n), make([]byte, n)...))
		})
	}
	for i, bits := range []byte{0x40, 0x80, 0x41, 0x81} {
		add(fmt.Sprintf("reserved label type %d", i), func(good []byte, end int) []byte {
			return with(good, end, record([]byte{bits, 0}, 1, 4, 127, 0, 0, 9))
		})
	}
	add("pointer in the question, to itself", func(good []byte, _ int) []byte {
		return append(header(good, 0), 0xc0, 12, 0, 1, 0, 1)
	})
	add("pointer in the question, to the header", func(good []byte, _ int) []byte {
		return append(header(good, 0), 0xc0, 0, 0, 1, 0, 1)
	})
	add("the question twice", func(good []byte, end int) []byte {
		b := append(append(header(good, 0), question(good, end)...), question(good, end)...)
		b[5] = 2
		return b
	})
	random := rand.New(rand.NewPCG(9, 9))
	for len(list) < 500 {
		size := 12 + random.IntN(1200)
		add(fmt.Sprintf("%d bytes of noise", size), func(good []byte, end int) []byte {
			b := append(header(good, random.IntN(1<<16)), question(good, end)...)
			for range size {
				b = append(b, byte(random.Uint32()))
			}
			return b
		})
	}
	return list
}

// goodReply is what the mutations start from.
func goodReply(t *testing.T, q query) (wire []byte, end int) {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(q.name, uint16(q.typ))
	m.Response, m.Id = true, 7
	end = 12 + len(q.name) + 1 + 4
	for i := range 3 {
		rr, err := dns.NewRR(fmt.Sprintf("%s 9 IN A 127.0.0.%d", q.name, i+1))
		if err != nil {
			t.Fatal(err)
		}
		m.Answer = append(m.Answer, rr)
	}
	wire, err := m.Pack()
	if err != nil {
		t.Fatal(err)
	}
	return wire, end
}

func TestDN9MalformedMessages(t *testing.T) {
	q := query{question: question{"db.test.", TypeA}}
	good, end := goodReply(t, q)
	if m, discard, err := q.verify(good, 7); discard != "" || err != nil || len(m.Answer) != 3 {
		t.Fatalf("the good reply: %s %v", discard, err)
	}
	var slowest time.Duration
	for _, c := range malformed() {
		begin := time.Now()
		m, discard, err := q.verify(c.make(append([]byte(nil), good...), end), 7)
		if err == nil && discard == "" {
			var found collected
			if found, err = collect(m, q.question, maxHops); err == nil && len(found.records) > 0 {
				t.Errorf("%s: gives %v", c.name, found.records)
			}
		}
		slowest = max(slowest, time.Since(begin))
	}
	t.Logf("the slowest of %d took %v", len(malformed()), slowest)
	if slowest > time.Second { // the budget is 10 ms; a noisy machine may miss it, an endless loop will miss this
		t.Errorf("the slowest took %v", slowest)
	}
}

// Each is counted, by UDP and then by TCP, and none brings an address.
func TestDN9MalformedMessagesAreCounted(t *testing.T) {
	s := startServer(t)
	s.SetA("db.test", 9, "127.0.0.1", "127.0.0.2", "127.0.0.3")
	good, end := goodReply(t, query{question: question{"db.test.", TypeA}})
	for _, c := range malformed() {
		bad := c.make(append([]byte(nil), good...), end)
		s.Handle(func(dnstest.Query) dnstest.Reply {
			return dnstest.Reply{Default: true, Mangle: func(wire []byte) []byte {
				b := append([]byte(nil), bad...)
				copy(b, wire[:min(2, len(b))]) // the right id
				return b
			}}
		})
		ctx, cancel := context.WithCancel(t.Context())
		r := newRig(t, ResolverConfig{Attempts: 1}, s)
		if len(bad) < 12 || c.name == "the question twice" || c.name == "pointer in the question, to the header" {
			r.onDiscard = cancel // not taken for a reply: waiting goes on
		}
		a := r.resolve(ctx, "db.test", TypeA, nil)
		cancel()
		switch {
		case a.Kind == KindOK:
			t.Errorf("%s: gave %s", c.name, text(a))
		case r.results["malformed"]+r.discarded["malformed"]+r.discarded["question"]+r.results["ok"] == 0:
			t.Errorf("%s: counted nowhere: results %v, discarded %v", c.name, r.results, r.discarded)
		case a.Kind != KindFailure && r.results["ok"] == 0:
			t.Errorf("%s: %s", c.name, text(a))
		}
		r.close()
	}
}
