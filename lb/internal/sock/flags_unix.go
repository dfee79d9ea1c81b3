//go:build unix

package sock

import "syscall"

// msgTrunc is recvmsg's flag for a datagram that was larger than the buffer.
const msgTrunc = syscall.MSG_TRUNC
