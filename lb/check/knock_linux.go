//go:build amd64 || arm64

package check

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// knocks tells that the clock makes the connections of kind "tcp" itself.
const knocks = true

// knocker makes connections that are wanted for nothing else, many at once, and looks at all of them by one call for each
// tick. The zero value is ready; it belongs to one goroutine.
type knocker struct {
	fds  []unix.PollFd
	list []knock // of each in fds
	from []byte  // what servers say to who leaves
}

// knock is one connection, that is being made, or left as leave does.
type knock struct {
	probe *probe // that waits for it; nil: it leaves
	until time.Time
}

func (k *knocker) busy() bool { return len(k.list) > 0 }

func (k *knocker) begin(p *probe) {
	target := p.knock.to(p.key.target)
	fd, err := sock.Stream(target, p.knock.socket, netip.Addr{}, 0)
	if err == nil {
		if err = sock.Connect(fd, target); err != nil {
			_ = unix.Close(fd)
		}
	}
	if err != nil {
		p.knocked(failed(fmt.Errorf("connect %v: %w", target, err)))
		return
	}
	k.fds = append(k.fds, unix.PollFd{Fd: int32(fd), Events: unix.POLLOUT})
	k.list = append(k.list, knock{p, p.started.Add(p.options.Timeout)})
}

// look goes on with what the kernel has news of, and ends what has no time left.
func (k *knocker) look(now time.Time) {
	if len(k.list) == 0 {
		return
	}
	if _, err := unix.Poll(k.fds, 0); err != nil {
		return // it was interrupted; the next tick looks again
	}
	n := 0
	for i := range k.list {
		if k.step(&k.fds[i], &k.list[i], now) {
			k.fds[n], k.list[n] = k.fds[i], k.list[i]
			n++
		}
	}
	clear(k.list[n:])
	k.fds, k.list = k.fds[:n], k.list[:n]
}

// step goes on with one connection, and tells whether there is more to come of it.
func (k *knocker) step(f *unix.PollFd, c *knock, now time.Time) (more bool) {
	p := c.probe
	switch {
	case p == nil:
		more = now.Before(c.until) && (f.Revents == 0 || k.hears(int(f.Fd)))
	case p.ctx.Err() != nil: // nobody waits for it any more
	case f.Revents != 0:
		r := p.made(int(f.Fd))
		p.knocked(r)
		if more = r.Alive && unix.Shutdown(int(f.Fd), unix.SHUT_WR) == nil; more {
			f.Events = unix.POLLIN
			*c = knock{nil, now.Add(politeTime)}
		}
	case !now.Before(c.until):
		p.knocked(Result{Reason: Timeout, Detail: fmt.Sprintf("connect %v: no answer within %v", p.knock.to(p.key.target), p.options.Timeout)})
	default:
		more = true
	}
	if !more {
		_ = unix.Close(int(f.Fd))
	}
	return more
}

// hears reads what a server says to who leaves, and tells whether more may come.
func (k *knocker) hears(fd int) bool {
	if k.from == nil {
		k.from = make([]byte, politeBytes)
	}
	n, err := unix.Read(fd, k.from)
	return n > 0 && n < len(k.from) || errors.Is(err, unix.EAGAIN)
}

// made is what has become of the connect, which has ended.
func (p *probe) made(fd int) Result {
	target := p.knock.to(p.key.target)
	refused, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_ERROR)
	if err == nil && refused != 0 {
		err = unix.Errno(refused)
	}
	local := netip.AddrPort{}
	if err == nil {
		if local = sock.LocalAddr(fd); local == target {
			err = errSelf(target)
		}
	}
	if err == nil && p.knock.header != nil {
		err = sock.SendWhole(fd, p.knock.header(local, target))
	}
	if err != nil {
		return failed(fmt.Errorf("connect %v: %w", target, err))
	}
	return Result{Alive: true, Reason: OK, Latency: sock.HandshakeTime(fd)}
}

// knocked takes the result of a knock in.
func (p *probe) knocked(r Result) {
	r.At = time.Now()
	if r.Latency == 0 {
		r.Latency = r.At.Sub(p.started)
	}
	p.answered(r)
}

// close is for when all probes have ended. It takes no longer than manners do.
func (k *knocker) close() {
	for ; k.busy(); time.Sleep(tick) {
		k.look(time.Now())
	}
}
