package lb

import (
	"runtime"
	"testing"
)

// A flow takes at most 1 KiB of the heap; the measured value is 775 to 780 bytes on a loop.
func TestFlowsAreSmall(t *testing.T) {
	const flows = 2000
	if engine() == "portable" {
		t.Skip("the portable carrier has a goroutine for each flow")
	}
	r, _ := datagrams(t, "127.0.0.2")
	r.serve()
	clients := make([]udpClient, flows)
	for i := range clients {
		clients[i] = r.udp()
	}
	clients[0].ask()
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what the first has left to finalizers
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	before := heap()
	for _, c := range clients[1:] {
		c.ask()
	}
	if n := (heap() - before) / (flows - 1); n > 1024 {
		t.Errorf("a flow takes %d bytes", n)
	} else {
		t.Log(n, "bytes for each flow")
	}
	r.cutAll()
}
