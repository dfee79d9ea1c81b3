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

// lingering is how long a turn waits for events by a call that the runtime does not know of, before it makes one that may sleep
// for long: that costs the scheduler's bookkeeping, and wakes its monitor over and over. It is longer than the kernel's tick, for
// a timeout before the next tick has to be programmed into the timer, which costs more than is won (1 ms was worse than none).
// The thread keeps its P meanwhile, so the caller sees to it that there are more. Who stops the world signals the thread until
// it has stopped, and a signal ends the call.
const lingering = 5 * time.Millisecond

// linger is how much of a wait is to be lingered, and whether there is more of it.
func linger(timeout time.Duration) (moment time.Duration, more bool) {
	if timeout >= 0 && timeout <= lingering {
		return timeout, false
	}
	return lingering, true
}
