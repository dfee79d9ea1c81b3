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

// UD-6: only the peer is heard on the socket of a flow.
func TestUD6StrangersAreNotHeard(t *testing.T) {
	peer, c, stranger := bind(t, localhost), bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, peer.addr)
	upstream := exchange(r, c, peer, 0)
	for range 10 {
		_, _ = stranger.WriteToUDPAddrPort([]byte("forged"), upstream) // an error only tells that it was refused
	}
	peer.send(upstream, []byte("true"))
	c.recv([]byte("true")) // what was forged would be here first
	exchange(r, c, peer, 1)
	c.recv([]byte{0})
	if d := r.opened(); len(d) != 1 || d[0].flow.Out.Load() > 5 {
		t.Errorf("%d flows", len(d))
	}
}

// UD-11: flows that are idle almost at once lose none of their clients' only datagrams.
func TestUD11TheFirstDatagramIsNeverLost(t *testing.T) {
	peer := bind(t, localhost)
	r := newRig(t, localhost, 10*time.Millisecond, peer.addr)
	const clients = 300
	for i := range clients {
		c := bind(t, localhost)
		c.send(r.addr, []byte{byte(i)})
		peer.recv([]byte{byte(i)})
		c.Close()
	}
	if d := r.drops(); len(d) > 0 {
		t.Errorf("dropped %v", d)
	}
}
