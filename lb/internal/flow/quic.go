package flow

import (
	"net/netip"
	"slices"
	"sync"
)

// Bounds of what is remembered of connection ids.
const (
	maxFlowIDs = 8    // of one flow; the oldest goes first
	maxServers = 4096 // parts of ids that name a server
)

// QUIC says how connection ids lead datagrams to the peer that knows them, so that a client whose address changes keeps its
// server. The zero value is not at all.
type QUIC struct {
	IDLength     int // of the ids that servers choose, 1 to 20; 0 is off
	ServerLength int // how many bytes of an id, behind its first one, name the server; 0 is none
}

// routes is what is known of connection ids.
type routes struct {
	mu      sync.Mutex
	ids     map[quicID]*route
	carried map[*Flow][]quicID
	servers map[quicID]netip.AddrPort
}

// route leads one connection id to a peer, as long as flows carry it.
type route struct {
	peer  netip.AddrPort
	flows int
}

// stray is a flow of a client that has another flow to another peer, by which it is found: behind one address there are two
// connections.
type stray struct {
	key
	peer netip.AddrPort
}

// led gives the flow that a datagram belongs to, where f is what its addresses say; nil: it opens one.
func (t *Table) led(f *Flow, b []byte, k key) *Flow {
	peer := t.shared.routes.leads(f, b)
	if !peer.IsValid() || peer == f.peer {
		return f
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	f = t.strays[stray{k, peer}]
	if f != nil {
		f.all.used()
		f.source.used()
	}
	return f
}

// leads gives the peer that a datagram in a flow is for, where that may be another one than the flow's.
func (r *routes) leads(f *Flow, b []byte) netip.AddrPort {
	r.mu.Lock()
	defer r.mu.Unlock()
	if id, ok := askedID(b, f.QUIC.IDLength); ok && slices.Contains(r.carried[f], newQUICID(id)) {
		return f.peer // whatever others make of the id
	}
	return r.peerFor(b, f.QUIC)
}

// peerFor gives the peer that a datagram's id leads to; the zero value is none. The server's part counts only in short headers:
// the ids of a client's first packets are its own choice (RFC 9000, 7.2).
func (r *routes) peerFor(b []byte, q QUIC) netip.AddrPort {
	id, ok := askedID(b, q.IDLength)
	if !ok {
		return netip.AddrPort{}
	}
	if route := r.ids[newQUICID(id)]; route != nil {
		return route.peer
	}
	if q.ServerLength == 0 || isLong(b) {
		return netip.AddrPort{}
	}
	return r.servers[newQUICID(id[1:1+q.ServerLength])]
}

// named is the peer that the first datagram of a flow asks for.
func (t *Table) named(b []byte, q QUIC) netip.AddrPort {
	if q.IDLength == 0 {
		return netip.AddrPort{}
	}
	r := &t.shared.routes
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.peerFor(b, q)
}

// learn notes the id that a peer's datagram tells.
func (t *Table) learn(f *Flow, b []byte) {
	id, ok := givenID(b, f.QUIC.IDLength)
	if !ok {
		return
	}
	r := &t.shared.routes
	r.mu.Lock()
	defer r.mu.Unlock()
	r.carry(f, newQUICID(id))
	if n := f.QUIC.ServerLength; n > 0 {
		if len(r.servers) >= maxServers {
			clear(r.servers) // who serves is learned again with the next connection
		}
		r.servers[newQUICID(id[1:1+n])] = f.peer
	}
}

// adopt lets a new flow carry the id that has opened it. If the peer that the id led to could not be had, the id leads to the
// flow's from now on, and its server's part to nobody.
func (r *routes) adopt(f *Flow, b []byte) {
	id, ok := askedID(b, f.QUIC.IDLength)
	if !ok || !f.Named().IsValid() {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.carry(f, newQUICID(id))
	if n := f.QUIC.ServerLength; n > 0 && f.peer != f.Named() && r.servers[newQUICID(id[1:1+n])] == f.Named() {
		delete(r.servers, newQUICID(id[1:1+n]))
	}
}

func (r *routes) carry(f *Flow, id quicID) {
	ids := r.carried[f]
	if slices.Contains(ids, id) {
		return
	}
	if len(ids) == maxFlowIDs {
		r.drop(ids[0])
		ids = slices.Delete(ids, 0, 1)
	}
	r.carried[f] = append(ids, id)
	if r.ids[id] == nil {
		r.ids[id] = new(route)
	}
	r.ids[id].peer = f.peer
	r.ids[id].flows++
}

func (r *routes) drop(id quicID) {
	if r.ids[id].flows--; r.ids[id].flows == 0 {
		delete(r.ids, id)
	}
}

// forget takes the ids of a flow out that has ended.
func (r *routes) forget(f *Flow) {
	if f.QUIC.IDLength == 0 {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, id := range r.carried[f] {
		r.drop(id)
	}
	delete(r.carried, f)
}
