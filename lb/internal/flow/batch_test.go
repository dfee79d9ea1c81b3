package flow

import (
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// A flow that ends has sent what was in the batch before.
func TestWhatIsInTheBatchIsSentBeforeTheEnd(t *testing.T) {
	conn, err := sock.ListenUDP(t.Context(), localhost, sock.Default)
	if err != nil {
		t.Fatal(err)
	}
	peer, one, two := bind(t, localhost), bind(t, localhost), bind(t, localhost)
	r := newRigOn(t, conn, Options{Mode: OneWay, IdleTimeout: time.Minute, Requests: 2}, peer.addr)
	r.most.Store(1)
	for i, c := range []endpoint{one, one, one, two, one} { // full, then evicted twice
		c.send(r.addr, []byte{byte(i)})
	}
	r.run()
	for i := range 5 {
		peer.recv([]byte{byte(i)})
	}
	for i, w := range []end.Word{end.Complete, end.Evicted, end.Evicted} {
		r.end(i, w)
		if n, want := r.opened()[i].flow.In.Load(), int64([]int{2, 1, 1}[i]); n != want {
			t.Errorf("flow %d has sent %d bytes, expected %d", i, n, want)
		}
	}
	if d := r.drops(); len(d) > 0 {
		t.Errorf("dropped %v", d)
	}
}

// The measured value is 0 on both carriers.
func TestNothingIsAllocatedForADatagram(t *testing.T) {
	peer, c := bind(t, localhost), bind(t, localhost)
	r := newRig(t, localhost, time.Minute, peer.addr)
	b := make([]byte, 64)
	for _, e := range []endpoint{c, peer} {
		e.SetDeadline(time.Now().Add(patience))
	}
	trip := func() {
		if _, err := c.WriteToUDPAddrPort(b, r.addr); err != nil {
			t.Fatal(err)
		}
		n, from, err := peer.ReadFromUDPAddrPort(b)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := peer.WriteToUDPAddrPort(b[:n], from); err != nil {
			t.Fatal(err)
		}
		if _, _, err := c.ReadFromUDPAddrPort(b); err != nil {
			t.Fatal(err)
		}
	}
	trip()
	if n := testing.AllocsPerRun(500, trip); n >= 1 {
		t.Errorf("%v allocations for a round trip", n)
	}
}
