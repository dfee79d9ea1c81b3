package flow

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// carried is the carrier that the tests run on.
var carried = "portable"

// TestMain runs everything once for each carrier, or on EBB_TEST_ENGINE.
func TestMain(m *testing.M) {
	code := 0
	for _, name := range Engines {
		if only := os.Getenv("EBB_TEST_ENGINE"); only != "" && only != name {
			continue
		}
		carried = name
		fmt.Println("carrier", name)
		if err := works(name); err != nil && os.Getenv("CI") == "" {
			fmt.Println("skipped, not here:", err)
			continue
		}
		code = max(code, m.Run())
	}
	if err := goleak.Find(); err != nil {
		fmt.Println(err)
		code = 1
	}
	os.Exit(code)
}

// works tells why this machine does not have the carrier.
func works(name string) error {
	conn, err := sock.ListenUDP(context.Background(), localhost, sock.Default)
	if err != nil {
		return err
	}
	g, err := NewGroup([]*sock.PacketConn{conn}, nil, name)
	if err != nil {
		return err
	}
	g.Close()
	return nil
}

const patience = 10 * time.Second

// rig is a table between clients and peers, which are all in the test's hands.
type rig struct {
	t               *testing.T
	group           *Group
	table           *Table // the first
	addr            netip.AddrPort
	unfit           atomic.Bool // no flow may stay on its peer
	late            atomic.Bool // every flow ends right after it is found fit
	refuse          atomic.Bool // no flow is opened
	running         sync.WaitGroup
	calls, received [2]atomic.Int64 // by direction
	overflowed      [2]atomic.Int64
	joined          [2]atomic.Int64
	coalesced       [2]atomic.Int64
	reused          atomic.Int64
	stalled         [2]sync.Mutex // by direction: held, whoever has received something waits
	options         Options
	own             netip.AddrPort // a listener of ours
	gone            netip.AddrPort // a peer that cannot be had; set before it is asked for
	most            atomic.Int64   // flows at a time; 0 is no bound

	mu      sync.Mutex
	peers   []netip.AddrPort // named to one attempt after the other; the last one again and again
	flows   []*director
	dropped []string
}

// director is one flow's owner: it names the rig's peers in order and notes what it is told.
type director struct {
	*rig
	flow      *Flow
	failed    []error
	connected int
	ended     []end.Word
}

func (r *rig) Options() Options { return r.options }

func (r *rig) IsOwn(a netip.AddrPort) bool { return a == r.own }

func (r *rig) Received(d Direction, n int) {
	r.received[d].Add(int64(n))
	r.calls[d].Add(1)
	r.stalled[d].Lock()
	defer r.stalled[d].Unlock()
}

func (r *rig) Overflowed(d Direction, n uint32) { r.overflowed[d].Add(int64(n)) }

func (r *rig) Joined(d Direction, n int) { r.joined[d].Add(int64(n)) }

func (r *rig) Coalesced(d Direction, n int) { r.coalesced[d].Add(int64(n)) }

func (r *rig) Reused() { r.reused.Add(1) }

func (r *rig) Dropped(reason string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.dropped = append(r.dropped, reason)
}

func (r *rig) Open(f *Flow) (Director, string) {
	d := &director{rig: r, flow: f}
	r.mu.Lock()
	defer r.mu.Unlock()
	live := int64(0)
	for _, d := range r.flows {
		if len(d.ended) == 0 {
			live++
		}
	}
	switch {
	case r.refuse.Load():
		return nil, "no"
	case r.most.Load() > 0 && live >= r.most.Load():
		return nil, Full
	}
	r.flows = append(r.flows, d)
	return d, ""
}

func (d *director) Next() (netip.AddrPort, end.Word) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if len(d.peers) == 0 {
		return netip.AddrPort{}, end.NoPeer
	}
	if len(d.failed) == 3 {
		return netip.AddrPort{}, end.ConnectFailed
	}
	if d.flow.Named().IsValid() && d.flow.Named() != d.gone {
		return d.flow.Named(), end.None
	}
	p := d.peers[0]
	if len(d.peers) > 1 {
		d.peers = d.peers[1:]
	}
	return p, end.None
}

