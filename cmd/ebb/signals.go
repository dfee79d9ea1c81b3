package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/ebb-lb/ebb/lb"
)

// stopper turns signals into the two steps of a shutdown: the first SIGTERM or SIGINT ends ctx, the second closes hurry.
// SIGHUP reloads what has started, SIGUSR1 opens the log's file again.
type stopper struct {
	hurry   chan struct{}
	started chan *lb.Server // holds one, when it has

	signals  chan os.Signal
	cancel   context.CancelFunc
	notifier *notifier
	reopen   func()
	log      *slog.Logger
	done     sync.WaitGroup
}

// newStopper begins to listen for signals. Close ends it.
func newStopper(ctx context.Context, n *notifier, reopen func(), log *slog.Logger) (context.Context, *stopper) {
	ctx, cancel := context.WithCancel(ctx)
	s := &stopper{hurry: make(chan struct{}), started: make(chan *lb.Server, 1), signals: make(chan os.Signal, 8), cancel: cancel, notifier: n, reopen: reopen, log: log}
	signal.Notify(s.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGUSR1)
	s.done.Go(func() { s.listen(ctx) })
	return ctx, s
}

func (s *stopper) listen(ctx context.Context) {
	asked := 0
	for sig := range s.signals {
		switch sig {
		case syscall.SIGHUP:
			s.done.Go(func() { s.reload(ctx) })
		case syscall.SIGUSR1:
			s.done.Go(s.reopen)
		default:
			asked++
			switch asked {
			case 1:
				s.notifier.stopping()
				s.cancel()
			case 2:
				s.log.Warn("asked to stop again, the sessions that are left are cut")
				close(s.hurry)
			}
		}
	}
}

// reload waits for the start. What becomes of it, the server logs.
func (s *stopper) reload(ctx context.Context) {
	select {
	case server := <-s.started:
		s.started <- server
		_, _ = server.Reload()
	case <-ctx.Done():
	}
}

func (s *stopper) close() {
	signal.Stop(s.signals)
	close(s.signals) // nothing is delivered after Stop
	s.cancel()
	s.done.Wait()
}
