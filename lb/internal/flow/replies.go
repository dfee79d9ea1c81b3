package flow

import (
	"errors"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
)

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
	for {
		// One deadline for each quiet stretch: the client's datagrams move only f.last.
		_ = f.server.SetReadDeadline(f.born.Add(time.Duration(f.last.Load()) + f.IdleTimeout))
		if w := end.Word(f.cause.Load()); w != end.None { // Kill may have set its deadline just before ours
			return w
		}
		n, err := f.server.Read(buf[:])
		switch {
		case err == nil:
			if f.reply(buf[:n]) {
				return end.Complete
			}
		case errors.Is(err, os.ErrDeadlineExceeded):
			if w := end.Word(f.cause.Load()); w != end.None {
				return w
			}
			if time.Since(f.born)-time.Duration(f.last.Load()) >= f.IdleTimeout {
				return end.Idle
			}
		case errors.Is(err, syscall.ECONNREFUSED):
			return f.refusal()
		case errors.Is(err, net.ErrClosed):
			return end.Internal
		default:
			return end.ServerReset
		}
	}
}

// reply passes one datagram to the client and tells whether it was the last one. That is settled before the client can
// have it, so that what it sends next opens another flow.
func (f *Flow) reply(b []byte) (last bool) {
	t := f.table
	switch {
	case f.Mode == OneWay:
		t.owner.Dropped("one_way")
		return false
	case !f.grants():
		t.owner.Dropped("surplus")
		return false
	}
	f.touch()
	f.replied.Store(true)
	f.replies++
	last = f.isAnswered()
	if err := t.conn.Reply(b, f.control, f.Client); err != nil {
		t.owner.Dropped("reply")
		return last
	}
	f.Out.Add(int64(len(b)))
	return last
}

// refusal is the end of a flow whose peer has no such port: ICMP port unreachable.
func (f *Flow) refusal() end.Word {
	f.table.noteRefusal(f)
	if f.replied.Load() {
		return end.ServerReset
	}
	return end.ConnectFailed
}
