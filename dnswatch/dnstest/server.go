package dnstest

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// Query is a question that arrived.
type Query struct {
	Name, Type string // the name as asked, without the last dot
	Transport  string // "udp", "tcp", "tls" or "https"
	N          int    // the how-manieth for this name and type, from 1
	ID         uint16
	Source     netip.AddrPort
	EDNS       int // offered payload size; 0 is no EDNS
	Time       time.Time
}

// Reply is what a script answers.
type Reply struct {
	Default          bool     // what the zone says; the fields down to Delay are not looked at
	RRs, Auth, Extra []string // records as in a zone file
	Rcode            int
	TC               bool
	Delay            time.Duration
	Drop             bool
	WrongID          bool
	Question         string              // another name in the question section
	Lower            bool                // the name in the question section in lower case
	NotResponse      bool                // the QR bit is not set
	Mangle           func([]byte) []byte // has the last word on the bytes of the message
	Garbage          []byte              // these bytes instead of a message
	OtherPort        bool                // UDP: sent from another port
	Before           []Reply             // UDP: datagrams sent before this one
	Length           int                 // TCP, TLS: this length before the message instead of its own
	Dribble          time.Duration       // TCP, TLS: one byte at a time, with this pause between them
	Hangup           bool                // TCP, TLS: the connection is closed instead
	Status, Age      int                 // HTTPS: another status than 200; seconds in a cache
}

// sender puts the bytes of a reply on the wire.
type sender func(wire []byte, r Reply)

// Server is a scripted DNS server. Its methods may be called from any goroutine.
type Server struct {
	udp  net.PacketConn
	tcp  net.Listener
	done chan struct{}
	wg   sync.WaitGroup

	mu      sync.Mutex
	zone    map[zoneKey][]dns.RR // a key with no records is NODATA
	rcodes  map[string]int
	silent  map[string]bool
	script  func(Query) Reply
	queries []Query
	counts  map[string]int // by lower-case name and type
	conns   map[net.Conn]struct{}
	opened  map[string]int // connections by transport
	fronts  []io.Closer    // of TLS and HTTPS
	closed  bool
}

type zoneKey struct {
	name string
	typ  uint16
}

// Start listens on an address, "" being any port of 127.0.0.1.
func Start(addr string) (*Server, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	s := &Server{
		done: make(chan struct{}), zone: make(map[zoneKey][]dns.RR), rcodes: make(map[string]int),
		silent: make(map[string]bool), counts: make(map[string]int), conns: make(map[net.Conn]struct{}), opened: make(map[string]int),
	}
	var err error
	for range 20 { // TCP first: of its ports thousands may be taken, by clients of others that were here. Few of UDP's are
		if s.tcp, err = net.Listen("tcp", addr); err != nil {
			return nil, err
		}
		if s.udp, err = net.ListenPacket("udp", s.tcp.Addr().String()); err == nil {
			break
		}
		s.tcp.Close()
	}
	if err != nil {
		return nil, err
	}
	s.wg.Go(s.serveUDP)
	s.wg.Go(func() { s.serveStream(s.tcp, "tcp") })
	return s, nil
}

// Addr returns address and port.
func (s *Server) Addr() string { return s.udp.LocalAddr().String() }

// Close stops and waits.
func (s *Server) Close() {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.done)
	}
	for c := range s.conns {
		c.Close()
	}
	for _, f := range s.fronts {
		f.Close()
	}
	s.mu.Unlock()
	s.udp.Close()
	s.tcp.Close()
	s.wg.Wait()
}

// Handle puts a script before the zone; nil takes it away.
func (s *Server) Handle(script func(Query) Reply) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script = script
}

// Queries returns all questions so far.
func (s *Server) Queries() []Query {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.queries)
}

// QueryCount returns how many questions there were for a name and type.
func (s *Server) QueryCount(name, typ string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.counts[countKey(name, typ)]
}

