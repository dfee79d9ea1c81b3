package lb

import (
	"context"
	"net/netip"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
)

// shutdown ends everything in order. Sessions have until shutdown_timeout.
func (s *Server) shutdown() {
	s.stopping.Store(true)
	s.reloads.close()
	g := s.running()
	s.log.Info("stopping", "sessions", g.active(), "delay", g.conf.ShutdownDelay, "timeout", g.conf.ShutdownTimeout)
	s.pause(g.conf.ShutdownDelay, func() bool { return false })
	for _, p := range g.ports() {
		p.stop()
	}
	s.pause(g.conf.ShutdownTimeout, func() bool { return g.active() == 0 })
	cut := 0
	for _, l := range g.everyListener() {
		cut += l.live.killAll(end.Shutdown)
	}
	for _, l := range g.listeners {
		l.leave()
		<-l.gone
		l.port.close()
	}
	s.leavers.Wait()
	s.release()
	if g.admin != nil {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		g.admin.Shutdown(ctx)
	}
	s.log.Info("stopped", "cut", cut, "uptime", time.Since(s.born))
}

// pause waits for d, until done, or until Hurry.
func (s *Server) pause(d time.Duration, done func() bool) {
	timeout := time.NewTimer(d)
	defer timeout.Stop()
	tick := time.NewTicker(poll)
	defer tick.Stop()
	for !done() {
		select {
		case <-tick.C:
		case <-timeout.C:
			return
		case <-s.opts.Hurry:
			return
		}
	}
}

// abandon undoes open after it failed.
func (s *Server) abandon() {
	g := s.running()
	for _, p := range g.ports() {
		p.stop()
	}
	s.release()
	if g.admin != nil {
		g.admin.Close()
	}
}

// release ends what sessions need no more: names, checks, tables.
func (s *Server) release() {
	for _, p := range s.running().everyPool() {
		p.close()
	}
	if s.loops != nil { // after the pools, which may be about to cut a session
		s.loops.Close()
	}
	s.teller.Close()
	s.hub.Close()
	s.watcher.Close()
	s.reclaimer.Close()
}

// on gives a pool's sessions on one address, those on old epochs included.
func (s *Server) on(p *livePool, addr netip.AddrPort) (list []live) {
	for _, l := range s.running().everyListener() {
		if l.pool == p {
			list = append(list, l.live.on(addr)...)
		}
	}
	return list
}
