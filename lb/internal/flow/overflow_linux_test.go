package flow

import (
	"testing"
	"time"
)

// What the kernel has no room for is counted, at both sockets: sent is received and overflowed.
func TestUD17KernelDropsAreCounted(t *testing.T) {
	for d, name := range []string{In: "in", Out: "out"} {
		t.Run(name, func(t *testing.T) {
			peer, c := bind(t, localhost), bind(t, localhost)
			r := newRig(t, localhost, time.Minute, peer.addr)
			c.send(r.addr, nil)
			from, to := c, r.addr
			if upstream := peer.recv(nil); Direction(d) == Out {
				from, to = peer, upstream
			}
			before := r.received[d].Load()
			const sent = 2000
			r.stalled[d].Lock()
			for range sent {
				from.send(to, make([]byte, 1000))
			}
			r.stalled[d].Unlock()
			more := int64(0)
			for polls := 0; ; polls++ {
				if polls%64 == 0 { // brings the count along
					from.send(to, nil)
					more++
				}
				if r.received[d].Load()+r.overflowed[d].Load() == before+sent+more {
					break
				}
				if polls == 64*100 {
					t.Fatalf("sent %d, received %d, overflowed %d", sent+more, r.received[d].Load()-before, r.overflowed[d].Load())
				}
				time.Sleep(time.Millisecond) // sockets have no event to wait for
			}
			if n := r.overflowed[d].Load(); n == 0 {
				t.Error("nothing has overflowed")
			}
		})
	}
}
