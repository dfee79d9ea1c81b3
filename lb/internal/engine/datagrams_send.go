//go:build linux && (amd64 || arm64)

package engine

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// Send sends a datagram on a connected socket with the next Turn, which tells what has failed; false means that there is no room
// until then.
func (d *Datagrams) Send(fd int, payload []byte, tag uint32) bool {
	e, _ := d.sending(fd, payload, sending{Peer, tag, payload})
	d.urgent = d.urgent || e != nil
	return e != nil
}

// Reply is Send on a Listening socket: to a name, with a control message or none.
func (d *Datagrams) Reply(fd int, payload, name, control []byte, tag uint32) bool {
	e, a := d.sending(fd, payload, sending{Listening, tag, payload})
	switch {
	case e == nil:
		return false
	case len(control) == 0: // 6.1
		e.off, e.fileIndex = uint64(uintptr(unsafe.Pointer(&name[0]))), uint32(len(name))
	default:
		a.iov[0] = unix.Iovec{Base: first(payload)}
		a.iov[0].SetLen(len(payload))
		a.msg = unix.Msghdr{Name: &name[0], Namelen: uint32(len(name)), Iov: &a.iov[0], Control: &control[0]}
		a.msg.SetIovlen(1)
		a.msg.SetControllen(len(control))
		e.opcode, e.addr, e.len = opSendmsg, uint64(uintptr(unsafe.Pointer(&a.msg))), 1
	}
	return true
}

func (d *Datagrams) sending(fd int, payload []byte, s sending) (*sqe, *arena) {
	if len(d.sends) == maxSends {
		return nil, nil
	}
	b := first(payload)
	e, a := d.entryAndArena()
	e.opcode, e.fd, e.flags, e.addr, e.len = opSend, int32(fd), sqeCQESkipSuccess, uint64(uintptr(unsafe.Pointer(b))), uint32(len(payload))
	e.opFlags = unix.MSG_DONTWAIT | unix.MSG_NOSIGNAL // so it is done, or has failed, when it has been submitted
	e.userData = kindSend.data(Socket(len(d.sends)), 0)
	d.sends = append(d.sends, s)
	return e, a
}

// nothing is what an empty datagram is sent from.
var nothing byte

func first(payload []byte) *byte {
	if len(payload) == 0 {
		return &nothing
	}
	return &payload[0]
}
