package doctor

import (
	"fmt"

	"golang.org/x/sys/unix"
)

func memlockLimit() (uint64, error) {
	var l unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_MEMLOCK, &l); err != nil {
		return 0, fmt.Errorf("RLIMIT_MEMLOCK: %w", err)
	}
	return l.Cur, nil
}

// mayBindLow reads the effective capabilities of this process.
func mayBindLow() bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var data [2]unix.CapUserData
	if err := unix.Capget(&header, &data[0]); err != nil {
		return false
	}
	return data[0].Effective&(1<<unix.CAP_NET_BIND_SERVICE) != 0
}

func kernel() (major, minor int, text string) {
	var u unix.Utsname
	if unix.Uname(&u) != nil {
		return 0, 0, ""
	}
	text = unix.ByteSliceToString(u.Release[:])
	_, _ = fmt.Sscanf(text, "%d.%d", &major, &minor) // what is not there stays zero
	return major, minor, text
}
