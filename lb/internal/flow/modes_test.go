package flow

import (
	"fmt"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
)

// exchange sends one datagram and lets the peer answer n times. It gives the address that the peer saw.
func exchange(r *rig, c, peer endpoint, n int) netip.AddrPort {
	r.t.Helper()
	c.send(r.addr, []byte("ask"))
	from := peer.recv([]byte("ask"))
	for i := range n {
		peer.send(from, []byte{byte(i)})
	}
	return from
}

// UD-4: what binds a client to a flow, as nginx has it.
func TestUD4RequestsAndResponses(t *testing.T) {
	for _, tc := range []struct {
		name                string
		responses, requests int
		replies             int   // that the peer sends to each datagram
		flows               []int // of each of five datagrams
	}{
		{"responses 1", 1, 0, 1, []int{0, 1, 2, 3, 4}},
		{"responses 2", 2, 0, 2, []int{0, 1, 2, 3, 4}},
		{"requests 1", 0, 1, 3, []int{0, 1, 2, 3, 4}},
		{"requests 2", 0, 2, 3, []int{0, 0, 1, 1, 2}},
		{"requests 2, responses 3", 3, 2, 3, []int{0, 0, 1, 1, 2}},
		{"no bound", 0, 0, 3, []int{0, 0, 0, 0, 0}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			peer, c := bind(t, localhost), bind(t, localhost)
			r := newRigOf(t, localhost, Options{Mode: ReqResp, IdleTimeout: time.Minute, Responses: tc.responses, Requests: tc.requests}, peer.addr)
			for i, want := range tc.flows {
				from := exchange(r, c, peer, tc.replies)
				for n := range tc.replies {
					c.recv([]byte{byte(n)})
				}
				flows := r.opened()
				if len(flows) != want+1 {
					t.Fatalf("%d flows after datagram %d, expected %d", len(flows), i, want+1)
				}
				if up := flows[want].flow.Upstream(); up != from && tc.responses == 0 { // else it may be closed by now
					t.Errorf("datagram %d came from %v, the flow has %v", i, from, up)
				}
			}
			if tc.responses > 0 {
				for n := range tc.flows[len(tc.flows)-1] {
					r.end(n, end.Complete)
				}
			}
			if d := r.drops(); len(d) > 0 {
				t.Errorf("dropped %v", d)
			}
		})
	}
}

// A flow that is full takes nothing more, and what comes back to it still arrives.
func TestUD4AllRepliesOfFullFlowsArrive(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRigOf(t, localhost, Options{Mode: ReqResp, IdleTimeout: time.Minute, Requests: 1}, peer.addr)
	var from []netip.AddrPort
	for range 5 {
		from = append(from, exchange(r, c, peer, 0))
	}
	for range 3 {
		for i, a := range from {
			peer.send(a, []byte{byte(i)})
			c.recv([]byte{byte(i)})
		}
	}
}

func TestUD16SurplusIsDropped(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRigOf(t, localhost, Options{Mode: ReqResp, IdleTimeout: time.Minute, Responses: 2, Requests: 2}, peer.addr)
	from := exchange(r, c, peer, 100)
	c.recv([]byte{0})
	c.recv([]byte{1})
	r.await("98 drops", func() bool { return len(r.drops()) == 98 })
	if d := slices.Compact(r.drops()); !slices.Equal(d, []string{"surplus"}) {
		t.Errorf("dropped for %v", d)
	}
	if again := exchange(r, c, peer, 3); again != from {
		t.Errorf("the second request came from %v, the first from %v", again, from)
	}
	c.recv([]byte{0}) // and nothing of what was too much before
	c.recv([]byte{1})
	r.end(0, end.Complete)
	if n := r.opened()[0].flow.Out.Load(); n != 4 {
		t.Errorf("%d bytes out", n)
	}
}

