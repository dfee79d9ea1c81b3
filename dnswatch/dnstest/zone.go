package dnstest

import (
	"fmt"
	"net/netip"

	"github.com/miekg/dns"
)

// Set gives a name's records of one type, as lines of a zone file. No line is NODATA. Bad lines panic: they are the test's fault.
func (s *Server) Set(name, typ string, rrs ...string) {
	list := mustRecords(rrs)
	s.mu.Lock()
	defer s.mu.Unlock()
	name = dns.CanonicalName(name)
	s.zone[zoneKey{name, dns.StringToType[typ]}] = list
	delete(s.rcodes, name)
}

// SetA gives a name's addresses of both families; the family without one is NODATA.
func (s *Server) SetA(name string, ttl uint32, addrs ...string) {
	var four, six []string
	for _, a := range addrs {
		if netip.MustParseAddr(a).Is4() {
			four = append(four, fmt.Sprintf("%s %d IN A %s", dns.Fqdn(name), ttl, a))
		} else {
			six = append(six, fmt.Sprintf("%s %d IN AAAA %s", dns.Fqdn(name), ttl, a))
		}
	}
	s.Set(name, "A", four...)
	s.Set(name, "AAAA", six...)
}

// NXDomain makes a name not exist.
func (s *Server) NXDomain(name string) { s.Rcode(name, dns.RcodeNameError) }

// Rcode answers every question for a name with an rcode; 0 ends that.
func (s *Server) Rcode(name string, rcode int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if rcode == 0 {
		delete(s.rcodes, dns.CanonicalName(name))
		return
	}
	s.rcodes[dns.CanonicalName(name)] = rcode
}

// Silent lets questions for a name go unanswered; the name "" stands for all.
func (s *Server) Silent(name string, on bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if name != "" {
		name = dns.CanonicalName(name)
	}
	s.silent[name] = on
}

// fromZone fills a reply, following CNAMEs. It reports false for silence.
func (s *Server) fromZone(q dns.Question, out *dns.Msg) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	name := dns.CanonicalName(q.Name)
	if s.silent[""] || s.silent[name] {
		return false
	}
	if code, ok := s.rcodes[name]; ok && code != dns.RcodeNameError {
		out.Rcode = code
		return true
	}
	for range 20 {
		if s.rcodes[name] == dns.RcodeNameError { // whatever records it had
			break
		}
		if list := s.zone[zoneKey{name, q.Qtype}]; len(list) > 0 {
			out.Answer = append(out.Answer, list...)
			return true
		}
		alias := s.zone[zoneKey{name, dns.TypeCNAME}]
		if len(alias) == 0 {
			break
		}
		out.Answer = append(out.Answer, alias[0])
		name = dns.CanonicalName(alias[0].(*dns.CNAME).Target)
	}
	if s.rcodes[name] == dns.RcodeNameError || !s.exists(name) {
		out.Rcode = dns.RcodeNameError
	}
	out.Ns = mustRecords([]string{". 1 IN SOA ns.test. hostmaster.test. 1 3600 600 86400 1"})
	return true
}

func (s *Server) exists(name string) bool {
	for k := range s.zone {
		if k.name == name {
			return true
		}
	}
	return false
}
