package flow

import (
	"bytes"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
)

// long is a datagram with a long header of QUIC version 1 and these ids.
func long(destination, source string) []byte {
	b := append([]byte{0xc0, 0, 0, 0, 1, byte(len(destination))}, destination...)
	b = append(append(b, byte(len(source))), source...)
	return append(b, "payload"...)
}

// short is a datagram with a short header.
func short(destination string) []byte { return []byte("\x40" + destination + "payload") }

// quicRig is a rig with ids of 8 bytes, of which the two behind the first name the server.
func quicRig(t *testing.T, peers ...netip.AddrPort) *rig {
	return newRigOf(t, localhost, Options{IdleTimeout: time.Minute, QUIC: QUIC{IDLength: 8, ServerLength: 2}}, peers...)
}

// shake begins a connection from c with the peer, who names it id.
func shake(r *rig, c, peer endpoint, id string) {
	r.t.Helper()
	hello := long("anything", "client")
	c.send(r.addr, hello)
	upstream := peer.recv(hello)
	answer := long("client", id)
	peer.send(upstream, answer)
	c.recv(answer)
}

func TestQUICClientThatMovesKeepsItsServer(t *testing.T) {
	a, b := bind(t, localhost), bind(t, localhost)
	r := quicRig(t, a.addr, b.addr)
	shake(r, bind(t, localhost), a, "0AA45678")
	for i, tc := range []struct {
		datagram []byte
		to       endpoint
	}{
		{short("0AA45678"), a},          // the id, from elsewhere
		{short("0AAxxxxx"), a},          // another of the same server, which it has told in secret
		{long("0AA45678", "client"), a}, // the id, before the handshake is over
		{long("0AAyyyyy", "client"), b}, // a first packet, whose id means nothing
		{short("0BB45678"), b},          // nobody has told it
		{[]byte("\x400AA4567"), b},      // too short to have one
		{nil, b},
	} {
		bind(t, localhost).send(r.addr, tc.datagram)
		tc.to.recv(tc.datagram)
		if named := r.opened()[i+1].flow.Named(); named.IsValid() != (tc.to.addr == a.addr) {
			t.Errorf("%q: named %v", tc.datagram, named)
		}
	}
}

// A flow carries the id on: the one that learned it may end.
func TestQUICIDOutlivesItsFirstFlow(t *testing.T) {
	a, b := bind(t, localhost), bind(t, localhost)
	r := quicRig(t, a.addr, b.addr)
	shake(r, bind(t, localhost), a, "0AA45678")
	moved := bind(t, localhost)
	moved.send(r.addr, short("0AA45678"))
	a.recv(short("0AA45678"))
	r.opened()[0].flow.Kill(end.Idle)
	r.end(0, end.Idle)
	bind(t, localhost).send(r.addr, short("0AA45678"))
	a.recv(short("0AA45678"))
	for i := range 2 {
		r.opened()[i+1].flow.Kill(end.Idle)
		r.end(i+1, end.Idle)
	}
	r.table.mu.Lock()
	defer r.table.mu.Unlock()
	known := &r.table.shared.routes
	known.mu.Lock()
	defer known.mu.Unlock()
	if n := len(known.ids) + len(known.carried) + len(r.table.strays); n != 0 {
		t.Errorf("%d are left: %+v", n, known.ids)
	}
}

// Two connections behind one address, as of a NAT: each datagram finds its server, without a flow for each.
func TestQUICConnectionsOfOneAddress(t *testing.T) {
	a, b, c := bind(t, localhost), bind(t, localhost), bind(t, localhost)
	r := quicRig(t, a.addr, b.addr)
	shake(r, c, a, "0AA45678")
	shake(r, bind(t, localhost), b, "0BB45678")
	for range 3 {
		for _, tc := range []struct {
			id string
			to endpoint
		}{{"0AA45678", a}, {"0BB45678", b}, {"0AAxxxxx", a}, {"0BBxxxxx", b}, {"0CCxxxxx", a}} {
			c.send(r.addr, short(tc.id))
			from := tc.to.recv(short(tc.id))
			tc.to.send(from, []byte(tc.id))
			c.recv([]byte(tc.id))
		}
	}
	if n := len(r.opened()); n != 3 {
		t.Errorf("%d flows, expected one for each connection and one that moved", n)
	}
	r.unfit.Store(true)
	c.send(r.addr, short("0BB45678"))
	r.end(2, end.PeerRemoved)
}

// The peer that an id names cannot be had: the policy decides, once.
func TestQUICPeerThatIsGone(t *testing.T) {
	a, b := bind(t, localhost), bind(t, localhost)
	r := quicRig(t, a.addr, b.addr)
	shake(r, bind(t, localhost), a, "0AA45678")
	r.mu.Lock()
	r.gone = a.addr
	r.mu.Unlock()
	c := bind(t, localhost)
	for _, id := range []string{"0AA45678", "0AA45678", "0AAxxxxx", "0AA45678"} {
		c.send(r.addr, short(id))
		b.recv(short(id))
	}
	if n := len(r.opened()); n != 2 {
		t.Errorf("%d flows, expected that of the handshake and one more", n)
	}
}

