// Package flow carries UDP: datagrams from one client to one local address are a flow, and a flow goes to one peer
// through its own connected socket until it is idle.
//
//	t := flow.NewTable(conn, newDirector, dropped)
//	t.Run() // returns after t.Close
//
// The model: one goroutine reads the listening socket and sends on; each flow has a goroutine for what comes back. This
// is the portable twin: it runs on every system and is the reference for batched engines.
//
// Invariants:
//
//	F1  A reply leaves from the address that the client asked.
//	F2  The datagram that opens a flow is sent like any other; making the flow loses nothing.
//	F3  A datagram is passed whole or dropped with a reason, never cut; an empty one is a datagram.
//	F4  A flow whose peer went away or refused ends, and the client's next datagram opens another.
//
// It does not choose peers, count flows, log, or read configuration.
package flow

import (
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// maxDatagram is the largest UDP payload over IPv4 (65,535 less the headers), rounded up so that a larger one, which
// only IPv6 jumbograms could be, is seen as truncated.
const maxDatagram = 64 << 10

// Director decides for one flow. Its methods are called by one goroutine at a time and must not block.
type Director interface {
	// Next names the peer's address. A word other than end.None ends the flow instead.
	Next() (netip.AddrPort, end.Word)
	// Failed tells why no socket towards the address could be made.
	Failed(err error)
	// Connected tells that the flow has its socket.
	Connected()
	// Fit tells whether the flow may stay on its peer; asked for each datagram from the client.
	Fit() bool
	// Done tells the end. The socket is closed.
	Done(end.Word)
}

// Flow is one client's datagrams to one local address.
type Flow struct {
	Client, Local netip.AddrPort
	In            atomic.Int64 // payload bytes sent to the peer
	Out           atomic.Int64 // payload bytes sent to the client

	IdleTimeout time.Duration // the flow ends when nothing moved for this long; whoever gives its director sets it

	table    *Table
	director Director
	server   *net.UDPConn
	control  []byte
	born     time.Time
	last     atomic.Int64  // ns since born: when something moved
	cause    atomic.Uint32 // the end.Word that cut the flow
	replied  atomic.Bool
	gone     chan struct{} // closed when the flow has ended
}

type key struct{ client, local netip.AddrPort }

// Table holds the flows of one listening socket.
type Table struct {
	conn    *sock.PacketConn
	open    func(*Flow) (Director, string)
	dropped func(reason string)
	spare   *Flow // one that was refused
	serving sync.WaitGroup

	mu    sync.Mutex
	flows map[key]*Flow
}

// NewTable takes ownership of conn. open is asked for the director of each new flow; nil refuses it for
// the reason beside it, and then does not keep the flow. dropped is told the reason for every datagram that was not passed on.
func NewTable(conn *sock.PacketConn, open func(*Flow) (Director, string), dropped func(reason string)) *Table {
	return &Table{conn: conn, open: open, dropped: dropped, flows: make(map[key]*Flow)}
}

// Run reads the listening socket until Stop or Close.
func (t *Table) Run() {
	b, oob := make([]byte, maxDatagram), make([]byte, sock.OOBSize)
	for {
		n, client, local, truncated, err := t.conn.ReadDatagram(b, oob)
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil: // an ICMP error for an earlier reply; the socket is sound
			t.dropped("receive")
		case truncated:
			t.dropped("too_big")
		case client.Port() == 0: // cannot be answered (RFC 768)
			t.dropped("port_zero")
		default:
			t.send(b[:n], client, local)
		}
	}
}

// send passes one datagram to its flow, opening one if need be.
func (t *Table) send(b []byte, client, local netip.AddrPort) {
	k := key{client, local}
	for range 2 {
		f := t.fit(k)
		if f == nil {
			return
		}
		f.touch()
		_, err := f.server.Write(b)
		switch {
		case err == nil:
			f.In.Add(int64(len(b)))
			return
		case errors.Is(err, syscall.ECONNREFUSED):
			// The refusal of an earlier datagram, reported on this one, which was not sent: it opens another flow.
			f.Kill(f.refusal())
			<-f.gone
		case errors.Is(err, net.ErrClosed): // the flow has ended since it was found: this one, too, opens another
			<-f.gone
		case errors.Is(err, syscall.EMSGSIZE):
			t.dropped("too_big")
			return
		default:
			t.dropped("send")
			return
		}
	}
	t.dropped("refused")
}

// fit gives the flow for a datagram; nil means that it is dropped, and counted.
func (t *Table) fit(k key) *Flow {
	f := t.find(k)
	if f != nil && !f.director.Fit() {
		f.Kill(end.PeerRemoved)
		<-f.gone
		f = nil
	}
	if f == nil {
		f = t.start(k)
	}
	return f
}

func (t *Table) find(k key) *Flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.flows[k]
}

// start makes a flow; nil means that the datagram is dropped, and counted.
func (t *Table) start(k key) *Flow {
	f := t.spare
	if t.spare = nil; f == nil {
		f = &Flow{table: t, gone: make(chan struct{})}
	}
	f.Client, f.Local, f.born = k.client, k.local, time.Now()
	var reason string
	if f.director, reason = t.open(f); f.director == nil {
		t.spare = f // a flood of them costs no memory
		t.dropped(reason)
		return nil
	}
	for f.server == nil {
		addr, w := f.director.Next()
		if w != end.None {
			t.dropped(w.String())
			f.director.Done(w)
			return nil
		}
		server, err := sock.DialUDP(addr)
		if err != nil {
			f.director.Failed(err)
			continue
		}
		f.server = server
	}
	f.director.Connected()
	f.control = t.conn.ReplyControl(k.local)
	f.touch()
	t.mu.Lock()
	t.flows[k] = f
	t.mu.Unlock()
	t.serving.Go(f.serveReplies)
	return f
}

// Stop reads no more from clients. Flows that live go on until they are idle or cut; replies still reach their clients.
func (t *Table) Stop() {
	_ = t.conn.SetReadDeadline(time.Unix(1, 0))
}

// Close waits for the flows, which the owner has cut or lets run out, and closes the listening socket.
func (t *Table) Close() {
	t.Stop()
	t.serving.Wait()
	_ = t.conn.Close()
}

// Upstream is our own address on the socket towards the peer; the zero value if there never was one.
func (f *Flow) Upstream() netip.AddrPort {
	if f.server == nil {
		return netip.AddrPort{}
	}
	return sock.AddrPort(f.server.LocalAddr())
}

func (f *Flow) touch() { f.last.Store(int64(time.Since(f.born))) }

// Idle is for how long nothing has moved.
func (f *Flow) Idle() time.Duration { return time.Since(f.born) - time.Duration(f.last.Load()) }
