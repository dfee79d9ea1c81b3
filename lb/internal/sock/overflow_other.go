//go:build !linux

package sock

import "syscall"

func countOverflowOf(syscall.Conn) {}

func overflowed([]byte) (total uint32, ok bool) { return 0, false }
