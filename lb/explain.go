package lb

import (
	"fmt"
	"net/netip"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/pool"
)

// Explain says what a new client of a listener would get now, and why. It asks those who would decide, and takes nothing.
// Without a valid address the client is any; sni is the name that it asks for, "" if it asks for none.
func (s *Server) Explain(name string, client netip.AddrPort, sni string) (admin.Explanation, error) {
	of, err := listenersNamed(s.running().listeners, name)
	if err != nil {
		return admin.Explanation{}, err
	}
	return explain(of, client, sni), nil
}

// listenersNamed gives those of one name, a listener for each of its addresses, or says which names there are.
func listenersNamed(among []*listener, name string) (of []*listener, err error) {
	u := &admin.Unknown{Text: fmt.Sprintf("no listener is named %q", name)}
	for _, l := range among {
		if l.name == name {
			of = append(of, l)
		} else if n := len(u.Listeners); n == 0 || u.Listeners[n-1] != l.name {
			u.Listeners = append(u.Listeners, l.name)
		}
	}
	if len(of) == 0 {
		return nil, u
	}
	return of, nil
}

// explain answers for a listener by its addresses: whatever a client connects to, the pool and the limit are the same.
func explain(of []*listener, client netip.AddrPort, sni string) admin.Explanation {
	l := of[0]
	p := l.pool
	local := l.port.addr
	table := p.table.Explain(pool.Request{Now: p.table.Since(time.Now()), Key: p.key(client, local, sni)})
	st := p.describe(table.Status)
	x := admin.Explanation{
		Listener: l.name, Pool: p.name, Balance: st.Balance, Epoch: st.Epoch, Tier: st.Tier, Drawn: table.Drawn, Next: []string{}, Peers: st.Peers,
	}
	switch {
	case client.Port() != 0:
		x.Source = client.String()
	case client.Addr().IsValid():
		x.Source = client.Addr().String()
	}
	for _, e := range st.Epochs {
		x.Cause = e.Cause // the newest is the last
	}
	x.Outcome, x.Reason = l.outlook(client.Addr(), len(table.Next) > 0, table.Spent)
	if x.Outcome != "peer" {
		return x
	}
	if missing := p.missing(client, local, sni, len(of) > 1); missing != "" {
		x.Outcome, x.Reason = "unknown", missing
		return x
	}
	x.Next = addrs(table.Next)
	return x
}

// outlook says what becomes of a new client, in the order in which listener.admit and trip.Next ask.
func (l *listener) outlook(client netip.Addr, picked, spent bool) (outcome, reason string) {
	q := &l.pool.queue
	if no := l.refuses(client); no.word != end.None {
		return "refused", no.String()
	}
	why, wait := q.reasonToWait()
	if !wait && !picked {
		why, wait = q.reason()
	}
	switch {
	case !wait && picked:
		return "peer", ""
	case (!wait || l.port.proto == "udp") && spent:
		return "refused", atPoolMaxConns.String()
	case !wait, l.port.proto == "udp":
		return "refused", end.NoPeer.String()
	case !q.hasRoom(why):
		return "refused", noRoom[why].String()
	case q.held.Load():
		return "wait", "an operator holds the pool"
	case why == isHeld:
		return "wait", "no peer may be picked"
	case picked:
		return "wait", "others wait already"
	}
	if spent {
		return "wait", "the pool is at its limit"
	}
	return "wait", "every peer is at its limit"
}

// missing says what the policy goes by and nobody has said; "" if nothing is missing.
func (p *livePool) missing(client, local netip.AddrPort, sni string, several bool) string {
	c := p.conf()
	switch {
	case c.Balance != "hash":
	case c.HashKey == "destination":
		if several || local.Addr().IsUnspecified() {
			return "hash_key = \"destination\": the peer depends on the address that the client connects to"
		}
	case c.HashKey == "sni":
		if sni == "" {
			return "hash_key = \"sni\": the peer depends on the name that the client asks for, which was not given"
		}
	case !client.Addr().IsValid():
		return fmt.Sprintf("hash_key = %q: the peer depends on the client's address, which was not given", c.HashKey)
	case c.HashKey == "source_port" && client.Port() == 0:
		return "hash_key = \"source_port\": the peer depends on the client's port too, which was not given"
	}
	return ""
}
