package lb

import (
	"errors"
	"fmt"
	"net/netip"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/pool"
)

// OrderPeer does what an operator says of a peer. It belongs to the address in the pool: it holds until it is taken back.
func (s *Server) OrderPeer(name, peer string, o admin.Order) (admin.PeerReply, error) {
	p, err := s.poolNamed(name)
	if err != nil {
		return admin.PeerReply{}, err
	}
	addr, err := netip.ParseAddrPort(peer)
	if err != nil {
		return admin.PeerReply{}, p.unknownPeer(peer)
	}
	addr = netip.AddrPortFrom(addr.Addr().Unmap(), addr.Port())
	changed, err := p.order(addr, o)
	if errors.Is(err, pool.ErrUnknownPeer) {
		err = p.unknownPeer(peer)
	}
	if err != nil {
		return admin.PeerReply{}, err
	}
	if changed {
		s.saveState()
	}
	st := p.status()
	reply := admin.PeerReply{Pool: st.Name, Epoch: st.Epoch, Changed: changed, Peer: admin.Peer{Addr: addr.String(), State: "absent", Sources: []string{}}}
	for _, known := range st.Peers {
		if known.Addr == reply.Peer.Addr {
			reply.Peer = known
		}
	}
	return reply, nil
}

func (s *Server) poolNamed(name string) (*livePool, error) { return poolNamed(s.running().pools, name) }

// poolNamed gives a pool, or says which there are.
func poolNamed(among []*livePool, name string) (*livePool, error) {
	u := &admin.Unknown{Text: fmt.Sprintf("no pool is named %q", name)}
	for _, p := range among {
		if p.name == name {
			return p, nil
		}
		u.Pools = append(u.Pools, p.name)
	}
	return nil, u
}

func (p *livePool) unknownPeer(peer string) error {
	u := &admin.Unknown{Text: fmt.Sprintf("pool %s has no peer %q", p.name, peer)}
	for _, known := range p.table.Status().Peers {
		u.Peers = append(u.Peers, known.Addr.String())
	}
	return u
}

var adminWords = map[string]pool.Admin{"drain": pool.AdminDrain, "maint": pool.AdminMaint, "ready": pool.AdminReady}

// order changes what was said of a peer and lets follow what follows.
func (p *livePool) order(addr netip.AddrPort, o admin.Order) (changed bool, err error) {
	p.mu.Lock() // over all: whoever finds what was said also finds what follows
	var c pool.Change
	state := adminWords[o.Word]
	if o.Word == "weight" {
		c, err = p.table.SetWeight(addr, o.Weight)
	} else {
		c, err = p.table.SetAdmin(addr, state)
	}
	if !c.Changed {
		p.mu.Unlock()
		return false, err
	}
	attrs := []any{"peer", addr.String(), "reason", "admin", "epoch", c.Epoch}
	var ended *check.Watch
	if o.Word == "weight" {
		if o.Weight != admin.NoWeight {
			attrs = append(attrs, "weight", o.Weight)
		}
	} else {
		ended = p.watchAsToldLocked(addr, state)
		p.decideLocked(addr)
	}
	p.log.Info("peer "+o.Word, attrs...)
	p.tellLocked()
	p.judgeLocked(netip.AddrPort{}) // a primary under maintenance leaves its place to others
	p.mu.Unlock()
	if ended != nil {
		ended.Close()
	}
	return true, nil
}

// watchAsToldLocked ends the check of a peer under maintenance, or begins that of another. The caller closes what it returns
// when mu is released.
func (p *livePool) watchAsToldLocked(addr netip.AddrPort, a pool.Admin) (ended *check.Watch) {
	c := p.checks[addr]
	switch {
	case a != pool.AdminMaint && p.table.Peer(addr) != nil:
		p.watchLocked(addr)
	case a == pool.AdminMaint && c != nil:
		delete(p.checks, addr)
		return c.watch
	}
	return nil
}

// takenOut is how many addresses operators have taken out.
func (p *livePool) takenOut() (n int) {
	for _, o := range p.table.Overrides() {
		if o.Admin != pool.AdminReady {
			n++
		}
	}
	return n
}
