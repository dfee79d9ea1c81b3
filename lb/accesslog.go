package lb

import (
	"context"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// accessLog is what the config says of lines about sessions. A reload changes it.
type accessLog struct {
	ends     atomic.Bool  // a line for each that ends
	begins   atomic.Bool  // and when it begins
	progress atomic.Int64 // and this often while it lives, in nanoseconds; 0 is never
}

func (a *accessLog) set(c config.Log) {
	a.ends.Store(c.Access != "off")
	a.begins.Store(c.Access == "all")
	every := time.Duration(0)
	if c.Access == "all" {
		every = c.Progress
	}
	a.progress.Store(int64(every))
}

// Bounds of how often the sessions are looked at for progress. While there are no such lines, a reload may bring them.
const (
	leastLook = 50 * time.Millisecond
	mostLook  = 5 * time.Second
)

// tellProgress gives each session that lives its lines, counted from when it began, until ctx is done.
func (s *Server) tellProgress(ctx context.Context) {
	for last := time.Now(); ; {
		look := mostLook
		if every := s.access.progress.Load(); every > 0 {
			look = min(max(time.Duration(every)/10, leastLook), mostLook)
		}
		select {
		case <-time.After(look):
		case <-ctx.Done():
			return
		}
		now := time.Now()
		if every := time.Duration(s.access.progress.Load()); every > 0 {
			for _, c := range describe(s.due(last, now, every)) {
				s.logProgress(c)
			}
		}
		last = now
	}
}

// due gives the sessions that have reached another multiple of an age since they were looked at last.
func (s *Server) due(last, now time.Time, every time.Duration) (list []settled) {
	for _, l := range s.running().everyListener() {
		l.live.each(func(c settled) {
			if born := c.walk().born; now.Sub(born)/every > max(last.Sub(born), 0)/every {
				list = append(list, c)
			}
		})
	}
	return list
}

func (s *Server) logProgress(c admin.Conn) {
	attrs := make([]slog.Attr, 0, 13)
	attrs = append(attrs, slog.Uint64("id", c.ID), slog.String("listener", c.Listener), slog.String("pool", c.Pool),
		slog.String("proto", c.Protocol), slog.String("client", c.Client), slog.String("local", c.Local))
	if c.Upstream != "" {
		attrs = append(attrs, slog.String("upstream", c.Upstream))
	}
	if c.Peer != "" {
		attrs = append(attrs, slog.String("peer", c.Peer), slog.Uint64("epoch", c.Epoch))
	}
	attrs = append(attrs, slog.Int64("in", c.In), slog.Int64("out", c.Out),
		slog.Duration("duration", time.Duration(c.Age*float64(time.Second))), slog.Duration("idle", time.Duration(c.Idle*float64(time.Second))))
	s.log.LogAttrs(context.Background(), slog.LevelInfo, "progress", attrs...)
}

// logBegin gives a session its first line.
func (t *trip) logBegin() {
	l := t.listener
	l.log.LogAttrs(context.Background(), slog.LevelInfo, "open",
		slog.Uint64("id", t.id), slog.String("listener", l.name), slog.String("pool", l.pool.name),
		slog.String("proto", l.port.proto), slog.String("client", t.who()), slog.String("local", t.where()))
}