func (d *director) Failed(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.failed = append(d.failed, err)
}

func (d *director) Connected() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connected++
}

func (d *director) Unfit() end.Word {
	if d.late.Load() {
		d.flow.Kill(end.Idle)
		<-d.flow.gone
	}
	if d.unfit.Load() {
		return end.PeerRemoved
	}
	return end.None
}

func (d *director) Done(w end.Word) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.ended = append(d.ended, w)
}

// newRig runs a table on an address with the given peers. It is cut and closed with the test.
func newRig(t *testing.T, listen netip.AddrPort, idle time.Duration, peers ...netip.AddrPort) *rig {
	t.Helper()
	return newRigOf(t, listen, Options{IdleTimeout: idle}, peers...)
}

func newRigOf(t *testing.T, listen netip.AddrPort, o Options, peers ...netip.AddrPort) *rig {
	t.Helper()
	conn, err := sock.ListenUDP(t.Context(), listen, sock.Default)
	if err != nil {
		t.Fatal(err)
	}
	r := newRigOn(t, conn, o, peers...)
	r.run()
	return r
}

// newRigOn is a rig that does not run yet.
func newRigOn(t *testing.T, conn *sock.PacketConn, o Options, peers ...netip.AddrPort) *rig {
	t.Helper()
	return newRigOnAll(t, []*sock.PacketConn{conn}, o, peers...)
}

func newRigOnAll(t *testing.T, conns []*sock.PacketConn, o Options, peers ...netip.AddrPort) *rig {
	t.Helper()
	r := &rig{t: t, options: o, peers: peers, addr: sock.AddrPort(conns[0].LocalAddr())}
	var err error
	if r.group, err = NewGroup(conns, r, carried); err != nil {
		t.Fatal(err)
	}
	r.table = r.group.shared.tables[0]
	t.Cleanup(func() {
		r.group.Stop()
		r.running.Wait()
		for _, d := range r.opened() {
			if d.flow.Upstream().IsValid() {
				d.flow.Kill(end.Shutdown)
			}
		}
		r.group.Close()
		for i, d := range r.opened() {
			if len(d.ended) != 1 {
				t.Errorf("flow %d was told %d ends: %v", i, len(d.ended), d.ended)
			}
		}
	})
	return r
}

func (r *rig) run() { r.running.Go(r.group.Run) }

func (r *rig) opened() []*director {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.flows)
}

func (r *rig) drops() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	return slices.Clone(r.dropped)
}

// end waits for the end of the flow that was opened as the n-th, from 0.
func (r *rig) end(n int, want end.Word) {
	r.t.Helper()
	r.await("the end of a flow", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		return len(r.flows) > n && len(r.flows[n].ended) > 0
	})
	r.mu.Lock()
	defer r.mu.Unlock()
	if got := r.flows[n].ended[0]; got != want {
		r.t.Errorf("flow %d ended with %v, expected %v", n, got, want)
	}
}

func (r *rig) await(what string, f func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(patience); !f(); time.Sleep(time.Millisecond) { // sockets have no event to wait for
		if time.Now().After(deadline) {
			r.t.Fatalf("%s: not within %v", what, patience)
		}
	}
}

// endpoint is a UDP socket of the test, client or peer.
type endpoint struct {
	*net.UDPConn
	t    *testing.T
	addr netip.AddrPort
}

var localhost = netip.MustParseAddrPort("127.0.0.1:0")

func bind(t *testing.T, addr netip.AddrPort) endpoint {
	t.Helper()
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(addr))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return endpoint{c, t, sock.AddrPort(c.LocalAddr())}
}

func (e endpoint) send(to netip.AddrPort, b []byte) {
	e.t.Helper()
	if _, err := e.WriteToUDPAddrPort(b, to); err != nil {
		e.t.Fatal(err)
	}
}

