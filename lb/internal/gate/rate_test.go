package gate

import (
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestLI3RateSlides(t *testing.T) {
	var r Rate
	now := time.Minute
	for i, step := range []struct {
		pass time.Duration
		want bool
	}{
		{0, true}, {0, true}, {0, true}, {0, false}, // three at once, and the fourth is one too many
		{time.Second/3 - 2, false}, {2, true}, {0, false}, // one more after a third of the second
		{time.Hour, true}, {0, true}, {0, true}, {0, false}, // what was not used is not saved up
	} {
		now += step.pass
		if got := r.take(3, now); got != step.want {
			t.Errorf("step %d: %v, expected %v", i, got, step.want)
		}
	}
	if !r.Take(0) || !r.Ask(0) {
		t.Error("no limit, and nobody is let in")
	}
}

func TestRateOfManyAtOnce(t *testing.T) {
	r := new(Rate)
	var in atomic.Int64
	var all sync.WaitGroup
	for range 4 {
		all.Go(func() {
			for range 1000 {
				if r.take(100, time.Minute) {
					in.Add(1)
				}
			}
		})
	}
	all.Wait()
	if in.Load() != 100 {
		t.Errorf("%d let in at once, expected 100", in.Load())
	}
	r = new(Rate)
	if !r.Ask(1) || r.due.Load() != 0 {
		t.Error("a question lets somebody in")
	}
	r.due.Store(int64(time.Since(began) + time.Hour))
	if r.Ask(1) || r.Take(1) {
		t.Error("let in an hour too early")
	}
}
