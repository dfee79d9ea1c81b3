package lb

import (
	"math/bits"
	"sync/atomic"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/internal/flow"
)

// received counts datagrams that came, by how many one system call has brought: 1, 2, up to 4, up to 8 and so on; the last
// place is for more than 64.
type received struct {
	datagrams atomic.Uint64
	batches   [len(admin.UDPBatchBounds) + 1]atomic.Uint64
}

func (r *received) add(n int) {
	r.datagrams.Add(uint64(n))
	r.batches[min(bits.Len(uint(n-1)), len(r.batches)-1)].Add(1)
}

var directions = [...]string{flow.In: "in", flow.Out: "out"}

// sampleDatagrams gives the metrics of a UDP listener.
func (l *listener) sampleDatagrams(emit admin.Emit) {
	for d, direction := range directions {
		r := &l.received[d]
		emit(admin.UDPDatagrams, float64(r.datagrams.Load()), l.name, direction)
		emit(admin.UDPBatch, float64(r.datagrams.Load()), l.name, direction, admin.Sum)
		emit(admin.UDPJoined, float64(l.grouped[d].Load()), l.name, direction)
		emit(admin.UDPCoalesced, float64(l.coalesced[d].Load()), l.name, direction)
		for i := range r.batches {
			emit(admin.UDPBatch, float64(r.batches[i].Load()), l.name, direction, admin.UDPBatch.Bucket(i))
		}
	}
	emit(admin.UDPReused, float64(l.reused.Load()), l.name)
	for reason, n := range l.dropped.all() {
		emit(admin.UDPDropped, float64(n), l.name, reason)
	}
}

// datagramStatus is the same in the document of /v1/status; nil where it is of TCP.
func (l *listener) datagramStatus() *admin.Datagrams {
	if l.port.proto != "udp" {
		return nil
	}
	st := &admin.Datagrams{
		Received: make(map[string]uint64), Joined: make(map[string]uint64), Coalesced: make(map[string]uint64), Batches: make(map[string]map[string]uint64),
		Reused: l.reused.Load(), Dropped: l.dropped.all(),
	}
	for d, direction := range directions {
		r := &l.received[d]
		st.Received[direction], st.Joined[direction], st.Coalesced[direction] = r.datagrams.Load(), l.grouped[d].Load(), l.coalesced[d].Load()
		batches := make(map[string]uint64)
		for i := range r.batches {
			batches[admin.UDPBatch.Bucket(i)] = r.batches[i].Load()
		}
		st.Batches[direction] = batches
	}
	return st
}
