package lb

import (
	"cmp"
	"container/heap"
	"net/netip"
	"slices"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/relay"
)

// Conns lists the sessions that a filter lets pass, the oldest first and at most f.Limit, and says how many there are.
func (s *Server) Conns(f admin.ConnFilter) (list []admin.Conn, matched int) {
	first := oldest{most: f.Limit}
	s.match(f, func(c settled) {
		matched++
		first.add(c)
	})
	slices.SortFunc(first.list, func(a, b settled) int { return cmp.Compare(a.walk().id, b.walk().id) })
	return describe(first.list), matched
}

// oldest keeps the oldest of the sessions that it is given, at most so many; 0 is all. It is a heap with the youngest on top:
// most sessions are younger still, and are not kept for a moment.
type oldest struct {
	most int
	list []settled
}

func (o *oldest) add(c settled) {
	switch {
	case o.most <= 0:
		o.list = append(o.list, c)
	case len(o.list) < o.most:
		heap.Push(o, c)
	case c.walk().id < o.list[0].walk().id:
		o.list[0] = c
		heap.Fix(o, 0)
	}
}

func (o *oldest) Len() int           { return len(o.list) }
func (o *oldest) Less(i, k int) bool { return o.list[i].walk().id > o.list[k].walk().id }
func (o *oldest) Swap(i, k int)      { o.list[i], o.list[k] = o.list[k], o.list[i] }
func (o *oldest) Push(c any)         { o.list = append(o.list, c.(settled)) }

// Pop is what a heap asks for; nothing is taken from this one.
func (o *oldest) Pop() any {
	last := o.list[len(o.list)-1]
	o.list = o.list[:len(o.list)-1]
	return last
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
	var found []settled
	s.match(f, func(c settled) { found = append(found, c) })
	for _, c := range found { // without the locks: a session that ends wants them
		c.Kill(end.AdminKilled)
	}
	if len(found) > 0 {
		s.log.Info("sessions killed", "sessions", len(found), "filter", f.Query().Encode())
	}
	return len(found)
}

// Named tells whether there are the listener and the pool that a filter names; those that leave may have sessions, too.
func (s *Server) Named(f admin.ConnFilter) error {
	g := s.running()
	if f.Listener != "" {
		if _, err := listenersNamed(g.everyListener(), f.Listener); err != nil {
			return err
		}
	}
	if f.Pool != "" {
		if _, err := poolNamed(g.everyPool(), f.Pool); err != nil {
			return err
		}
	}
	return nil
}

// match visits the sessions that a filter lets pass, in any order, under the locks that sessions need to begin and to end.
func (s *Server) match(f admin.ConnFilter, visit func(settled)) {
	now := time.Now()
	peer, _ := netip.ParseAddrPort(f.Peer) // or an address
	host, _ := netip.ParseAddr(f.Peer)
	for _, l := range s.running().everyListener() {
		if f.Listener != "" && l.name != f.Listener || f.Pool != "" && l.pool.name != f.Pool {
			continue
		}
		l.live.each(func(c settled) {
			t := c.walk()
			if (f.ID == 0 || t.id == f.ID) &&
				(f.Epoch == 0 || c.epoch == f.Epoch) &&
				(f.Peer == "" || c.peer.IsValid() && (c.peer == peer || c.peer.Addr() == host)) &&
				(!f.Source.IsValid() || f.Source.Contains(c.client.Addr())) &&
				(f.MinAge <= 0 || now.Sub(t.born) >= f.MinAge) {
				visit(c)
			}
		})
	}
}
