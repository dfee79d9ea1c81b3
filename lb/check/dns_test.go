package check

import (
	"encoding/binary"
	"io"
	"net"
	"net/netip"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// dnsReply answers a query with a code, changed by a liar if there is one.
func dnsReply(query []byte, code dnsmessage.RCode, lie func(*dnsmessage.Message)) []byte {
	var m dnsmessage.Message
	if m.Unpack(query) != nil {
		return nil
	}
	m.Response, m.RCode = true, code
	if lie != nil {
		lie(&m)
	}
	b, _ := m.Pack()
	return b
}

func dnsServer(t *testing.T, answers func(query []byte) [][]byte) netip.AddrPort {
	t.Helper()
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 512)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			for _, a := range answers(b[:n]) {
				_, _ = server.WriteTo(a, from)
			}
		}
	}()
	t.Cleanup(func() { server.Close(); <-done })
	return netip.MustParseAddrPort(server.LocalAddr().String())
}

func TestDNSProbe(t *testing.T) {
	other := func(m *dnsmessage.Message) { m.Questions[0].Name = dnsmessage.MustNewName("other.test.") }
	for _, c := range []struct {
		name    string
		answers func(q []byte) [][]byte
		want    string
		words   string
	}{
		{"an answer", func(q []byte) [][]byte { return [][]byte{dnsReply(q, 0, nil)} }, OK, ""},
		{"no such name", func(q []byte) [][]byte { return [][]byte{dnsReply(q, dnsmessage.RCodeNameError, nil)} }, OK, ""},
		{"refused", func(q []byte) [][]byte { return [][]byte{dnsReply(q, dnsmessage.RCodeRefused, nil)} }, Unexpected, "Refused"},
		{"fails, and forgets the question", func(q []byte) [][]byte {
			return [][]byte{dnsReply(q, dnsmessage.RCodeServerFailure, func(m *dnsmessage.Message) { m.Questions = nil })}
		}, Unexpected, "ServerFailure"},
		{"forgers before", func(q []byte) [][]byte {
			return [][]byte{{1}, []byte("rubbish that is long enough to be a header"), dnsReply(q, 0, other), dnsReply(q, 2, func(m *dnsmessage.Message) { m.ID++ }), dnsReply(q, 0, nil)}
		}, OK, ""},
		{"forgers only", func(q []byte) [][]byte { return [][]byte{dnsReply(q, 0, other)} }, Timeout, ""},
		{"silence", func([]byte) [][]byte { return nil }, Timeout, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := Options{Kind: "dns", DNS: DNS{Name: "db.test", Type: "SOA"}}
			if c.want == Timeout {
				o.Timeout = 300 * time.Millisecond
			}
			wantReason(t, probeOnce(t, o, dnsServer(t, c.answers)), c.want, c.words)
		})
	}
	stream := listen(t, func(c net.Conn) {
		q, err := readDNS(c, true)
		if err != nil {
			return
		}
		a := dnsReply(q, 0, nil)
		_, _ = c.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(a))), a...))
		_, _ = io.Copy(io.Discard, c)
	})
	wantReason(t, probeOnce(t, Options{Kind: "dns", Protocol: "tcp"}, stream), OK)
	wrongs(t, Options{Kind: "dns", Protocol: "tcp"})
	for _, d := range []DNS{{Name: "a..b"}, {Type: "WKS"}} {
		if _, err := newDNS(Options{DNS: d}); err == nil {
			t.Errorf("%+v is taken", d)
		}
	}
}

func FuzzDNSReply(f *testing.F) {
	question := dnsmessage.Question{Name: dnsmessage.MustNewName("db.test."), Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}
	query, _ := (&dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{question}}).Pack()
	f.Add(dnsReply(query, 0, nil))
	f.Add(dnsReply(query, 3, nil))
	f.Add(query)
	f.Fuzz(func(t *testing.T, b []byte) {
		r, mine := judgeDNS(b, 7, question)
		if r.Alive && (!mine || len(b) < 12 || b[0] != 0 || b[1] != 7) {
			t.Errorf("%q is life", b)
		}
	})
}
