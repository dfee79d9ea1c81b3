package sock

// Overflow follows the kernel's count of what a socket had no room for. The zero value is for a new socket.
type Overflow struct{ seen uint32 }

// Since gives how many datagrams more the kernel has dropped, by the control messages of one that has come: the kernel says with
// each how many were lost before it. Without such a message that is none.
func (o *Overflow) Since(control []byte) uint32 {
	if len(control) == 0 {
		return 0
	}
	total, ok := overflowed(control)
	if !ok {
		return 0
	}
	more := total - o.seen // the kernel's count goes round, too
	o.seen = total
	return more
}
