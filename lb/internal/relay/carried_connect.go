//go:build linux && (amd64 || arm64)

package relay

import (
	"math/rand/v2"
	"net/netip"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// connect begins the next attempt, or ends the session if there is none.
func (l *loop) connect(slot int32, k *carried) {
	s := k.session
	for {
		if w := s.word(); w != end.None {
			l.finish(slot, k, w)
			return
		}
		if left, w := l.left(k); w != end.None && left <= 0 {
			l.finish(slot, k, w)
			return
		}
		addr, w := k.director.Next()
		if w != end.None {
			l.finish(slot, k, w)
			return
		}
		if !addr.IsValid() {
			k.phase = parked
			l.engine.Watch(k.socket[client])
			l.rearm(slot, k)
			return
		}
		k.addr, k.way, k.ways = addr, 0, 0
		if n := s.dialing().Source.Ways(addr.Addr(), s.Source); n > 1 {
			k.way, k.ways = uint8(rand.IntN(n)), uint8(n-1)
		}
		if l.attempt(slot, k) {
			return
		}
	}
}

// attempt begins to connect to the address of the attempt, and tells the director if that cannot be.
func (l *loop) attempt(slot int32, k *carried) bool {
	s := k.session
	fd, err := sock.Stream(k.addr, s.dialing(), s.Source, int(k.way))
	for sock.Classify(err) == sock.NoSourcePort && l.detour(k) { // the address of the source is gone
		fd, err = sock.Stream(k.addr, s.dialing(), s.Source, int(k.way))
	}
	if err != nil {
		l.exhausted(err)
		k.director.Failed(err)
		return false
	}
	k.phase, k.err, k.last = connecting, nil, l.now
	l.open(slot, k, server, fd)
	l.engine.Connect(k.socket[server], k.addr)
	l.rearm(slot, k)
	return true
}

// detour makes the attempt take another of the sources, if one is left.
func (l *loop) detour(k *carried) bool {
	if k.ways == 0 {
		return false
	}
	k.ways--
	k.way = uint8((int(k.way) + 1) % k.session.dialing().Source.Ways(k.addr.Addr(), k.session.Source))
	return true
}

// resume goes on with a session that is parked, if it is still carried.
func (l *loop) resume(s *Session) {
	slot := s.slot - 1
	if slot < 0 || l.at(slot).session != s || l.at(slot).phase != parked {
		return
	}
	k := l.at(slot)
	k.phase = connecting
	l.engine.Unwatch(k.socket[client])
	l.connect(slot, k)
}

// connected is told how the attempt went.
func (l *loop) connected(slot int32, k *carried, err error) {
	if k.phase != connecting {
		return
	}
	if err != nil {
		l.fail(slot, k, err)
		return
	}
	local := sock.LocalAddr(int(k.fd[server]))
	if local == k.addr { // the kernel picked the destination as the source
		l.fail(slot, k, sock.ErrSelf)
		return
	}
	s := k.session
	if len(s.Preface) > 0 {
		if err := sock.SendWhole(int(k.fd[server]), s.Preface); err != nil {
			l.fail(slot, k, err)
			return
		}
	}
	s.setUpstream(local)
	k.phase, k.last = relaying, l.now
	if !k.director.Connected() {
		s.setUpstream(netip.AddrPort{})
		l.fail(slot, k, nil)
		return
	}
	if w := s.word(); w != end.None {
		l.finish(slot, k, w)
		return
	}
	s.reached.Store(int64(max(1, l.now-k.start)))
	l.rearm(slot, k)
	l.engine.Receive(k.socket[client])
	l.engine.Receive(k.socket[server])
}

// fail gives an attempt up: for err, or because the peer is not wanted. Its socket is closed before the next is made.
func (l *loop) fail(slot int32, k *carried, err error) {
	l.wheel.Clear(slot)
	k.phase, k.err = failing, err
	l.engine.Close(k.socket[server], err == sock.ErrSelf)
}
