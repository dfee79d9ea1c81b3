//go:build unix && !linux

package sock

import "golang.org/x/sys/unix"

// hangUp is what poll reports of a stream whose other side has finished, whatever is still to be read.
const hangUp = unix.POLLHUP
