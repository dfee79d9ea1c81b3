//go:build linux && (amd64 || arm64)

package engine

import (
	"fmt"
	"time"
)

// Open makes the named engine, "uring" or "epoll". The calling goroutine must be locked to its thread and stay so: the
// engine belongs to that thread.
func Open(name string, o Options) (Engine, error) {
	o = o.withDefaults()
	switch name {
	case "uring":
		return openURing(o)
	case "epoll":
		return openEpoll(o)
	}
	return nil, fmt.Errorf("engine %q: not known", name)
}

// kept is how long an engine in which nothing happens keeps pipes and memory that it could give back.
const kept = time.Second

func bound(timeout *time.Duration) {
	if *timeout < 0 || *timeout > kept {
		*timeout = kept
	}
}
