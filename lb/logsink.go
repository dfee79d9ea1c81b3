package lb

import (
	"context"
	"io"
	"sync"
	"sync/atomic"
)

// LogSink writes log lines without ever blocking the caller: lines queue up to a bound, and what does not fit is dropped
// and counted. Where they are written to may change.
type LogSink struct {
	queue   atomic.Pointer[logQueue]
	dropped atomic.Uint64
}

// logQueue is what waits for one writer.
type logQueue struct {
	w     io.Writer
	lines chan []byte
	done  chan struct{}

	mu     sync.RWMutex // held for reading while a line is queued, so that close never closes under a sender
	closed bool
}

// logQueued is how many lines may wait: half a second of 10,000 sessions each second, about 2 MiB.
const logQueued = 5000

// NewLogSink starts a sink on w. Close it to flush.
func NewLogSink(w io.Writer) *LogSink {
	s := &LogSink{}
	s.turn(w)
	return s
}

func (s *LogSink) turn(w io.Writer) (old *logQueue) {
	q := &logQueue{w: w, lines: make(chan []byte, logQueued), done: make(chan struct{})}
	go q.write(&s.dropped)
	return s.queue.Swap(q)
}

func (q *logQueue) write(dropped *atomic.Uint64) {
	defer close(q.done)
	for line := range q.lines {
		if _, err := q.w.Write(line); err != nil {
			dropped.Add(1)
		}
	}
}

// Turn has the lines from now on written to w, even if the writer before blocks; flush writes there what waited for it,
// for as long as its context lasts. Each line goes to one of the two.
func (s *LogSink) Turn(w io.Writer) (flush func(context.Context)) {
	old := s.turn(w)
	return old.close
}

// Write queues one line. It never fails: a line that cannot be queued is counted in Dropped.
func (s *LogSink) Write(line []byte) (int, error) {
	for q := s.queue.Load(); ; q = s.queue.Load() {
		took, closed := q.take(line)
		if closed && s.queue.Load() != q { // turned meanwhile
			continue
		}
		if !took {
			s.dropped.Add(1)
		}
		return len(line), nil
	}
}

func (q *logQueue) take(line []byte) (took, closed bool) {
	q.mu.RLock()
	defer q.mu.RUnlock()
	if q.closed {
		return false, true
	}
	select {
	case q.lines <- append([]byte(nil), line...): // slog uses its buffer again
		return true, false
	default:
		return false, false
	}
}

// Dropped is how many lines were lost, to a full queue or a failing target.
func (s *LogSink) Dropped() uint64 { return s.dropped.Load() }

// Close writes what is queued, for as long as ctx lasts.
func (s *LogSink) Close(ctx context.Context) { s.queue.Load().close(ctx) }

func (q *logQueue) close(ctx context.Context) {
	q.mu.Lock()
	if !q.closed {
		q.closed = true
		close(q.lines)
	}
	q.mu.Unlock()
	select {
	case <-q.done:
	case <-ctx.Done():
	}
}
