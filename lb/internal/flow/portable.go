package flow

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// portable is the carrier that runs everywhere: a goroutine for each flow.
type portable struct {
	table   *Table
	serving sync.WaitGroup
	reading sync.WaitGroup
	passing sync.Mutex    // while a datagram opens a flow or goes to one
	stopped chan struct{} // closed when no more flows are opened
}

// served is a flow's socket and its end.
type served struct {
	gone   chan struct{} // closed when the flow has ended
	server *net.UDPConn
	sender *sock.Sender // of server
	class  uint8        // what is sent on it has
}

func (p *portable) run() {
	p.reading.Go(p.read)
	<-p.stopped
}

// read passes on what clients send, until close.
func (p *portable) read() {
	t := p.table
	b, oob := make([]byte, maxDatagram), make([]byte, sock.OOBSize)
	for {
		n, client, local, truncated, err := t.conn.ReadDatagram(b, oob)
		switch {
		case errors.Is(err, net.ErrClosed), errors.Is(err, os.ErrDeadlineExceeded):
			return
		case err != nil: // an ICMP error for an earlier reply; the socket is sound
			t.owner.Dropped("receive")
		case truncated:
			t.owner.Dropped("too_big")
		default:
			t.owner.Received(In, 1)
			if n := t.conn.Lost(); n > 0 {
				t.owner.Overflowed(In, n)
			}
			p.passing.Lock()
			t.send(b[:n], key{client, local})
			p.passing.Unlock()
		}
	}
}

func (p *portable) dial(f *Flow) (err error) {
	f.served = &served{gone: make(chan struct{})}
	if f.server, err = sock.DialUDP(f.peer, f.dialing(), f.Client.Addr()); err != nil {
		return err
	}
	f.upstream = sock.AddrPort(f.server.LocalAddr())
	if f.sender, err = sock.NewSender(f.server); err != nil {
		_ = f.server.Close()
		return err
	}
	if f.Class != 0 {
		f.sender.HearClass()
	}
	return nil
}

func (p *portable) begin(f *Flow) { p.serving.Go(f.serve) }

func (p *portable) write(f *Flow, b []byte) error {
	if class := p.table.conn.Class() & f.Class; class != f.served.class {
		f.served.class = class
		f.sender.SetClass(f.peer.Addr().Is6(), class)
	}
	err := f.sender.Send(b)
	if errors.Is(err, syscall.EMSGSIZE) { // this one's, or an ICMP error for an earlier one, which is told once
		if err = f.sender.Send(b); !errors.Is(err, syscall.EMSGSIZE) {
			p.table.owner.Dropped(pathMTU)
		}
	}
	if err == nil {
		f.In.Add(int64(len(b)))
	}
	return err
}

func (p *portable) cut(f *Flow, w end.Word) {
	f.Kill(w)
	<-f.gone
}

func (p *portable) hearClass() { p.table.conn.HearClass() }

func (p *portable) killed(f *Flow) { _ = f.server.SetReadDeadline(time.Unix(1, 0)) }

func (p *portable) stop() {
	p.passing.Lock()
	defer p.passing.Unlock()
	if !p.table.closing.Swap(true) {
		close(p.stopped)
	}
}

func (p *portable) drain() {
	p.serving.Wait()
	_ = p.table.conn.SetReadDeadline(time.Unix(1, 0))
	p.reading.Wait()
}

func (p *portable) close() { _ = p.table.conn.Close() }

var buffers = sync.Pool{New: func() any { return new([maxDatagram]byte) }}

// serve passes the peer's datagrams to the client until the flow has what it wants, is idle or is cut, and ends it.
func (f *Flow) serve() {
	w := f.receive()
	f.table.forget(f)
	_ = f.server.Close()
	f.director.Done(w)
	close(f.gone)
}

func (f *Flow) receive() end.Word {
	buf := buffers.Get().(*[maxDatagram]byte)
	defer buffers.Put(buf)
	var oob [sock.OOBSize]byte
	var overflow sock.Overflow
	for {
		// One deadline for each quiet stretch: the client's datagrams move only f.last.
		_ = f.server.SetReadDeadline(epoch.Add(time.Duration(f.last.Load()) + f.IdleTimeout))
		if w := end.Word(f.cause.Load()); w != end.None { // Kill may have set its deadline just before ours
			return w
		}
		n, oobn, _, _, err := f.server.ReadMsgUDPAddrPort(buf[:], oob[:])
		switch {
		case err == nil:
			f.table.owner.Received(Out, 1)
			if n := overflow.Since(oob[:oobn]); n > 0 {
				f.table.owner.Overflowed(Out, n)
			}
			if f.reply(buf[:n], f.passed(oob[:oobn])) {
				return end.Complete
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			if w := end.Word(f.cause.Load()); w != end.None {
				return w
			}
			if f.Idle() >= f.IdleTimeout {
				return end.Idle
			}
		case errors.Is(err, syscall.ECONNREFUSED):
			return f.refusal()
		case errors.Is(err, syscall.EMSGSIZE):
			f.table.owner.Dropped(pathMTU)
		case errors.Is(err, net.ErrClosed):
			return end.Internal
		default:
			return end.ServerReset
		}
	}
}

// reply passes one datagram of a class to the client and tells whether it was the last one.
func (f *Flow) reply(b []byte, class uint8) (last bool) {
	t := f.table
	pass, last := f.answer(b)
	if !pass {
		return false
	}
	if err := t.conn.Reply(b, f.replyControl(class), f.Client); err != nil {
		t.owner.Dropped(unsent(err, Out))
		return last
	}
	f.Out.Add(int64(len(b)))
	return last
}
