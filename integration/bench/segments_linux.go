package main

import (
	"encoding/binary"
	"unsafe"

	"golang.org/x/sys/unix"
)

// segmentsOf is the control message that has a message cut into datagrams of a size (udp(7), UDP_SEGMENT).
func segmentsOf(size uint16) []byte {
	b := make([]byte, unix.CmsgSpace(2))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = unix.SOL_UDP, unix.UDP_SEGMENT
	h.SetLen(unix.CmsgLen(2))
	binary.NativeEndian.PutUint16(b[unix.CmsgLen(0):], size)
	return b
}