// Whoever learns an id that another flow carries does not take its flow's datagrams away.
func TestQUICFlowTrustsItsOwnIDs(t *testing.T) {
	a, b, c := bind(t, localhost), bind(t, localhost), bind(t, localhost)
	r := quicRig(t, a.addr, b.addr)
	shake(r, c, a, "0AA45678")
	shake(r, bind(t, localhost), b, "0AA45678")
	c.send(r.addr, short("0AA45678"))
	a.recv(short("0AA45678"))
	if n := len(r.opened()); n != 2 {
		t.Errorf("%d flows", n)
	}
}

func TestQUICIDsOfAFlowAreBounded(t *testing.T) {
	a, c := bind(t, localhost), bind(t, localhost)
	r := quicRig(t, a.addr)
	for i := range maxFlowIDs + 3 {
		shake(r, c, a, "0AA0000"+string(rune('a'+i)))
	}
	known := &r.table.shared.routes
	known.mu.Lock()
	defer known.mu.Unlock()
	ids := known.carried[r.opened()[0].flow]
	if len(ids) != maxFlowIDs || len(known.ids) != maxFlowIDs || ids[0] != newQUICID([]byte("0AA0000d")) {
		t.Errorf("%d ids, %d routes", len(ids), len(known.ids))
	}
}

func TestQUICIDs(t *testing.T) {
	for _, tc := range []struct {
		b            []byte
		asked, given string // of 4 bytes; "" is none
	}{
		{nil, "", ""},
		{[]byte("\x40abc"), "", ""},
		{[]byte("\x40abcd"), "abcd", ""},
		{[]byte("\x00abcd!"), "abcd", ""}, // the fixed bit may be greased (RFC 9287)
		{long("abcd", "efgh"), "abcd", "efgh"},
		{long("abc", "efgh"), "", "efgh"},
		{long("abcd", "efghi"), "abcd", ""},
		{long("", "efgh"), "", "efgh"},
		{append([]byte{0x80, 0, 0, 0, 0, 4}, "abcd\x04efgh"...), "", ""}, // version negotiation
		{[]byte("\x80\x00\x00\x00\x01"), "", ""},
		{[]byte("\x80\x00\x00\x00\x01\x04abc"), "", ""},
		{[]byte("\x80\x00\x00\x00\x01\x04abcd"), "", ""},
		{[]byte("\x80\x00\x00\x00\x01\x04abcd\x04efg"), "", ""},
		{[]byte("\x80\x00\x00\x00\x01\x04abcd\x04efgh"), "abcd", "efgh"},
	} {
		asked, _ := askedID(tc.b, 4)
		given, _ := givenID(tc.b, 4)
		if string(asked) != tc.asked && tc.asked != "" || string(given) != tc.given && tc.given != "" {
			t.Errorf("%q: asked %q, given %q", tc.b, asked, given)
		}
		_, isAsked := askedID(tc.b, 4)
		_, isGiven := givenID(tc.b, 4)
		if isAsked != (tc.asked != "") || isGiven != (tc.given != "") {
			t.Errorf("%q: asked %t, given %t", tc.b, isAsked, isGiven)
		}
	}
}

// FuzzQUICID: what looks like an id is a part of the datagram, of the length asked for, and what was written is read.
func FuzzQUICID(f *testing.F) {
	f.Add(long("abcdefgh", "ijklmnop"), uint8(8))
	f.Add(short("abcdefgh"), uint8(8))
	f.Add([]byte{0x80, 0, 0, 0, 1, 255}, uint8(20))
	f.Fuzz(func(t *testing.T, b []byte, length uint8) {
		n := int(length)%maxQUICID + 1
		for _, read := range []func([]byte, int) ([]byte, bool){askedID, givenID} {
			id, ok := read(b, n)
			if ok && (len(id) != n || !bytes.Contains(b, id)) {
				t.Errorf("%x: %x", b, id)
			}
		}
		if len(b) < n {
			return
		}
		id := string(b[:n])
		if got, ok := askedID(short(id), n); !ok || string(got) != id {
			t.Errorf("short: %x of %x", got, id)
		}
		if got, ok := givenID(long("client", id), n); !ok || string(got) != id {
			t.Errorf("long: %x of %x", got, id)
		}
		if q := newQUICID([]byte(id)); string(q[:n]) != id || slices.ContainsFunc(q[n:], func(c byte) bool { return c != 0 }) {
			t.Errorf("%x is noted as %x", id, q)
		}
	})
}
