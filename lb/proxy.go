package lb

import (
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/preface"
)

// admit takes a place for the session, under the address that its client has by now.
func (s *tcpSession) admit() refusal {
	var no refusal
	s.place, no = s.listener.admit(s.client.Addr())
	s.admitted = no.word == end.None
	return no
}

// await has the session wait for its PROXY header, and for a place until that has come. There are never more of those than
// the listener may have sessions.
func (s *tcpSession) await(c *settings) refusal {
	l := s.listener
	if s.client.IsValid() && !c.proxies.Admits(s.client.Addr()) { // at a path its mode decides
		return refusal{"proxy_in", end.Denied}
	}
	l.active.Add(1)
	s.hearing = true
	if n := l.hearing.Add(1); c.MaxConns > 0 && n > int64(c.MaxConns) {
		s.unhear()
		return refusal{"max_conns", end.Limit}
	}
	return refusal{}
}

// unhear ends the waiting for the header.
func (s *tcpSession) unhear() {
	if s.hearing {
		s.hearing = false
		s.listener.hearing.Add(-1)
		s.listener.active.Add(-1)
	}
}

// Header takes the client's word, or its proxy's, for who it is. A header that names nobody leaves that as it is.
func (s *tcpSession) Header(h preface.Header) end.Word {
	l := s.listener
	if h.Client.IsValid() {
		l.live.rename(s.slot, func() {
			told := s.client
			s.via, s.client, s.local = &told, h.Client, h.Local
		})
	}
	no := s.admit()
	s.unhear() // after it: a session is active all the time
	if no.word != end.None {
		l.rejected.add(no.reason)
		return no.word
	}
	s.greet()
	return end.None
}

// greet makes what tells the peer who the client is.
func (s *tcpSession) greet() {
	s.Source = s.client.Addr()
	switch s.listener.pool.conf().ProxyOut {
	case "v1":
		s.Preface = preface.Format(1, s.client, s.local)
	case "v2":
		s.Preface = preface.Format(2, s.client, s.local)
	}
}
