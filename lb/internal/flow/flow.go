// Package flow carries UDP: datagrams from one client to one local address are a flow, and a flow goes to one peer
// through its own connected socket until it is idle, or has what its mode asks for.
//
//	g, err := flow.NewGroup(conns, owner, "uring") // one of flow.Engines
//	g.Run() // returns after g.Stop
//	g.Close()
//
// The model: one goroutine reads the listening socket and sends on. A loop also takes what comes back, for all flows, in batches: from
// an io_uring, which brings what has come to any socket with one system call and sends to many with another, or from epoll,
// with a system call for each socket. Without a loop each flow has a goroutine for what comes back: that is the portable twin,
// which runs on every system and is the reference. All are carriers of one table, under one set of tests.
//
// Invariants:
//
//	F1  A reply leaves from the address that the client asked.
//	F2  The datagram that opens a flow is sent like any other; making the flow loses nothing.
//	F3  A datagram is passed whole or dropped with a reason, never cut; an empty one is a datagram.
//	F4  A flow whose peer went away or refused ends, and the client's next datagram opens another.
//	F5  A client gets at most as many datagrams as the mode grants for what it has sent; the rest is dropped.
//	F6  A flow that has been answered makes no room for others, unless it has been quiet for half its idle timeout.
//	F7  With QUIC a datagram goes to the peer that knows its connection id, as far as a flow has carried that id before.
//	F8  A socket serves another flow only when the last one has had just what it asked for, and after a pause in which nothing came.
//
// It does not choose peers, count flows, log, or read configuration.
package flow