// Requests that wait for their responses at the same time are in one flow, which ends with the last of them.
func TestRequestsUnderwayShareAFlow(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRigOf(t, localhost, Options{Mode: ReqResp, IdleTimeout: time.Minute, Responses: 1}, peer.addr)
	from := exchange(r, c, peer, 0)
	if again := exchange(r, c, peer, 2); again != from {
		t.Errorf("the second came from %v, the first from %v", again, from)
	}
	c.recv([]byte{0})
	c.recv([]byte{1})
	r.end(0, end.Complete)
	exchange(r, c, peer, 1)
	c.recv([]byte{0})
	r.end(1, end.Complete)
}

func TestOneWayHasNoWayBack(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRigOf(t, localhost, Options{Mode: OneWay, IdleTimeout: time.Minute}, peer.addr)
	from := exchange(r, c, peer, 2)
	r.await("two drops", func() bool { return slices.Equal(r.drops(), []string{"one_way", "one_way"}) })
	if again := exchange(r, c, peer, 0); again != from {
		t.Errorf("the second came from %v, the first from %v", again, from)
	}
	if f := r.opened()[0].flow; f.Out.Load() != 0 || f.replied.Load() {
		t.Errorf("%d bytes out", f.Out.Load())
	}
}

func TestOneWayEndsWithItsRequests(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRigOf(t, localhost, Options{Mode: OneWay, IdleTimeout: time.Minute, Requests: 2}, peer.addr)
	var from []netip.AddrPort
	for range 4 {
		from = append(from, exchange(r, c, peer, 0))
	}
	r.end(0, end.Complete)
	r.end(1, end.Complete)
	if from[0] != from[1] || from[2] != from[3] || len(r.opened()) != 2 {
		t.Errorf("they came from %v", from)
	}
}

// UD-7: the client's next datagram goes to another peer than the one that refused.
func TestUD7RefusalIsToldToTheNextFlow(t *testing.T) {
	dead, peer, c := refusing(t), bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, dead, peer.addr)
	c.send(r.addr, []byte("lost"))
	r.end(0, end.ConnectFailed)
	exchange(r, c, peer, 0)
	if a := r.opened()[1].flow.Avoid(); a != dead {
		t.Errorf("the second flow avoids %v, expected %v", a, dead)
	}
	r.opened()[1].flow.Kill(end.Shutdown)
	r.end(1, end.Shutdown)
	exchange(r, c, peer, 0)
	if a := r.opened()[2].flow.Avoid(); a.IsValid() {
		t.Errorf("the third flow avoids %v", a)
	}
}

func TestRefusalsAreBounded(t *testing.T) {
	r := newRig(t, localhost, time.Minute)
	for i := range 3 * maxRefusals {
		r.table.noteRefusal(&Flow{Client: netip.AddrPortFrom(localhost.Addr(), uint16(i)), asked: new(asked), peer: localhost})
	}
	if n := len(r.table.refusals); n > maxRefusals {
		t.Errorf("%d", n)
	}
}

// full is a table in which most flows have their place, each with a client of its own.
func full(t *testing.T, most int, o Options) (r *rig, peer endpoint, clients []endpoint) {
	peer = bind(t, localhost)
	r = newRigOf(t, localhost, o, peer.addr)
	r.most.Store(int64(most))
	for range most {
		clients = append(clients, bind(t, localhost))
	}
	return r, peer, clients
}

func TestUD8AnsweredFlowsKeepTheirPlace(t *testing.T) {
	r, peer, clients := full(t, 3, Options{IdleTimeout: time.Hour})
	late := bind(t, localhost)
	for _, c := range clients {
		exchange(r, c, peer, 1)
		c.recv([]byte{0})
	}
	late.send(r.addr, []byte("late"))
	r.await("the drop", func() bool { return slices.Equal(r.drops(), []string{"max_conns"}) })
	for i, c := range clients {
		exchange(r, c, peer, 1)
		c.recv([]byte{0})
		if n := len(r.opened()); n != 3 {
			t.Fatalf("client %d has another flow", i)
		}
	}
	// One that has been quiet for half its idle timeout makes room.
	quiet := r.opened()[0].flow
	quiet.last.Store(int64(time.Since(epoch) - 31*time.Minute))
	exchange(r, late, peer, 1)
	late.recv([]byte{0})
	r.end(0, end.Evicted)
}

