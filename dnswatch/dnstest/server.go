package dnstest

import (
	"fmt"
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
	Transport  string // "udp" or "tcp"
	N          int    // the how-manieth for this name and type, from 1
	ID         uint16
	Source     netip.AddrPort
	EDNS       int // offered payload size; 0 is no EDNS
	Time       time.Time
}

// Reply is what a script answers.
type Reply struct {
	Default     bool     // what the zone says; the fields down to Delay are not looked at
	RRs, Auth   []string // records as in a zone file
	Rcode       int
	TC          bool
	Delay       time.Duration
	Drop        bool
	WrongID     bool
	Question    string  // another name in the question section
	NotResponse bool    // the QR bit is not set
	Garbage     []byte  // these bytes instead of a message
	OtherPort   bool    // UDP: sent from another port
	Before      []Reply // UDP: datagrams sent before this one
}

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
	conns   map[net.Conn]struct{}
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
		silent: make(map[string]bool), conns: make(map[net.Conn]struct{}),
	}
	var err error
	for range 20 { // the port that UDP gets may be taken for TCP
		if s.udp, err = net.ListenPacket("udp", addr); err != nil {
			return nil, err
		}
		if s.tcp, err = net.Listen("tcp", s.udp.LocalAddr().String()); err == nil {
			break
		}
		s.udp.Close()
	}
	if err != nil {
		return nil, err
	}
	s.wg.Go(s.serveUDP)
	s.wg.Go(s.serveTCP)
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
	return s.countLocked(name, typ)
}

func (s *Server) countLocked(name, typ string) int {
	n := 0
	for _, q := range s.queries {
		if strings.EqualFold(q.Name, strings.TrimSuffix(name, ".")) && q.Type == typ {
			n++
		}
	}
	return n
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
			s.answer(m, "udp", source, func(wire []byte, otherPort bool) {
				if !otherPort {
					s.udp.WriteTo(wire, from)
					return
				}
				if c, err := net.ListenPacket("udp", ""); err == nil {
					c.WriteTo(wire, from)
					c.Close()
				}
			})
		})
	}
}

func (s *Server) serveTCP() {
	for {
		c, err := s.tcp.Accept()
		if err != nil {
			return
		}
		s.mu.Lock()
		if s.closed {
			s.mu.Unlock()
			c.Close()
			return
		}
		s.conns[c] = struct{}{}
		s.mu.Unlock()
		s.wg.Go(func() {
			defer func() {
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				c.Close()
			}()
			conn := &dns.Conn{Conn: c}
			for {
				m, err := conn.ReadMsg()
				if err != nil || len(m.Question) != 1 {
					return
				}
				s.answer(m, "tcp", netip.MustParseAddrPort(c.RemoteAddr().String()), func(wire []byte, _ bool) { conn.Write(wire) })
			}
		})
	}
}

// answer records a question and sends what the script or the zone says.
func (s *Server) answer(m *dns.Msg, transport string, source netip.AddrPort, send func(wire []byte, otherPort bool)) {
	q := m.Question[0]
	query := Query{
		Name: strings.TrimSuffix(q.Name, "."), Type: dns.TypeToString[q.Qtype], Transport: transport, ID: m.Id, Source: source, Time: time.Now(),
	}
	if o := m.IsEdns0(); o != nil {
		query.EDNS = int(o.UDPSize())
	}
	s.mu.Lock()
	query.N = s.countLocked(query.Name, query.Type) + 1
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

func (s *Server) send(m *dns.Msg, r Reply, transport string, send func([]byte, bool)) {
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
		send(r.Garbage, r.OtherPort)
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
		out.Answer, out.Ns = mustRecords(r.RRs), mustRecords(r.Auth)
	}
	out.Truncated = r.TC
	out.Response = !r.NotResponse
	if r.WrongID {
		out.Id ^= 0x5555
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
	if wire, err := out.Pack(); err == nil {
		send(wire, r.OtherPort)
	}
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