func (e endpoint) recv(want []byte) (from netip.AddrPort) {
	e.t.Helper()
	b := make([]byte, maxDatagram)
	e.SetReadDeadline(time.Now().Add(patience))
	n, from, err := e.ReadFromUDPAddrPort(b)
	if err != nil {
		e.t.Fatalf("read: %v", err)
	}
	if !bytes.Equal(b[:n], want) {
		e.t.Fatalf("got %d bytes, expected %d", n, len(want))
	}
	return sock.Unmap(from)
}

// refusing is an address that answers with ICMP port unreachable.
func refusing(t *testing.T) netip.AddrPort {
	t.Helper()
	c := bind(t, netip.MustParseAddrPort("127.0.0.72:0")) // no test has another port there
	c.Close()
	return c.addr
}

func TestUD1EachClientHasItsOwnSocket(t *testing.T) {
	peer, a, b := bind(t, localhost), bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, peer.addr)
	ports := make(map[netip.AddrPort]int)
	for _, c := range []endpoint{a, b} {
		for range 3 {
			c.send(r.addr, []byte("ask"))
			from := peer.recv([]byte("ask"))
			ports[from]++
			peer.send(from, []byte("answer"))
			if got := c.recv([]byte("answer")); got != r.addr {
				t.Errorf("the answer came from %v", got)
			}
		}
	}
	if len(ports) != 2 {
		t.Errorf("the peer saw %v, expected two sources with three datagrams each", ports)
	}
	for i, d := range r.opened() {
		for deadline := time.Now().Add(20 * time.Second); d.flow.In.Load() != 9 || d.flow.Out.Load() != 18; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) { // what has been sent is counted after that
				t.Fatalf("flow %d counted %d in, %d out", i, d.flow.In.Load(), d.flow.Out.Load())
			}
		}
		if d.connected != 1 {
			t.Errorf("flow %d connected %d times", i, d.connected)
		}
		if ports[d.flow.Upstream()] != 3 {
			t.Errorf("flow %d leaves from %v, the peer saw %v", i, d.flow.Upstream(), ports)
		}
	}
}

func TestUD2EmptyDatagram(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, peer.addr)
	c.send(r.addr, nil)
	peer.send(peer.recv(nil), nil)
	c.recv(nil)
	if d := r.drops(); len(d) > 0 {
		t.Errorf("dropped: %v", d)
	}
}

func TestUD3LargestDatagramPassesWhole(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, peer.addr)
	big := bytes.Repeat([]byte("0123456789abcdef"), 4095)[:65507]
	c.send(r.addr, big)
	peer.send(peer.recv(big), big)
	c.recv(big)
}

func TestUD5ReplyLeavesFromTheAddressAsked(t *testing.T) {
	for _, wildcard := range []string{"0.0.0.0:0", "[::]:0"} {
		t.Run(wildcard, func(t *testing.T) {
			peer, c := bind(t, localhost), bind(t, localhost)
			r := newRig(t, netip.MustParseAddrPort(wildcard), time.Minute, peer.addr)
			for _, a := range []string{"127.0.0.9", "127.0.0.1"} {
				asked := netip.AddrPortFrom(netip.MustParseAddr(a), r.addr.Port())
				c.send(asked, []byte("who"))
				peer.send(peer.recv([]byte("who")), []byte("me"))
				if from := c.recv([]byte("me")); from != asked {
					t.Errorf("asked %v, the answer came from %v", asked, from)
				}
			}
			if n := len(r.opened()); n != 2 {
				t.Errorf("%d flows for two addresses", n)
			}
		})
	}
}

func TestUD7RefusalOpensOnTheNextPeer(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, refusing(t), peer.addr)
	c.send(r.addr, []byte("lost"))
	r.end(0, end.ConnectFailed)
	c.send(r.addr, []byte("kept"))
	peer.send(peer.recv([]byte("kept")), []byte("answer"))
	c.recv([]byte("answer"))
	if n := len(r.opened()); n != 2 {
		t.Errorf("%d flows", n)
	}
}

