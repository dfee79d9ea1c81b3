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
	AdminMaint              // no sessions; its health is unknown, whatever is said of it
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

// SetAdmin says of an address whether it serves. Ready also ends its ejection, and maint forgets its health. It reports
// whether that changed anything; if so, an epoch follows if the newest one lists the address.
func (t *Table) SetAdmin(addr netip.AddrPort, a Admin) (changed bool, err error) {
	return t.override(addr, func(o *Override) { o.Admin = a })
}

// SetWeight says the weight of an address, which counts instead of that of its members; NoWeight takes it back.
func (t *Table) SetWeight(addr netip.AddrPort, weight int) (changed bool, err error) {
	if weight < NoWeight || weight > MaxWeight {
		return false, fmt.Errorf("weight %d, expected 0 to %d", weight, MaxWeight)
	}
	return t.override(addr, func(o *Override) { o.Weight = weight })
}

func (t *Table) override(addr netip.AddrPort, say func(*Override)) (changed bool, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	old, said := t.overrides[addr]
	p := t.peers[addr]
	if p == nil && !said {
		return false, ErrUnknownPeer
	}
	if !said {
		old = Override{Addr: addr, Weight: NoWeight}
	}
	o := old
	say(&o)
	if p != nil && o.Admin == AdminReady {
		p.pardon()
	}
	if o == old {
		return false, nil
	}
	if o.none() {
		delete(t.overrides, addr)
	} else {
		t.overrides[addr] = o
	}
	if p == nil {
		return true, nil
	}
	p.admin.Store(uint32(o.Admin))
	if o.Admin == AdminMaint {
		p.health.Store(uint32(HealthUnknown))
		p.pardon()
	}
	t.republish(p, CauseAdmin)
	return true, nil
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
