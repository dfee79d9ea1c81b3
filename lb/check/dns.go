package check

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/netip"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"
)

// DNS says what a "dns" probe asks.
type DNS struct {
	Name string // absolute or not; "" or ".": the root
	Type string // a type of dnsTypes; "": A
}

var dnsTypes = map[string]dnsmessage.Type{
	"A": dnsmessage.TypeA, "AAAA": dnsmessage.TypeAAAA, "CNAME": dnsmessage.TypeCNAME, "MX": dnsmessage.TypeMX, "NS": dnsmessage.TypeNS,
	"PTR": dnsmessage.TypePTR, "SOA": dnsmessage.TypeSOA, "SRV": dnsmessage.TypeSRV, "TXT": dnsmessage.TypeTXT,
}

// newDNS is the "dns" kind: an answer to the question is life, be it that there is no such name.
func newDNS(o Options) (probeFunc, error) {
	w, err := newWay(o)
	if err != nil {
		return nil, err
	}
	name, err := dnsmessage.NewName(strings.TrimSuffix(o.DNS.Name, ".") + ".")
	if err != nil {
		return nil, fmt.Errorf("name %q: %w", o.DNS.Name, err)
	}
	kind, ok := dnsTypes[or(o.DNS.Type, "A")]
	if !ok {
		return nil, fmt.Errorf("type %q: unknown", o.DNS.Type)
	}
	question := dnsmessage.Question{Name: name, Type: kind, Class: dnsmessage.ClassINET}
	if _, err := (&dnsmessage.Message{Questions: []dnsmessage.Question{question}}).Pack(); err != nil {
		return nil, fmt.Errorf("name %q: %w", o.DNS.Name, err)
	}
	stream := o.Protocol == "tcp"
	return func(ctx context.Context, target netip.AddrPort) Result {
		query := dnsmessage.Message{
			Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
			Questions: []dnsmessage.Question{question},
		}
		text, err := query.Pack()
		if err != nil {
			return failed(err)
		}
		c, err := w.openBy(ctx, or(o.Protocol, "udp"), target)
		if err != nil {
			return failed(err)
		}
		defer leave(c)
		start := time.Now()
		if stream {
			text = append(binary.BigEndian.AppendUint16(nil, uint16(len(text))), text...)
		}
		if _, err := c.Write(text); err != nil {
			return failed(err)
		}
		for { // until one is for this question: forgers send others
			reply, err := readDNS(c, stream)
			if err != nil {
				return failed(err)
			}
			r, mine := judgeDNS(reply, query.ID, question)
			if mine || stream {
				r.Latency = time.Since(start)
				return r
			}
		}
	}, nil
}

// readDNS reads one message.
func readDNS(r io.Reader, stream bool) ([]byte, error) {
	if !stream {
		b := make([]byte, 4096)
		n, err := r.Read(b)
		return b[:n], err
	}
	size := make([]byte, 2)
	if _, err := io.ReadFull(r, size); err != nil {
		return nil, err
	}
	b := make([]byte, binary.BigEndian.Uint16(size))
	_, err := io.ReadFull(r, b)
	return b, err
}

// judgeDNS says what a reply means, and whether it is one to the question.
func judgeDNS(reply []byte, id uint16, question dnsmessage.Question) (r Result, mine bool) {
	var p dnsmessage.Parser
	header, err := p.Start(reply)
	if err != nil || !header.Response || header.ID != id {
		return failed(&failure{Garbled, errors.New("no reply to the question")}), false
	}
	asked, err := p.AllQuestions()
	if err != nil || !(len(asked) == 0 && header.RCode != dnsmessage.RCodeSuccess) && !slices.ContainsFunc(asked, func(q dnsmessage.Question) bool {
		return q.Type == question.Type && q.Class == question.Class && strings.EqualFold(q.Name.String(), question.Name.String())
	}) {
		return failed(&failure{Garbled, errors.New("a reply to another question")}), false
	}
	switch header.RCode {
	case dnsmessage.RCodeSuccess, dnsmessage.RCodeNameError:
		return Result{Alive: true, Reason: OK}, true
	}
	return Result{Reason: Unexpected, Detail: "the answer is " + strings.TrimPrefix(header.RCode.String(), "RCode")}, true
}
