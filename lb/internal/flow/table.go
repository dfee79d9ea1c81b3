package flow

import (
	"cmp"
	"errors"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// maxDatagram is the largest UDP payload over IPv4 (65,535 less the headers), rounded up so that a larger one, which
// only IPv6 jumbograms could be, is seen as truncated.
const maxDatagram = 64 << 10

// maxRefusals bounds the clients whose last refusal is remembered.
const maxRefusals = 1024

// maxTries bounds the flows that one datagram opens: each may end, of idleness, before it has been sent.
const maxTries = 8

type key struct{ client, local netip.AddrPort }

// Table holds the flows of one listening socket of a group.
type Table struct {
	shared  *shared
	conn    *sock.PacketConn
	owner   Owner
	carrier carrier
	spare   *Flow    // one that was refused
	options *Options // of the newest
	asked   *asked   // the same
	closing atomic.Bool

	mu       sync.Mutex
	flows    index // those that take datagrams
	all      crowd
	sources  map[netip.Addr]*crowd // of flows that have a bound
	refusals map[key]netip.AddrPort
	strays   map[stray]*Flow
}

// carrier moves the datagrams of a table. Where nothing else is said, its methods are for the goroutine that reads the
// listening socket.
type carrier interface {
	// run returns after stop, when no more flows are opened; what is there goes on until close.
	run()
	// dial makes the flow's socket towards its peer.
	dial(f *Flow) error
	// begin carries what comes back from now on.
	begin(f *Flow)
	// write sends one datagram to the peer, or keeps it for the batch that is sent next.
	write(f *Flow, b []byte) error
	// cut ends a flow, if it has not ended, and returns when it has.
	cut(f *Flow, w end.Word)
	// hearClass makes the listening socket tell the traffic class of datagrams; any goroutine may call it, before close.
	hearClass()
	// killed is told, by any goroutine, that the flow has a cause to end for.
	killed(f *Flow)
	// stop makes run return; any goroutine may call it.
	stop()
	// drain waits for the flows to end, and close closes the listening socket after that. Call it after run has returned, or instead of
	// run.
	drain()
	close()
}

// newTable takes ownership of conn, unless there is an error.
func newTable(conn *sock.PacketConn, owner Owner, engine string, s *shared) (*Table, error) {
	t := &Table{
		shared: s, conn: conn, owner: owner,
		flows: newIndex(), sources: make(map[netip.Addr]*crowd), refusals: make(map[key]netip.AddrPort), strays: make(map[stray]*Flow),
	}
	if engine == "portable" {
		t.carrier = &portable{table: t, stopped: make(chan struct{})}
		return t, nil
	}
	l, err := newLoop(t, engine)
	if err != nil {
		return nil, err
	}
	t.carrier = l
	return t, nil
}

// send passes one datagram to its flow, opening one if need be.
func (t *Table) send(b []byte, k key) {
	for range maxTries {
		f := t.fit(b, k)
		if f == nil {
			return
		}
		if !f.ask() {
			t.carrier.cut(f, end.Complete)
			continue
		}
		f.touch()
		err := t.carrier.write(f, b)
		switch {
		case err == nil:
			if f.isLast() {
				t.release(f)
			}
			return
		case errors.Is(err, syscall.ECONNREFUSED):
			// The refusal of an earlier datagram, reported on this one, which was not sent: it opens another flow.
			t.carrier.cut(f, f.refusal())
		case errors.Is(err, net.ErrClosed): // the flow has ended since it was found: this one, too, opens another
			t.carrier.cut(f, end.Internal)
		default:
			t.owner.Dropped(unsent(err, In))
			return
		}
	}
	t.owner.Dropped("refused")
}

// pathMTU is the reason of a datagram that was lost on its way to the peer: an ICMP error has said that it was larger than a
// link there allows. The kernel has taken note of that, and cuts what is larger into fragments from then on.
const pathMTU = "pmtu"

// unsent is the reason for which a datagram is dropped that could not be sent.
func unsent(err error, d Direction) string {
	switch {
	case errors.Is(err, syscall.EMSGSIZE):
		return "too_big"
	case d == Out:
		return "reply"
	}
	return "send"
}

// fit gives the flow for a datagram; nil means that it is dropped, and counted.
func (t *Table) fit(b []byte, k key) *Flow {
	f := t.find(k)
	if f != nil && f.QUIC.IDLength > 0 {
		f = t.led(f, b, k)
	}
	if f != nil {
		w := f.director.Unfit()
		if w == end.None {
			return f
		}
		t.carrier.cut(f, w)
	}
	return t.start(b, k)
}

func (t *Table) find(k key) *Flow {
	t.mu.Lock()
	defer t.mu.Unlock()
	f := t.flows.find(k)
	if f != nil {
		f.all.used()
		f.source.used()
	}
	return f
}

// told is the options of a flow that begins now: those of the one before, while they are the same.
func (t *Table) told() *Options {
	if now := t.owner.Options(); t.options == nil || *t.options != now {
		t.options = new(Options)
		*t.options = now
	}
	return t.options
}

// at gives what flows to one of our addresses share.
func (t *Table) at(local netip.AddrPort) *asked {
	if t.asked == nil || t.asked.addr != local {
		t.asked = &asked{local, t.conn.ReplyControl(local)}
	}
	return t.asked
}

// start makes a flow for a datagram; nil means that it is dropped, and counted.
func (t *Table) start(b []byte, k key) *Flow {
	if t.closing.Load() {
		t.owner.Dropped("closing")
		return nil
	}
	f := t.spare
	if t.spare = nil; f == nil {
		f = &Flow{table: t}
	}
	f.Client, f.asked, f.Options, f.hint = k.client, t.at(k.local), t.told(), nil
	if avoid, named := t.refused(k), t.named(b, f.QUIC); avoid.IsValid() || named.IsValid() {
		f.hint = &hint{avoid, named}
	}
	if reason := t.admit(f); reason != "" {
		t.spare = f // a flood of them costs no memory
		t.owner.Dropped(reason)
		return nil
	}
	short := ""
	for {
		var w end.Word
		if f.peer, w = f.director.Next(); w != end.None {
			t.owner.Dropped(cmp.Or(short, w.String()))
			t.giveBack(f)
			f.director.Done(w)
			return nil
		}
		err := t.carrier.dial(f)
		if err == nil {
			break
		}
		short = sock.Shortage(err)
		f.director.Failed(err)
	}
	f.director.Connected()
	f.touch()
	t.enter(b, k, f)
	t.carrier.begin(f)
	return f
}

func (t *Table) enter(b []byte, k key, f *Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.flows.find(k) == nil {
		t.flows.add(f)
	} else {
		t.strays[stray{k, f.peer}] = f
	}
	t.shared.routes.adopt(f, b)
	t.all.enter(&f.all, f)
	if f.PerSource > 0 {
		c := t.sources[k.client.Addr()]
		if c == nil {
			c = new(crowd)
			t.sources[k.client.Addr()] = c
		}
		f.source = new(place)
		c.enter(f.source, f)
	}
}

// release takes no more of the client's datagrams into the flow: it only waits for what comes back.
func (t *Table) release(f *Flow) {
	t.mu.Lock()
	t.flows.remove(f)
	t.mu.Unlock()
	if f.Mode == OneWay {
		t.carrier.cut(f, end.Complete)
	}
}

// forget takes a flow out that has ended.
func (t *Table) forget(f *Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.flows.remove(f)
	if s := (stray{f.key(), f.peer}); t.strays[s] == f {
		delete(t.strays, s)
	}
	t.shared.routes.forget(f)
	t.giveBack(f)
	f.all.leave()
	f.source.leave()
	if f.source != nil && f.source.crowd.size() == 0 {
		delete(t.sources, f.Client.Addr())
	}
}

// refused gives the peer that has refused the last flow, once.
func (t *Table) refused(k key) netip.AddrPort {
	t.mu.Lock()
	defer t.mu.Unlock()
	peer := t.refusals[k]
	delete(t.refusals, k)
	return peer
}

func (t *Table) noteRefusal(f *Flow) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.refusals) >= maxRefusals { // those who do not come back; who does tries the peer once more
		clear(t.refusals)
	}
	t.refusals[f.key()] = f.peer
}
