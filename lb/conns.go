package lb

import (
	"cmp"
	"net/netip"
	"slices"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/relay"
)

// Conns lists the sessions that a filter lets pass, the oldest first and at most f.Limit, and says how many there are.
func (s *Server) Conns(f admin.ConnFilter) (list []admin.Conn, matched int) {
	found := s.find(f)
	order := make([]ranked, len(found))
	for i, c := range found {
		order[i] = ranked{c.walk().id, i}
	}
	slices.SortFunc(order, func(a, b ranked) int { return cmp.Compare(a.id, b.id) })
	matched = len(found)
	if f.Limit > 0 {
		order = order[:min(f.Limit, matched)]
	}
	oldest := make([]settled, len(order))
	for i, r := range order {
		oldest[i] = found[r.at]
	}
	return describe(oldest), matched
}

// ranked is where a session is in a list: to sort these is cheaper than to move what is said of sessions.
type ranked struct {
	id uint64
	at int
}

// describe says what sessions are and do, in their order.
func describe(found []settled) []admin.Conn {
	list := make([]admin.Conn, len(found))
	var carried []*relay.Session
	var at []int
	for i, c := range found {
		t := c.walk()
		list[i] = admin.Conn{
			ID: t.id, Listener: t.listener.name, Pool: t.listener.pool.name, Protocol: t.listener.port.proto,
			Client: spell(c.client, "unix"), Local: spell(c.local, t.listener.port.address()), Epoch: c.epoch,
		}
		if c.peer.IsValid() {
			list[i].Peer = c.peer.String()
		}
		if up := c.Upstream(); up.IsValid() {
			list[i].Upstream = up.String()
		}
		list[i].In, list[i].Out = c.moved()
		switch session := c.live.(type) {
		case *tcpSession:
			carried, at = append(carried, &session.Session), append(at, i)
		case *udpFlow:
			list[i].Idle = session.Idle().Seconds()
		}
	}
	for n, idle := range relay.Idle(carried) {
		list[at[n]].Idle = idle.Seconds()
	}
	now := time.Now()
	for i, c := range found { // a loop's clock may be a few milliseconds behind the session's birth
		list[i].Age = now.Sub(c.walk().born).Seconds()
		list[i].Idle = min(list[i].Idle, list[i].Age)
	}
	return list
}

// KillConns ends the sessions that a filter lets pass and says how many.
func (s *Server) KillConns(f admin.ConnFilter) int {
	found := s.find(f)
	for _, c := range found { // without the locks: a session that ends wants them
		c.Kill(end.AdminKilled)
	}
	if len(found) > 0 {
		s.log.Info("sessions killed", "sessions", len(found), "filter", f.Query().Encode())
	}
	return len(found)
}

// find gives the sessions that a filter lets pass, in any order.
func (s *Server) find(f admin.ConnFilter) []settled {
	now := time.Now()
	peer, _ := netip.ParseAddrPort(f.Peer) // or an address
	host, _ := netip.ParseAddr(f.Peer)
	return s.gather(func(l *listener) bool {
		return (f.Listener == "" || l.name == f.Listener) && (f.Pool == "" || l.pool.name == f.Pool)
	}, func(c settled) bool {
		t := c.walk()
		return (f.ID == 0 || t.id == f.ID) &&
			(f.Epoch == 0 || c.epoch == f.Epoch) &&
			(f.Peer == "" || c.peer.IsValid() && (c.peer == peer || c.peer.Addr() == host)) &&
			(!f.Source.IsValid() || f.Source.Contains(c.client.Addr())) &&
			(f.MinAge <= 0 || now.Sub(t.born) >= f.MinAge)
	})
}

// gather gives the sessions of the listeners that are wanted, if they are wanted themselves.
func (s *Server) gather(of func(*listener) bool, wanted func(settled) bool) (found []settled) {
	for _, l := range s.running().everyListener() {
		if of(l) {
			l.live.each(func(c settled) {
				if wanted(c) {
					found = append(found, c)
				}
			})
		}
	}
	return found
}
