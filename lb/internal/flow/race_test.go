package flow

import (
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
)

// UD-12: datagrams, the idle timeout, kills from elsewhere and peers that have to be left meet in every order. Each flow ends once
// (the rig looks at that), and each datagram has arrived or is counted.
func TestUD12EndsMeetDatagrams(t *testing.T) {
	const clients, rounds = 4, 60 // fewer datagrams than a socket has room for
	peer := bind(t, localhost)
	r := newRig(t, localhost, time.Millisecond, peer.addr)
	var ends []endpoint
	for range clients {
		ends = append(ends, bind(t, localhost))
	}
	var arrived atomic.Int64
	var reading sync.WaitGroup
	defer reading.Wait()
	defer peer.Close()
	reading.Go(func() {
		b := make([]byte, 8)
		for {
			if _, err := peer.Read(b); err != nil {
				return
			}
			arrived.Add(1)
		}
	})
	sent := 0
	for range rounds {
		r.unfit.Store(rand.N(4) == 0)
		for _, c := range ends {
			c.send(r.addr, []byte("x"))
			sent++
		}
		for _, d := range r.opened() {
			if rand.N(3) == 0 {
				d.mu.Lock()
				connected := d.connected > 0
				d.mu.Unlock()
				if connected {
					d.flow.Kill(end.AdminKilled)
				}
			}
		}
		time.Sleep(rand.N(2 * time.Millisecond)) // around the idle timeout
	}
	r.await("each datagram, and the end of each flow", func() bool {
		r.mu.Lock()
		defer r.mu.Unlock()
		for _, d := range r.flows {
			if len(d.ended) != 1 {
				return false
			}
		}
		return arrived.Load()+int64(len(r.dropped))+r.overflowed[In].Load() == int64(sent)
	})
}