import (
	"cmp"
	"net/netip"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Owner is whom a group serves. Its methods must not block; each table calls them.
type Owner interface {
	// Options are those of a flow that begins now.
	Options() Options
	// IsOwn tells whether one of ebb's own UDP listeners has the address: a datagram from there is forged, and would
	// begin a loop.
	IsOwn(netip.AddrPort) bool
	// Open gives the director of a new flow, or refuses it: nil, and the reason. Then it does not keep the flow.
	Open(*Flow) (d Director, reason string)
	// Received is told how many datagrams one system call has brought, from a client or from a peer.
	Received(d Direction, n int)
	// Overflowed is told how many datagrams the kernel had no room for: those of clients at the listening socket, or those
	// of a peer at the flow's.
	Overflowed(d Direction, n uint32)
	// Joined is told how many datagrams were sent in one message with others.
	Joined(d Direction, n int)
	// Coalesced is told how many datagrams came in one message with one before them.
	Coalesced(d Direction, n int)
	// Reused is told that a flow has the socket of one that is over.
	Reused()
	// Dropped is told the reason for every datagram that was not passed on.
	Dropped(reason string)
}

// Full is the reason to refuse a flow for which another may make room.
const Full = "max_conns"

// Direction is where datagrams go.
type Direction uint8

const (
	// In is from clients to peers.
	In Direction = iota
	// Out is from peers to clients.
	Out
)

// Director decides for one flow. Its methods are called by one goroutine at a time and must not block.
type Director interface {
	// Next names the peer's address. A word other than end.None ends the flow instead.
	Next() (netip.AddrPort, end.Word)
	// Failed tells why no socket towards the address could be made.
	Failed(err error)
	// Connected tells that the flow has its socket.
	Connected()
	// Unfit says why the flow may not stay on its peer; asked for each datagram from the client. end.None lets it stay.
	Unfit() end.Word
	// Done tells the end. The socket is closed, or may serve another flow.
	Done(end.Word)
}

// Mode says what comes back in a flow, and what ends it besides idleness.
type Mode uint8

const (
	// Session goes on until it is idle.
	Session Mode = iota
	// ReqResp ends when each request has had its responses.
	ReqResp
	// OneWay has no way back.
	OneWay
)

// Options are what a flow is told when it begins.
type Options struct {
	Mode        Mode
	IdleTimeout time.Duration // the flow ends when nothing moved for this long; above zero
	Responses   int           // ReqResp: datagrams that the client gets for each of its own; 0 is no bound
	Requests    int           // ReqResp, OneWay: datagrams of the client that the flow takes, the next one opens another; 0 is no bound
	QUIC        QUIC          // with Session only
	Dial        *sock.Options // of the peer's socket; nil is sock.Default
	PerSource   int           // flows that one client address may have at a time; 0 is no bound
	Class       uint8         // what of the traffic class of datagrams is passed on, both ways: ECN, DSCP, both or nothing
}

// dialing is what the peer's socket is asked for.
func (o *Options) dialing() *sock.Options { return cmp.Or(o.Dial, sock.Default) }

// Flow is one client's datagrams to one local address.
type Flow struct {
	Client netip.AddrPort
	In     atomic.Int64 // payload bytes sent to the peer
	Out    atomic.Int64 // payload bytes sent to the client

	*Options // shared by those that were told the same

	table    *Table
	director Director
	peer     netip.AddrPort
	upstream netip.AddrPort // our own address towards the peer
	asked    *asked         // shared by those that asked the same address
	marks    *marked        // what replies take along instead, by their class; nil is none
	hint     *hint          // nil is none
	last     atomic.Int64   // ns since epoch: when something moved
	cause    atomic.Uint32  // the end.Word that cut the flow
	replied  atomic.Bool
	requests atomic.Int64 // datagrams from the client, and complete
	replies  int64        // datagrams to the client

	*served        // what the portable carrier notes of it
	looped  looped // what the loop notes of it

	chained *Flow  // in the table's flows
	all     place  // guarded by table.mu
	source  *place // the same; nil is none
}

// asked is one of our addresses that clients send to.
type asked struct {
	addr    netip.AddrPort
	control []byte // that replies take along
}

// Local is the address that the client has asked.
func (f *Flow) Local() netip.AddrPort { return f.asked.addr }

// hint is what is known of the peers of a flow that begins.
type hint struct{ avoid, named netip.AddrPort }

// Avoid is a peer that has just refused this client; the zero value is none.
func (f *Flow) Avoid() netip.AddrPort {
	if f.hint == nil {
		return netip.AddrPort{}
	}
	return f.hint.avoid
}

// Named is the peer that a QUIC connection id names; the zero value is none.
func (f *Flow) Named() netip.AddrPort {
	if f.hint == nil {
		return netip.AddrPort{}
	}
	return f.hint.named
}

// complete is set in Flow.requests when every request has had its responses: who asks after that needs another flow.
const complete = 1 << 62

// ask counts a request in; false means that the flow is over.
func (f *Flow) ask() bool { return f.requests.Add(1)&complete == 0 }

// isLast tells whether the flow takes no more requests after the one that has just been sent.
func (f *Flow) isLast() bool {
	return f.Requests > 0 && f.Mode != Session && f.requests.Load()&^complete >= int64(f.Requests)
}

// grants tells whether the client may have one more datagram.
func (f *Flow) grants() bool {
	return f.Mode != ReqResp || f.Responses == 0 || f.replies < int64(f.Responses)*f.requests.Load()
}

// isAnswered tells whether every request has had its responses and no other will come, and sees to the latter.
func (f *Flow) isAnswered() bool {
	if f.Mode != ReqResp || f.Responses == 0 {
		return false
	}
	n := f.requests.Load()
	return n > 0 && n >= int64(f.Requests) && f.replies >= n*int64(f.Responses) && f.requests.CompareAndSwap(n, n|complete)
}

// mayShare tells whether the flow may have the socket of another: all that is sent and heard on it is alike, and what comes on it
// is an answer to who has it.
func (f *Flow) mayShare() bool {
	return f.Mode == ReqResp && f.Responses > 0 && f.Requests <= 1 && f.Class == 0 && !f.dialing().Source.Client
}

// isSettled tells whether every request has had its responses, and no request more had what was not one.
func (f *Flow) isSettled() bool {
	n := f.requests.Load()
	return n&complete != 0 && f.replies == (n&^complete)*int64(f.Responses)
}

// answer counts a datagram for the client, or drops it, and tells whether it is the last one. That is settled before the client can
// have it, so that what it sends next opens another flow.
func (f *Flow) answer(b []byte) (pass, last bool) {
	switch {
	case f.Mode == OneWay:
		f.table.owner.Dropped("one_way")
		return false, false
	case !f.grants():
		f.table.owner.Dropped("surplus")
		return false, false
	}
	if f.QUIC.IDLength > 0 && isLong(b) {
		f.table.learn(f, b)
	}
	f.touch()
	f.replied.Store(true)
	f.replies++
	return true, f.isAnswered()
}

// refusal is the end of a flow whose peer has no such port: ICMP port unreachable.
func (f *Flow) refusal() end.Word {
	f.table.noteRefusal(f)
	if f.replied.Load() {
		return end.ServerReset
	}
	return end.ConnectFailed
}

// Upstream is our own address on the socket towards the peer; the zero value if there never was one.
func (f *Flow) Upstream() netip.AddrPort { return f.upstream }

// epoch is what the times of flows count from.
var epoch = time.Now()

func (f *Flow) touch() { f.last.Store(int64(time.Since(epoch))) }

// Idle is for how long nothing has moved.
func (f *Flow) Idle() time.Duration { return time.Since(epoch) - time.Duration(f.last.Load()) }

// Kill ends the flow for the cause w, from any goroutine. The first cause wins.
func (f *Flow) Kill(w end.Word) {
	if f.cause.CompareAndSwap(uint32(end.None), uint32(w)) {
		f.table.carrier.killed(f)
	}
}
