//go:build linux && (amd64 || arm64)

package engine

import (
	"syscall"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// Datagram is what a turn brings: a datagram that has come, the error with which a receive has failed, or a datagram that could
// not be sent. It is good until the next turn.
type Datagram struct {
	Kind      Kind
	Unsent    bool   // Tag is that of Send or Reply, Payload what was not sent, for Err
	Tag       uint32 // of Take
	Payload   []byte
	Name      *[sock.SockaddrSize]byte // Listening: of who has sent it
	Control   []byte
	Truncated bool
	Coalesced bool          // it came in one message with the one before it
	Err       syscall.Errno // nothing has come; the receive goes on
}

// AppendEach adds a datagram to others, or each of those that the kernel has handed over as one (sock.Coalesce).
func AppendEach(to []Datagram, d Datagram) []Datagram {
	if size := sock.SegmentSize(d.Control); size > 0 && !d.Truncated {
		for all := d.Payload; len(all) > size; all = d.Payload {
			d.Payload = all[:size:size]
			to = append(to, d)
			d.Payload, d.Coalesced = all[size:], true
		}
	}
	return append(to, d)
}
