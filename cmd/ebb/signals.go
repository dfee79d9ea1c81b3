package main

import (
	"context"
	"log/slog"
	"os"
	"os/signal"
	"sync"
	"syscall"
)

// stopper turns signals into the two steps of a shutdown: the first SIGTERM or SIGINT ends ctx, the second closes hurry.
type stopper struct {
	hurry chan struct{}

	signals  chan os.Signal
	cancel   context.CancelFunc
	notifier *notifier
	log      *slog.Logger
	done     sync.WaitGroup
}

// newStopper begins to listen for signals. Close ends it.
func newStopper(ctx context.Context, n *notifier, log *slog.Logger) (context.Context, *stopper) {
	ctx, cancel := context.WithCancel(ctx)
	s := &stopper{hurry: make(chan struct{}), signals: make(chan os.Signal, 8), cancel: cancel, notifier: n, log: log}
	signal.Notify(s.signals, syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP)
	s.done.Go(s.listen)
	return ctx, s
}

func (s *stopper) listen() {
	asked := 0
	for sig := range s.signals {
		switch sig {
		case syscall.SIGHUP:
			s.log.Warn("SIGHUP: reload is not in this version, the config stays as it is")
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

func (s *stopper) close() {
	signal.Stop(s.signals)
	close(s.signals) // nothing is delivered after Stop
	s.done.Wait()
	s.cancel()
}
