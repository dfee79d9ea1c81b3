//go:build linux && (amd64 || arm64)

package relay

import (
	"os"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// settled is the age from which a session's connection to its peer is kept alive. Short sessions are spared the calls.
const settled = time.Second

// rearm sets the timer for what is to be done next if nothing moves.
func (l *loop) rearm(slot int32, k *carried) {
	left, w := l.left(k)
	switch {
	case k.phase == connecting && k.session.ConnectTimeout > 0:
		left = min(left, k.last+k.session.ConnectTimeout-l.now)
	case k.phase == relaying && !k.watched:
		left = min(left, settled)
	case w == end.None:
		l.wheel.Clear(slot)
		return
	}
	l.arm(slot, left)
}

// left is how long the session may stay as it is, and the end that follows; with end.None it is for ever.
func (l *loop) left(k *carried) (time.Duration, end.Word) {
	still := l.now - k.last
	left, w := k.session.left(l.now-k.start, still, k.half[client].eof, k.half[server].eof)
	if k.phase != relaying || k.half[client].eof || k.half[server].eof {
		return left, w
	}
	return k.session.untilQuiet(left, w, still, func() bool {
		return l.engine.Queued(k.socket[client]) == 0 && l.engine.Queued(k.socket[server]) == 0 && k.talk.atRest() &&
			!sock.Unread(int(k.fd[client])) && !sock.Unread(int(k.fd[server]))
	})
}

// timeout is called when the slot's timer fires. Activity does not touch timers: it may be that much is left.
func (l *loop) timeout(slot int32, k *carried) {
	if k.phase == connecting && k.session.ConnectTimeout > 0 && l.now-k.last >= k.session.ConnectTimeout {
		l.fail(slot, k, os.ErrDeadlineExceeded)
		return
	}
	if left, w := l.left(k); w != end.None && left <= 0 {
		l.cut(slot, k, w)
		return
	}
	if k.phase == relaying && !k.watched {
		k.watched = true
		k.session.dialing().KeepAlive.Set(int(k.fd[server]))
	}
	l.rearm(slot, k)
}
