package flow

import (
	"slices"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// What Options.Class may have: the two parts of the octet that IPv4 calls type of service, and IPv6 traffic class.
const (
	ECN  = 0b11       // congestion, RFC 3168
	DSCP = 0b11111100 // differentiated services, RFC 2474
)

// marked is the control message of replies of one class.
type marked struct {
	class   uint8
	control []byte
	next    *marked // of another class
}

// passed is what of a datagram's class the flow passes on.
func (f *Flow) passed(control []byte) uint8 {
	if f.Class == 0 {
		return 0
	}
	return sock.Class(control) & f.Class
}

// replyControl is what a reply of a class takes along. It does not change until the flow has ended.
func (f *Flow) replyControl(class uint8) []byte {
	if class == 0 {
		return f.asked.control
	}
	for m := f.marks; m != nil; m = m.next {
		if m.class == class {
			return m.control
		}
	}
	f.marks = &marked{class, sock.AppendClass(slices.Clip(f.asked.control), f.Client.Addr().Is6(), class), f.marks}
	return f.marks.control
}

// Retune changes what the listening sockets tell of datagrams, to what flows need that begin now. Those that live go on as they are.
func (g *Group) Retune(o *sock.Options) {
	if !o.Listening.Class {
		return
	}
	for _, t := range g.shared.tables {
		t.carrier.hearClass()
	}
}