// A peer that goes away after it has answered has broken off; it was not unreachable.
func TestRefusalAfterAnAnswerIsAReset(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, peer.addr)
	c.send(r.addr, []byte("1"))
	peer.send(peer.recv([]byte("1")), []byte("1"))
	c.recv([]byte("1"))
	peer.Close()
	c.send(r.addr, []byte("2"))
	r.end(0, end.ServerReset)
}

func TestSocketThatCannotBeMadeIsAFailedAttempt(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	zoneless := netip.MustParseAddrPort("[fe80::1]:9") // connect(2) wants to know the interface
	r := newRig(t, localhost, time.Minute, zoneless, peer.addr)
	c.send(r.addr, []byte("x"))
	peer.recv([]byte("x"))
	if d := r.opened()[0]; len(d.failed) != 1 || d.connected != 1 {
		t.Errorf("failed %v, connected %d times", d.failed, d.connected)
	}
}

func TestIdleFlowEnds(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, 50*time.Millisecond, peer.addr)
	begin := time.Now()
	c.send(r.addr, []byte("x"))
	r.end(0, end.Idle)
	if took := time.Since(begin); took < 50*time.Millisecond {
		t.Errorf("idle after %v", took)
	}
	peer.recv([]byte("x"))
	c.send(r.addr, []byte("again"))
	peer.recv([]byte("again"))
	if n := len(r.opened()); n != 2 {
		t.Errorf("%d flows after the idle end and another datagram", n)
	}
}

func TestEitherDirectionKeepsAFlow(t *testing.T) {
	const idle = 400 * time.Millisecond
	for _, direction := range []string{"client to peer", "peer to client"} {
		t.Run(direction, func(t *testing.T) {
			t.Parallel()
			stalled := true // the machine stood still for so long that a flow may rightly end: nothing is shown, and it goes again
			for stalled {
				stalled = false
				peer, c := bind(t, localhost), bind(t, localhost)
				r := newRig(t, localhost, idle, peer.addr)
				c.send(r.addr, []byte("x"))
				from := peer.recv([]byte("x"))
				begin := time.Now()
				for last := begin; !stalled && last.Sub(begin) < 2*idle; last = time.Now() {
					if direction == "client to peer" {
						c.send(r.addr, []byte("x"))
						peer.recv([]byte("x"))
					} else {
						peer.send(from, []byte("y"))
						c.recv([]byte("y"))
					}
					time.Sleep(idle / 10)
					stalled = time.Since(last) > idle/2
				}
				if n := len(r.opened()); n != 1 && !stalled {
					t.Errorf("%d flows: one ended though it was not idle", n)
				}
			}
		})
	}
}

// A flow may end between the moment when a datagram finds it and the moment when it sends it.
func TestDatagramThatMeetsAnEndOpensAnotherFlow(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, peer.addr)
	if carried != "portable" {
		t.Skip("a loop ends its flows between datagrams only")
	}
	r.late.Store(true)
	for _, b := range []string{"1", "2"} {
		c.send(r.addr, []byte(b))
		peer.recv([]byte(b))
	}
	if n := len(r.opened()); n != 2 {
		t.Errorf("%d flows", n)
	}
}

func TestUnfitFlowGoesOnAtAnotherPeer(t *testing.T) {
	old, young, c := bind(t, localhost), bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, old.addr, young.addr)
	c.send(r.addr, []byte("1"))
	old.recv([]byte("1"))
	r.unfit.Store(true)
	c.send(r.addr, []byte("2"))
	young.recv([]byte("2"))
	r.end(0, end.PeerRemoved)
}

func TestRefusedFlowIsDroppedWithAReason(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, peer.addr)
	r.refuse.Store(true)
	c.send(r.addr, []byte("no"))
	r.await("the drop", func() bool { return slices.Equal(r.drops(), []string{"no"}) })
	r.refuse.Store(false)
	c.send(r.addr, []byte("yes"))
	peer.recv([]byte("yes"))
}

