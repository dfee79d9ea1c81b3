package lb

import (
	"context"
	"io"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"
)

// LogSink writes log lines without ever blocking the caller: lines queue up to a bound, and what does not fit is dropped
// and counted.
type LogSink struct {
	w       io.Writer
	lines   chan []byte
	done    chan struct{}
	dropped atomic.Uint64
	failed  atomic.Uint64

	mu     sync.RWMutex // held for reading while a line is queued, so that Close never closes under a sender
	closed bool
}

// logQueue is how many lines may wait: half a second of 10,000 sessions each second, about 2 MiB.
const logQueue = 5000

// NewLogSink starts a sink on w. Close it to flush.
func NewLogSink(w io.Writer) *LogSink {
	s := &LogSink{w: w, lines: make(chan []byte, logQueue), done: make(chan struct{})}
	go s.write()
	return s
}

func (s *LogSink) write() {
	defer close(s.done)
	for line := range s.lines {
		if _, err := s.w.Write(line); err != nil {
			s.failed.Add(1)
		}
	}
}

// Write queues one line. It never fails: a line that cannot be queued is counted in Dropped.
func (s *LogSink) Write(line []byte) (int, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if s.closed {
		s.dropped.Add(1)
		return len(line), nil
	}
	select {
	case s.lines <- append([]byte(nil), line...): // slog uses its buffer again
	default:
		s.dropped.Add(1)
	}
	return len(line), nil
}

// Dropped is how many lines were lost, to a full queue or a failing target.
func (s *LogSink) Dropped() uint64 { return s.dropped.Load() + s.failed.Load() }

// Close writes what is queued, for as long as ctx lasts.
func (s *LogSink) Close(ctx context.Context) {
	s.mu.Lock()
	if !s.closed {
		s.closed = true
		close(s.lines)
	}
	s.mu.Unlock()
	select {
	case <-s.done:
	case <-ctx.Done():
	}
}

// NewLogger makes a logger on w in the format "text" or "json" from the level up. Durations are in milliseconds, the
// time in UTC.
func NewLogger(w io.Writer, format string, level slog.Leveler) *slog.Logger {
	o := &slog.HandlerOptions{Level: level, ReplaceAttr: inUnits}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(w, o))
	}
	return slog.New(slog.NewTextHandler(w, o))
}

// inUnits gives an attribute the form that lines and events have.
func inUnits(_ []string, a slog.Attr) slog.Attr {
	switch a.Value.Kind() {
	case slog.KindDuration:
		return slog.Float64(a.Key+"_ms", milliseconds(a.Value.Duration()))
	case slog.KindTime:
		return slog.Time(a.Key, a.Value.Time().UTC())
	}
	return a
}

// milliseconds is d with microsecond precision.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