func countKey(name, typ string) string {
	return strings.ToLower(strings.TrimSuffix(name, ".")) + " " + typ
}

func (s *Server) serveUDP() {
	buffer := make([]byte, 65535)
	for {
		n, from, err := s.udp.ReadFrom(buffer)
		if err != nil {
			select {
			case <-s.done:
				return
			default:
				continue // an ICMP error of an earlier reply
			}
		}
		m := new(dns.Msg)
		if m.Unpack(buffer[:n]) != nil || len(m.Question) != 1 {
			continue
		}
		source := netip.MustParseAddrPort(from.String())
		s.wg.Go(func() {
			s.answer(m, "udp", source, func(wire []byte, r Reply) {
				if !r.OtherPort {
					_, _ = s.udp.WriteTo(wire, from)
					return
				}
				if c, err := net.ListenPacket("udp", ""); err == nil {
					_, _ = c.WriteTo(wire, from)
					c.Close()
				}
			})
		})
	}
}

// answer records a question and sends what the script or the zone says.
func (s *Server) answer(m *dns.Msg, transport string, source netip.AddrPort, send sender) {
	q := m.Question[0]
	query := Query{
		Name: strings.TrimSuffix(q.Name, "."), Type: dns.TypeToString[q.Qtype], Transport: transport, ID: m.Id, Source: source, Time: time.Now(),
	}
	if o := m.IsEdns0(); o != nil {
		query.EDNS = int(o.UDPSize())
	}
	s.mu.Lock()
	counted := countKey(query.Name, query.Type)
	s.counts[counted]++
	query.N = s.counts[counted]
	s.queries = append(s.queries, query)
	script := s.script
	s.mu.Unlock()
	reply := Reply{Default: true}
	if script != nil {
		reply = script(query)
	}
	if transport == "udp" {
		for _, r := range reply.Before {
			s.send(m, r, transport, send)
		}
	}
	s.send(m, reply, transport, send)
}

func (s *Server) send(m *dns.Msg, r Reply, transport string, send sender) {
	if r.Delay > 0 {
		select {
		case <-time.After(r.Delay):
		case <-s.done:
			return
		}
	}
	if r.Drop {
		return
	}
	if r.Garbage != nil {
		send(r.Garbage, r)
		return
	}
	out := new(dns.Msg)
	out.SetReply(m)
	if r.Default {
		if !s.fromZone(m.Question[0], out) {
			return
		}
	} else {
		out.Rcode = r.Rcode
		out.Answer, out.Ns, out.Extra = mustRecords(r.RRs), mustRecords(r.Auth), mustRecords(r.Extra)
	}
	out.Truncated = r.TC
	out.Response = !r.NotResponse
	if r.WrongID {
		out.Id ^= 0x5555
	}
	if r.Lower {
		out.Question[0].Name = strings.ToLower(out.Question[0].Name)
	}
	if r.Question != "" {
		out.Question[0].Name = dns.Fqdn(r.Question)
	}
	out.Compress = true
	size := dns.MaxMsgSize
	if transport == "udp" {
		size = dns.MinMsgSize
		if o := m.IsEdns0(); o != nil {
			size = int(o.UDPSize())
		}
	}
	if out.Len() > size { // a real server keeps to the size it was offered
		out.Truncate(size)
	}
	wire, err := out.Pack()
	if err != nil {
		return
	}
	if r.Mangle != nil {
		wire = r.Mangle(wire)
	}
	send(wire, r)
}

func mustRecords(lines []string) []dns.RR {
	list, err := records(lines)
	if err != nil {
		panic(fmt.Sprintf("dnstest: a script's reply: %v", err))
	}
	return list
}

func records(lines []string) ([]dns.RR, error) {
	var list []dns.RR
	for _, line := range lines {
		rr, err := dns.NewRR(line)
		if err != nil {
			return nil, err
		}
		if rr != nil {
			list = append(list, rr)
		}
	}
	return list, nil
}
