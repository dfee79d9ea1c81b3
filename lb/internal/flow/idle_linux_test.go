//go:build amd64 || arm64

package flow

import (
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// many is from how many idle sockets on they are used again, here.
func many() int { return int(min(idleMany, descriptors()/8)) }

var asking = &Options{Mode: ReqResp, Responses: 1}

// settled is a flow that is over, on the socket of a slot.
func settled(slot int32, peer netip.AddrPort, o *Options) *Flow {
	f := &Flow{Options: o, peer: peer, replies: int64(o.Responses), looped: looped{fd: slot + 10, slot: slot}}
	f.requests.Store(1 | complete)
	return f
}

// idleOnes is sockets of which so many as are needed for one to be used again have been idle since 0, those of the first slots towards the peer.
func idleOnes(t *testing.T, first int, peer netip.AddrPort) *idleSockets {
	s := new(idleSockets)
	t.Cleanup(func() {
		for i := range s.all() {
			s.remove(i)
		}
	})
	for slot := range int32(many()) {
		to := peer
		if int(slot) >= first {
			to = netip.MustParseAddrPort("192.0.2.99:53")
		}
		if s.keep(0, settled(slot, to, asking)) == nil {
			t.Fatalf("socket %d is not kept", slot)
		}
	}
	return s
}

var one, other = netip.MustParseAddrPort("192.0.2.1:53"), netip.MustParseAddrPort("192.0.2.2:53")

func TestIdleSocketsRestFirst(t *testing.T) {
	s := idleOnes(t, 3, one)
	next := settled(0, one, asking)
	if i := s.take(idlePause-1, next); i != nil {
		t.Error("one is used again too soon")
	}
	for want := range int32(3) { // that which has been idle the longest
		if i := s.take(idlePause, next); i == nil || i.slot != want || i.idle {
			t.Fatalf("took %+v, expected slot %d", i, want)
		}
		s.keep(idlePause, settled(want, one, asking)) // there are enough again
	}
	if i := s.take(idlePause, next); i != nil {
		t.Error("one is used again right away")
	}
	if i := s.take(2*idlePause, next); i == nil || i.slot != 0 {
		t.Errorf("took %+v, expected slot 0", i)
	}
	if i := s.take(2*idlePause, next); i != nil {
		t.Error("one is used again although few are idle")
	}
}

func TestIdleSocketsAreNotMixedUp(t *testing.T) {
	s := idleOnes(t, 1, one)
	class, client, requests, unbounded, dialed, session := *asking, *asking, *asking, *asking, *asking, Options{Mode: Session, Responses: 1}
	dialed.Dial = &sock.Options{Mark: 1}
	class.Class = 1
	client.Dial = &sock.Options{Source: sock.Source{Client: true}}
	requests.Requests = 2
	unbounded.Responses = 0
	for what, f := range map[string]*Flow{
		"another peer": settled(0, other, asking), "other options": settled(0, one, &dialed), "a class": settled(0, one, &class),
		"the client's address": settled(0, one, &client), "several requests": settled(0, one, &requests), "no bound": settled(0, one, &unbounded),
		"a session": settled(0, one, &session),
	} {
		if i := s.take(idlePause, f); i != nil {
			t.Errorf("%s: has a socket of others", what)
		}
		if what != "another peer" && what != "other options" && s.keep(0, f) != nil {
			t.Errorf("%s: the socket is kept", what)
		}
	}
	if s.take(idlePause, settled(0, one, asking)) == nil {
		t.Error("what is alike is not used again")
	}
}

func TestIdleSocketsHaveLeftNothingBehind(t *testing.T) {
	s := new(idleSockets)
	waiting, surplus, streams := settled(0, one, asking), settled(0, one, asking), settled(0, one, asking)
	waiting.requests.Store(1)
	surplus.replies++
	streams.looped.streams = true
	for what, f := range map[string]*Flow{"waits": waiting, "has had more": surplus, "has had a stream": streams} {
		if s.keep(0, f) != nil {
			t.Errorf("the socket of a flow that %s is kept", what)
		}
	}
}

// Whichever go, those that are left are in order, and of kinds of which there are none nothing is left.
func TestIdleSocketsGoInAnyOrder(t *testing.T) {
	for _, order := range [][]int32{{0, 1, 2, 3}, {3, 2, 1, 0}, {1, 2, 0, 3}, {3, 0, 2, 1}} {
		s, left := new(idleSockets), []int32{0, 1, 2, 3}
		for _, slot := range left {
			s.keep(ticks(slot), settled(slot, one, asking))
		}
		for n, slot := range order {
			s.remove(s.at(slot))
			left = slices.DeleteFunc(left, func(other int32) bool { return other == slot })
			next := int32(10 + n)
			s.keep(0, settled(next, one, asking))
			left = append(left, next)
			var there []int32
			for i := s.lines[idleKey{one, sock.Default}].first; i != nil; i = i.after {
				there = append(there, i.slot)
			}
			if !slices.Equal(there, left) || s.n != len(left) {
				t.Fatalf("%v of %v have gone: %v are there, %d are counted, expected %v", order[:n+1], order, there, s.n, left)
			}
		}
		for i := range s.all() {
			s.remove(i)
		}
		if s.n != 0 || len(s.lines) != 0 {
			t.Errorf("%d sockets and %d lines are left", s.n, len(s.lines))
		}
	}
}

func TestIdleSocketsHaveBounds(t *testing.T) {
	s := idleOnes(t, 1, one)
	for slot := int32(many()); s.n < idleMost; slot++ {
		before := idleAll.Load()
		if s.keep(0, settled(slot, one, asking)) == nil {
			if before < descriptors()/4 {
				t.Fatalf("socket %d is not kept", slot)
			}
			break
		}
	}
	if s.keep(0, settled(idleMost, one, asking)) != nil {
		t.Error("there is no bound")
	}
	if got := idleAll.Load(); got != int64(s.n) {
		t.Errorf("%d are counted of %d", got, s.n)
	}
	i := s.take(idlePause, settled(0, one, asking))
	if i == nil {
		t.Fatal("none is used again")
	}
	if s.keep(idleLife-1, settled(i.slot, one, asking)) != i {
		t.Error("one that is young enough is not kept")
	}
	s.remove(i)
	if s.keep(idleLife, settled(i.slot, one, asking)) != nil {
		t.Error("one that is too old is kept")
	}
	s.forget(i.slot)
	if again := s.keep(idleLife, settled(i.slot, other, asking)); again == nil || again.peer != other {
		t.Error("the slot of one that was closed has not become another's")
	}
	high := settled(idleMost, one, asking)
	high.looped.fd = int32(descriptors()/2 + 1)
	for i := range s.all() {
		s.remove(i)
		break
	}
	if s.keep(0, high) != nil {
		t.Error("one is kept although few descriptors are left")
	}
}

func TestIdleSocketsThatAreHeard(t *testing.T) {
	next := settled(0, one, asking)
	s := idleOnes(t, 3, one)
	s.heard(idlePause/2, s.at(1)) // what the peer has sent twice
	if i := s.take(idlePause, next); i == nil || i.slot != 0 {
		t.Errorf("took %+v, expected slot 0", i)
	}
	s.keep(0, settled(int32(many()), one, asking))
	s.heard(idlePause/2+1, s.at(2)) // what it sends although nobody has asked
	for _, now := range []ticks{idlePause, idlePause/2 + idleShy} {
		if s.take(now, next) != nil || s.keep(now, settled(int32(many()+1), one, asking)) != nil {
			t.Errorf("at %d sockets are used again", now)
		}
	}
	if s.take(idlePause/2+idleShy+1, next) == nil {
		t.Error("none is used again ever")
	}
}

// Flows that come fast have the sockets of flows before them, and each its own answer. What comes late for one that is over goes to nobody,
// and no socket is used again after that.
func TestUD4SocketsAreUsedAgain(t *testing.T) {
	if carried == "portable" {
		t.Skip("the portable carrier makes a socket for each flow")
	}
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRigOf(t, localhost, Options{Mode: ReqResp, IdleTimeout: time.Minute, Responses: 1}, peer.addr)
	ask := func(i int) (from netip.AddrPort) {
		question, answer := []byte{byte(i), byte(i >> 8), 'q'}, []byte{byte(i), byte(i >> 8), 'a'}
		c.send(r.addr, question)
		from = peer.recv(question)
		peer.send(from, answer)
		c.recv(answer)
		return from
	}
	const again = 100
	var seen []netip.AddrPort // in the order in which they came for the first time, which is that in which they are used again
	n, last := 0, 0
	for deadline := time.Now().Add(patience); r.reused.Load() < again; n++ {
		from := ask(n)
		if last = slices.Index(seen, from); last < 0 {
			seen = append(seen, from)
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d flows in %v had %d ports", n, patience, len(seen))
		}
	}
	r.end(n-1, end.Complete)
	if last < 0 {
		t.Fatalf("the last of %d flows has a port of its own", n)
	}
	for i, d := range r.opened() {
		if up := d.flow.Upstream(); d.connected != 1 || !slices.Contains(seen, up) {
			t.Fatalf("flow %d: %d sockets, from %v", i, d.connected, up)
		}
	}
	if d := r.drops(); len(d) > 0 {
		t.Errorf("dropped: %v", d)
	}
	peer.send(seen[last+1], []byte("late")) // it would be the next one
	r.await("the late answer", func() bool { return slices.Equal(r.drops(), []string{"surplus"}) })
	for i := range again {
		ask(n + i)
	}
	if got := r.reused.Load(); got != again {
		t.Errorf("%d sockets were used again after a late answer", got-again)
	}
}
