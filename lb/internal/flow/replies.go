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

// serveReplies passes the peer's datagrams to the client until the flow is idle or cut, and ends the flow.
func (f *Flow) serveReplies() {
	w := f.replies()
	f.table.mu.Lock()
	delete(f.table.flows, key{f.Client, f.Local})
	f.table.mu.Unlock()
	_ = f.server.Close()
	f.director.Done(w)
	close(f.gone)
}

func (f *Flow) replies() end.Word {
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
			f.reply(buf[:n])
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

func (f *Flow) reply(b []byte) {
	f.touch()
	f.replied.Store(true)
	if err := f.table.conn.Reply(b, f.control, f.Client); err != nil {
		f.table.dropped("reply")
		return
	}
	f.Out.Add(int64(len(b)))
}

// refusal is the end of a flow whose peer has no such port: ICMP port unreachable.
func (f *Flow) refusal() end.Word {
	if f.replied.Load() {
		return end.ServerReset
	}
	return end.ConnectFailed
}

// Kill ends the flow for the cause w, from any goroutine. The first cause wins.
func (f *Flow) Kill(w end.Word) {
	if f.cause.CompareAndSwap(uint32(end.None), uint32(w)) {
		_ = f.server.SetReadDeadline(time.Unix(1, 0))
	}
}
