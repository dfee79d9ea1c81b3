package pool

import "sync"

// Reclaimer frees the retired epochs of any number of tables. It is one goroutine; a process needs one.
type Reclaimer struct {
	wake chan struct{}
	stop chan struct{}
	done sync.WaitGroup

	mu      sync.Mutex
	waiting []*epoch // retired, not yet freed
}

// NewReclaimer starts a reclaimer. The caller closes it after its tables.
func NewReclaimer() *Reclaimer {
	r := &Reclaimer{wake: make(chan struct{}, 1), stop: make(chan struct{})}
	r.done.Go(func() {
		for {
			select {
			case <-r.wake:
				r.sweep()
			case <-r.stop:
				r.sweep()
				return
			}
		}
	})
	return r
}

// Close frees what is idle and waits for the goroutine. Epochs with leases still held are left to the garbage collector.
func (r *Reclaimer) Close() {
	close(r.stop)
	r.done.Wait()
}

// poke asks for a sweep. It never waits: a sweep that is due will see everything that happened before it.
func (r *Reclaimer) poke() {
	select {
	case r.wake <- struct{}{}:
	default:
	}
}

// retire hands over an epoch that is marked retired.
func (r *Reclaimer) retire(e *epoch) {
	r.mu.Lock()
	r.waiting = append(r.waiting, e)
	r.mu.Unlock()
	r.poke()
}

// sweep frees every waiting epoch that is idle.
func (r *Reclaimer) sweep() {
	var free []*epoch
	r.mu.Lock()
	busy := r.waiting[:0]
	for _, e := range r.waiting {
		if e.idle() {
			free = append(free, e)
		} else {
			busy = append(busy, e)
		}
	}
	clear(r.waiting[len(busy):])
	r.waiting = busy
	r.mu.Unlock()
	for _, e := range free {
		e.free()
	}
}