// A flood of sources that get no answer costs its own flows, the oldest first.
func TestUD9FloodLeavesAnsweredFlowsAlone(t *testing.T) {
	r, peer, clients := full(t, 5, Options{IdleTimeout: time.Hour})
	for _, c := range clients[:3] {
		exchange(r, c, peer, 1)
		c.recv([]byte{0})
	}
	for range 100 {
		exchange(r, bind(t, localhost), peer, 0)
	}
	for n := range 98 {
		r.end(3+n, end.Evicted)
	}
	if d := r.drops(); len(d) > 0 {
		t.Errorf("dropped %v", d)
	}
	for _, c := range clients[:3] {
		exchange(r, c, peer, 1)
		c.recv([]byte{0})
	}
	if n := len(r.opened()); n != 103 {
		t.Errorf("%d flows", n)
	}
}

func TestTheLeastRecentlyUsedFlowGoesFirst(t *testing.T) {
	r, peer, clients := full(t, 3, Options{Mode: OneWay, IdleTimeout: time.Hour})
	for _, c := range clients {
		exchange(r, c, peer, 0)
	}
	exchange(r, clients[1], peer, 0)
	exchange(r, clients[0], peer, 0)
	for _, n := range []int{2, 1, 0} {
		exchange(r, bind(t, localhost), peer, 0)
		r.end(n, end.Evicted)
	}
}

func TestFlowsOfOneSourceAreBounded(t *testing.T) {
	peer := bind(t, localhost)
	r := newRigOf(t, localhost, Options{IdleTimeout: time.Hour, PerSource: 2}, peer.addr)
	other := bind(t, netip.MustParseAddrPort("127.0.0.8:0"))
	exchange(r, other, peer, 0)
	one, two, three := bind(t, localhost), bind(t, localhost), bind(t, localhost)
	exchange(r, one, peer, 0)
	exchange(r, two, peer, 1)
	two.recv([]byte{0})
	exchange(r, three, peer, 1) // in place of one, which had no answer
	three.recv([]byte{0})
	r.end(1, end.Evicted)
	one.send(r.addr, []byte("no")) // the others have
	r.await("the drop", func() bool { return slices.Equal(r.drops(), []string{"max_flows_per_source"}) })
	exchange(r, other, peer, 0)
	if n := len(r.opened()); n != 4 {
		t.Errorf("%d flows", n)
	}
	for _, d := range r.opened() {
		d.flow.Kill(end.Shutdown)
	}
	r.await("nothing is left", func() bool {
		r.table.mu.Lock()
		defer r.table.mu.Unlock()
		return len(r.table.flows.chains) == 0 && len(r.table.sources) == 0 && r.table.all.size() == 0
	})
}

// Flows that a peer keeps busy are in use, though their clients are silent.
func TestRepliesAreUse(t *testing.T) {
	var c crowd
	var flows []*Flow
	for i := range 3 {
		f := &Flow{Options: &Options{IdleTimeout: time.Minute}}
		f.replied.Store(true)
		f.touch()
		if i == 1 {
			f.last.Store(int64(time.Since(epoch) - time.Hour))
		}
		c.enter(&f.all, f)
		flows = append(flows, f)
	}
	if f := c.least(); f != flows[1] {
		t.Errorf("flow %d goes first, expected 1", slices.Index(flows, f))
	}
	flows[1].touch()
	if f := c.least(); f != nil {
		t.Errorf("flow %d goes, expected none", slices.Index(flows, f))
	}
	if s := fmt.Sprint(c.fresh.n, c.known.n); s != "0 3" {
		t.Error(s)
	}
}
