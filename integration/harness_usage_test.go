//go:build linux

package integration

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// usage is what ebb holds of the machine.
type usage struct {
	fds        int
	goroutines int
	rss        int64 // bytes
	peak       int64 // the most of that so far
}

func (e *ebb) usage(t *testing.T) usage {
	t.Helper()
	u := usage{fds: e.fds(t), goroutines: int(e.metrics(t).sum("go_goroutines"))}
	for line := range strings.Lines(e.proc(t, "status")) {
		f := strings.Fields(line)
		if len(f) != 3 || f[0] != "VmRSS:" && f[0] != "VmHWM:" {
			continue
		}
		kib, err := strconv.ParseInt(f[1], 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		if f[0] == "VmRSS:" {
			u.rss = kib << 10
		} else {
			u.peak = kib << 10
		}
	}
	return u
}

// fds counts the open descriptors.
func (e *ebb) fds(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", e.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// cpu is the time that ebb has computed so far, in user space and in the kernel.
func (e *ebb) cpu(t *testing.T) time.Duration {
	t.Helper()
	stat := e.proc(t, "stat")
	f := strings.Fields(stat[strings.LastIndexByte(stat, ')')+1:]) // the name before it may hold anything; f[0] is field 3 of proc(5)
	var ticks int64
	for _, s := range f[11:13] { // utime, stime
		n, err := strconv.ParseInt(s, 10, 64)
		if err != nil {
			t.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * time.Second / 100 // USER_HZ is 100 on every port of Linux that Go has
}

func (e *ebb) proc(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", e.cmd.Process.Pid, file))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// load runs f and gives the share of one core that ebb used meanwhile.
func (e *ebb) load(t *testing.T, f func()) float64 {
	t.Helper()
	cpu, begin := e.cpu(t), time.Now()
	f()
	return float64(e.cpu(t)-cpu) / float64(time.Since(begin))
}

// timeWaitOverflows is how often this kernel had no room for a connection in TIME_WAIT (tcp_max_tw_buckets).
func timeWaitOverflows(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile("/proc/net/netstat")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if names == nil || names[0] != fields[0] {
			names = fields
			continue
		}
		if i := slices.Index(names, "TCPTimeWaitOverflow"); i >= 0 {
			n, err := strconv.Atoi(fields[i])
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
		names = nil
	}
	t.Fatal("/proc/net/netstat has no TCPTimeWaitOverflow")
	return 0
}
