package dnstest

import (
	"crypto/tls"
	"encoding/binary"
	"io"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// ServeTLS listens for DNS over TLS at any port of 127.0.0.1 and returns its address and port. The certificate holds for
// the names, and 127.0.0.1.
func (s *Server) ServeTLS(ca *CA, names ...string) (addr string, err error) {
	l, err := tls.Listen("tcp", "127.0.0.1:0", ca.config(names))
	if err != nil {
		return "", err
	}
	s.front(l)
	s.wg.Go(func() { s.serveStream(l, "tls") })
	return l.Addr().String(), nil
}

// ServeHTTPS listens for DNS over HTTPS like ServeTLS does. It answers POSTs to /dns-query over HTTP/2.
func (s *Server) ServeHTTPS(ca *CA, names ...string) (addr string, err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	front := &http.Server{Handler: http.HandlerFunc(s.post), TLSConfig: ca.config(names), ErrorLog: quiet, ConnState: s.track}
	s.front(front)
	s.wg.Go(func() { _ = front.ServeTLS(l, "", "") })
	return l.Addr().String(), nil
}

func (s *Server) front(c io.Closer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fronts = append(s.fronts, c)
}

// track keeps the connections over HTTPS.
func (s *Server) track(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch state {
	case http.StateNew:
		s.opened["https"]++
		s.conns[c] = struct{}{}
	case http.StateClosed:
		delete(s.conns, c)
	}
}

// Connections returns how many there have been over "tcp", "tls" or "https".
func (s *Server) Connections(transport string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.opened[transport]
}

// Hangup closes all connections that are open.
func (s *Server) Hangup() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		c.Close()
	}
}

func (s *Server) serveStream(l net.Listener, transport string) {
	for {
		c, err := l.Accept()
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
		s.opened[transport]++
		s.mu.Unlock()
		s.wg.Go(func() {
			defer func() {
				s.mu.Lock()
				delete(s.conns, c)
				s.mu.Unlock()
				c.Close()
			}()
			s.serveConn(c, transport)
		})
	}
}

// serveConn answers questions as they come, each as soon as its answer is due.
func (s *Server) serveConn(c net.Conn, transport string) {
	source := netip.MustParseAddrPort(c.RemoteAddr().String())
	conn := &dns.Conn{Conn: c}
	var writing sync.Mutex
	for {
		m, err := conn.ReadMsg()
		if err != nil || len(m.Question) != 1 {
			return
		}
		s.wg.Go(func() {
			s.answer(m, transport, source, func(wire []byte, r Reply) {
				writing.Lock()
				defer writing.Unlock()
				s.write(c, wire, r)
			})
		})
	}
}

func (s *Server) write(c net.Conn, wire []byte, r Reply) {
	if r.Hangup {
		c.Close()
		return
	}
	size := len(wire)
	if r.Length != 0 {
		size = r.Length
	}
	framed := append(binary.BigEndian.AppendUint16(nil, uint16(size)), wire...)
	if r.Dribble == 0 {
		_, _ = c.Write(framed)
		return
	}
	for i := range framed {
		if _, err := c.Write(framed[i : i+1]); err != nil {
			return
		}
		select {
		case <-time.After(r.Dribble):
		case <-s.done:
			return
		}
	}
}

func (s *Server) post(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, dns.MaxMsgSize))
	m := new(dns.Msg)
	if err != nil || r.Method != http.MethodPost || r.URL.Path != "/dns-query" || r.Header.Get("Content-Type") != dnsMessage ||
		m.Unpack(body) != nil || len(m.Question) != 1 {
		http.Error(w, "not a question", http.StatusBadRequest)
		return
	}
	sent := false
	s.answer(m, "https", netip.MustParseAddrPort(r.RemoteAddr), func(wire []byte, reply Reply) {
		sent = true
		w.Header().Set("Content-Type", dnsMessage)
		if reply.Age > 0 {
			w.Header().Set("Age", strconv.Itoa(reply.Age))
		}
		if reply.Status != 0 {
			w.WriteHeader(reply.Status)
		}
		_, _ = w.Write(wire)
	})
	if !sent { // silence
		select {
		case <-r.Context().Done():
		case <-s.done:
		}
	}
}

const dnsMessage = "application/dns-message"
