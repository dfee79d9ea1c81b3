//go:build !linux || !(amd64 || arm64)

package sock

import "syscall"

func separateOf(syscall.Conn) {}
