package main

import (
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// watchdog tells the service manager that the balancer still answers, as often as that wants to know (WatchdogSec), until
// done. It asks first, and goes the way that the API goes: where a lock is never given back, it is silent.
func (n *notifier) watchdog(answers func(), done <-chan struct{}) {
	every, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		n.log.Warn("no watchdog", "error", err)
	}
	if every == 0 {
		return
	}
	tick := time.NewTicker(max(every/3, time.Millisecond)) // two may be late
	defer tick.Stop()
	for {
		answers()
		n.systemd(daemon.SdNotifyWatchdog)
		select {
		case <-tick.C:
		case <-done:
			return
		}
	}
}
