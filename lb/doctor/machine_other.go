//go:build !linux

package doctor

import "os"

func memlockLimit() (uint64, error) { return 1 << 62, nil }

func mayBindLow() bool { return os.Geteuid() == 0 }

func kernel() (major, minor int, text string) { return 0, 0, "" }
