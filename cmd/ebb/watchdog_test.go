package main

import (
	"log/slog"
	"os"
	"strconv"
	"sync"
	"testing"
)

func TestWatchdog(t *testing.T) {
	manager := serviceManager(t)
	t.Setenv("WATCHDOG_USEC", "3000")
	t.Setenv("WATCHDOG_PID", strconv.Itoa(os.Getpid()))
	n := &notifier{log: slog.New(slog.DiscardHandler)}
	asked, stuck, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	var running sync.WaitGroup
	running.Go(func() {
		n.watchdog(func() {
			select {
			case asked <- struct{}{}:
			case <-stuck:
			}
		}, done)
	})
	for range 3 { // each word comes after an answer
		<-asked
		if got := told(t, manager); got != "WATCHDOG=1" {
			t.Errorf("the service manager was told %q", got)
		}
	}
	close(done)
	close(stuck)
	running.Wait()
}

// Nobody is told who does not want to know, or who wants to know of another process.
func TestNoWatchdog(t *testing.T) {
	n := &notifier{log: slog.New(slog.DiscardHandler)}
	for _, env := range [][2]string{{"", ""}, {"3000", "1"}, {"many", ""}, {"-1", ""}} {
		t.Setenv("WATCHDOG_USEC", env[0])
		t.Setenv("WATCHDOG_PID", env[1])
		n.watchdog(func() { t.Errorf("%v: asked", env) }, nil)
	}
}
