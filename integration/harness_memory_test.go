//go:build linux

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// memory is a bound on what a process may take, with what the kernel holds for it where that can be had.
type memory struct {
	under []string // starts a command in it
	group string   // the folder of its cgroup; "" is none
	kills string   // the file in it that counts those killed for want of memory
	peak  string   // the file in it with the most that was taken; older kernels have none
}

// bounded makes a cgroup of its own with so much memory, of version 2 or 1, if it can.
func bounded(t *testing.T, limit int64) memory {
	t.Helper()
	name := fmt.Sprintf("ebb-test-%d-%s", os.Getpid(), t.Name())
	for _, m := range []struct{ root, limit, kills, peak string }{
		{"/sys/fs/cgroup", "memory.max", "memory.events", "memory.peak"},
		{"/sys/fs/cgroup/memory", "memory.limit_in_bytes", "memory.oom_control", "memory.max_usage_in_bytes"},
	} {
		group := filepath.Join(m.root, name)
		if _, err := os.Stat(filepath.Join(m.root, "cgroup.procs")); err != nil || os.Mkdir(group, 0o755) != nil {
			continue // no cgroup is here, or none may be made
		}
		t.Cleanup(func() {
			eventually(t, "the end of the cgroup", func() bool { return os.Remove(group) == nil })
		})
		if os.WriteFile(filepath.Join(group, m.limit), []byte(strconv.FormatInt(limit, 10)), 0) != nil {
			continue // the controller is not handed down to here
		}
		join := fmt.Sprintf("echo $$ >'%s/cgroup.procs' && exec \"$0\" \"$@\"", group)
		return memory{[]string{"sh", "-c", join}, group, filepath.Join(group, m.kills), filepath.Join(group, m.peak)}
	}
	t.Log("no cgroup can be made here: what the process takes is measured, not bounded, without what the kernel holds for it")
	return memory{}
}

// taken tells the most memory that ebb has taken, in bytes, and how many processes were killed for want of it.
func (m memory) taken(t *testing.T, e *ebb) (most int64, killed int) {
	t.Helper()
	if m.group == "" {
		return e.usage(t).peak, 0
	}
	if text, err := os.ReadFile(m.peak); err == nil {
		if most, err = strconv.ParseInt(strings.TrimSpace(string(text)), 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(m.kills)
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); f[0] == "oom_kill" {
			if killed, err = strconv.Atoi(f[1]); err != nil {
				t.Fatal(err)
			}
		}
	}
	return most, killed
}
