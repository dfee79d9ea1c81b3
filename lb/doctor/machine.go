package doctor

import (
	"fmt"
	"os"
	"syscall"

	"github.com/ebb-lb/ebb/lb/internal/relay"
)

// ThisMachine is the one that we run on, as this process and its user see it.
func ThisMachine() Machine {
	return Machine{
		Proc: os.DirFS("/proc"),
		Descriptors: func() (soft, hard uint64, err error) {
			var l syscall.Rlimit
			if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &l); err != nil {
				return 0, 0, fmt.Errorf("RLIMIT_NOFILE: %w", err)
			}
			return l.Cur, l.Max, nil
		},
		Memlock:    memlockLimit,
		MayBindLow: mayBindLow,
		Open: func(engine string, loops int) error {
			l, err := relay.NewLoops(loops, engine)
			if err != nil {
				return err
			}
			l.Close()
			return nil
		},
		Kernel: kernel,
	}
}
