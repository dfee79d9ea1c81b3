package flow

import (
	"net/netip"
	"sync"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Group holds the flows of one address, in a table for each of its sockets. Where there are several, the kernel spreads clients among
// them by address and port (SO_REUSEPORT), so that a flow stays in its table as long as none of the sockets is closed. Bounds hold
// for the group.
type Group struct{ shared *shared }

// shared is what the tables of a group have in common.
type shared struct {
	tables []*Table
	routes routes

	mu   sync.Mutex
	held map[netip.Addr]int // flows of the sources of which there is a bound
}

// NewGroup takes ownership of the sockets, all of one address. engine is one of Engines; there is one socket with "portable".
func NewGroup(conns []*sock.PacketConn, owner Owner, engine string) (*Group, error) {
	s := &shared{
		routes: routes{ids: make(map[quicID]*route), carried: make(map[*Flow][]quicID), servers: make(map[quicID]netip.AddrPort)}, held: make(map[netip.Addr]int),
	}
	for i, conn := range conns {
		t, err := newTable(conn, owner, engine, s)
		if err != nil {
			for _, conn := range conns[i:] {
				_ = conn.Close()
			}
			(&Group{s}).Close()
			return nil, err
		}
		s.tables = append(s.tables, t)
	}
	return &Group{s}, nil
}

// Run opens flows until Stop. When it has returned, the owner knows all there will be.
func (g *Group) Run() {
	var running sync.WaitGroup
	for _, t := range g.shared.tables {
		running.Go(t.carrier.run)
	}
	running.Wait()
}

// Stop opens no more flows. Those that live go on, both ways, until they are idle or cut.
func (g *Group) Stop() {
	for _, t := range g.shared.tables {
		t.carrier.stop()
	}
}

// Close waits for the flows, which the owner has cut or lets run out, and closes the sockets: all at the end, since the kernel
// spreads anew among those that are left. Call it after Run has returned, or instead of Run.
func (g *Group) Close() {
	g.Stop()
	for _, t := range g.shared.tables {
		t.carrier.drain()
	}
	for _, t := range g.shared.tables {
		t.carrier.close()
	}
}

// take counts a flow of a source in, unless there are most of them.
func (s *shared) take(source netip.Addr, most int) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[source] >= most {
		return false
	}
	s.held[source]++
	return true
}

// give counts a flow of a source out.
func (s *shared) give(source netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.held[source]--; s.held[source] <= 0 {
		delete(s.held, source)
	}
}

// replace is take in the place of a flow that was just given.
func (s *shared) replace(source netip.Addr) {
	s.mu.Lock()
	s.held[source]++
	s.mu.Unlock()
}

// ask has another table than t evict a flow, soon: who comes next finds room.
func (s *shared) ask(t *Table, of func(*Table) *crowd) {
	for _, other := range s.tables {
		if other == t {
			continue
		}
		if f := other.least(of); f != nil {
			f.Kill(end.Evicted)
			return
		}
	}
}
