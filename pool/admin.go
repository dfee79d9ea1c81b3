package pool

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// ErrUnknownPeer is given for an address that no epoch in use lists and of which nothing was said before.
var ErrUnknownPeer = errors.New("no such peer")

// Admin is what an operator says of a peer. It belongs to the address in the table: it holds in every epoch, and also if
// the address leaves and comes back.
type Admin uint32

// The admin states.
const (
	AdminReady Admin = iota // as its weight and its check have it
	AdminDrain              // no new sessions; what is said of its health counts
	AdminMaint              // no sessions; its health is that of a new peer, whatever is said of it
)

func (a Admin) String() string {
	switch a {
	case AdminDrain:
		return "drain"
	case AdminMaint:
		return "maint"
	}
	return "ready"
}

// NoWeight is the admin weight of an address of which no weight was said: its members' weights count.
const NoWeight = -1

// Override is what was said of one address. It is kept as long as it says anything.
type Override struct {
	Addr   netip.AddrPort
	Admin  Admin
	Weight int // instead of that of its members, or NoWeight
}

func (o Override) none() bool { return o.Admin == AdminReady && o.Weight == NoWeight }

// Change is what came of saying something of an address.
type Change struct {
	Epoch   uint64 // the current epoch afterwards
	Changed bool   // it was something new
	Listed  bool   // the current epoch lists the address: it is a new epoch if something has changed
}

// SetAdmin says of an address whether it serves. Ready also ends its ejection, and maint forgets its health.
func (t *Table) SetAdmin(addr netip.AddrPort, a Admin) (Change, error) {
	return t.override(addr, func(o *Override) { o.Admin = a })
}

// SetWeight says the weight of an address, which counts instead of that of its members; NoWeight takes it back.
func (t *Table) SetWeight(addr netip.AddrPort, weight int) (Change, error) {
	if weight < NoWeight || weight > MaxWeight {
		return Change{}, fmt.Errorf("weight %d, expected 0 to %d", weight, MaxWeight)
	}
	return t.override(addr, func(o *Override) { o.Weight = weight })
}

func (t *Table) override(addr netip.AddrPort, say func(*Override)) (Change, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, said := t.overrides[addr]
	p := t.peers[addr]
	if p == nil && !said {
		return Change{}, ErrUnknownPeer
	}
	if !said {
		old = Override{Addr: addr, Weight: NoWeight}
	}
	o := old
	say(&o)
	if o.none() {
		delete(t.overrides, addr)
	} else {
		t.overrides[addr] = o
	}
	c := Change{Changed: o != old}
	if p != nil {
		c.Listed = t.Lists(p)
		t.obey(p, o.Admin, c.Changed)
	}
	c.Epoch = t.lastID
	return c, nil
}

// obey brings a peer to what was said of it. The caller holds t.mu.
func (t *Table) obey(p *Peer, a Admin, changed bool) {
	if a != AdminDrain {
		p.pardon()
	}
	if !changed {
		return
	}
	p.admin.Store(uint32(a))
	if a == AdminMaint {
		p.health.Store(uint32(t.opts.Fresh()))
		p.percent = 0
	}
	t.republish(p, CauseAdmin)
}

// Admin returns what was said of an address.
func (t *Table) Admin(addr netip.AddrPort) Admin {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.overrides[addr].Admin
}

// Overrides returns what was said of all addresses, those that no epoch lists included, by address.
func (t *Table) Overrides() []Override {
	t.mu.Lock()
	defer t.mu.Unlock()
	list := make([]Override, 0, len(t.overrides))
	for _, o := range t.overrides {
		list = append(list, o)
	}
	slices.SortFunc(list, func(a, b Override) int { return a.Addr.Compare(b.Addr) })
	return list
}

// weight is that of a member, if nobody has said another. The caller holds t.mu.
func (t *Table) weight(m Member) int {
	if o, said := t.overrides[m.Addr]; said && o.Weight != NoWeight {
		return o.Weight
	}
	return m.Weight
}