func TestNoPeerDropsAndEnds(t *testing.T) {
	c := bind(t, localhost)
	r := newRig(t, localhost, time.Minute)
	c.send(r.addr, []byte("x"))
	r.end(0, end.NoPeer)
	if d := r.drops(); !slices.Equal(d, []string{"no_peer"}) {
		t.Errorf("dropped %v", d)
	}
	if up := r.opened()[0].flow.Upstream(); up.IsValid() {
		t.Errorf("a flow without a socket leaves from %v", up)
	}
}

// DR-4: Stop turns new clients away while flows that live go on both ways; Close waits for them, which Kill ends, the first
// cause winning.
func TestDR4StopKillClose(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, peer.addr)
	c.send(r.addr, []byte("ask"))
	from := peer.recv([]byte("ask"))
	r.group.Stop()
	r.running.Wait()
	stranger := bind(t, localhost)
	stranger.send(r.addr, []byte("new"))
	c.send(r.addr, []byte("more"))
	peer.recv([]byte("more"))
	peer.send(from, []byte("late"))
	c.recv([]byte("late"))
	r.await("the stranger's datagram", func() bool { return slices.Contains(r.drops(), "closing") })
	if n := len(r.opened()); n != 1 {
		t.Errorf("%d flows", n)
	}

	closed := make(chan struct{})
	go func() { r.group.Close(); close(closed) }()
	select {
	case <-closed:
		t.Fatal("Close did not wait for the flow")
	case <-time.After(20 * time.Millisecond):
	}
	f := r.opened()[0].flow
	f.Kill(end.Shutdown)
	f.Kill(end.PeerRemoved)
	<-closed
	r.end(0, end.Shutdown)
	if carried != "portable" {
		return
	}
	if _, err := f.server.Write(nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("the flow's socket: %v", err)
	}
}

func TestStrangerIsNotHeard(t *testing.T) {
	peer, c, stranger := bind(t, localhost), bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, peer.addr)
	c.send(r.addr, []byte("ask"))
	from := peer.recv([]byte("ask"))
	stranger.send(from, []byte("forged"))
	peer.send(from, []byte("true"))
	c.recv([]byte("true")) // what was forged would be here first
}

// Flows that end while datagrams come: nothing is lost without a reason, and each flow ends once.
func TestFlowsEndUnderLoad(t *testing.T) {
	const clients, each, underway = 20, 300, 50
	peer := bind(t, localhost)
	r := newRig(t, localhost, 2*time.Millisecond, peer.addr)
	var sent, got atomic.Int64
	var echo sync.WaitGroup
	echo.Go(func() {
		b := make([]byte, 64)
		for {
			n, from, err := peer.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			got.Add(1)
			peer.WriteToUDPAddrPort(b[:n], from)
		}
	})
	through := func() int64 { return got.Load() + int64(len(r.drops())) }
	var wg sync.WaitGroup
	for i := range clients {
		c := bind(t, localhost)
		wg.Go(func() {
			for n := range each {
				// No more on the way than socket buffers hold: what those drop, nobody could give a reason for.
				r.await("datagrams to pass", func() bool { return sent.Load()-through() < underway })
				sent.Add(1)
				c.send(r.addr, []byte{byte(i), byte(n)})
				if n%10 == 0 {
					time.Sleep(2 * time.Millisecond) // about the idle time, so that ends and datagrams meet
				}
			}
		})
	}
	wg.Wait()
	r.await("every datagram at the peer, or dropped for a reason", func() bool { return through() == clients*each })
	peer.Close()
	echo.Wait()
	flows, drops := len(r.opened()), r.drops()
	t.Logf("%d flows", flows)
	if flows <= clients {
		t.Errorf("%d flows: none ended under load", flows)
	}
	if len(drops) > 0 {
		t.Errorf("dropped %v", drops)
	}
}
