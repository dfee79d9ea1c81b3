//go:build linux

package integration

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// forbidIOUring is the environment by which this binary becomes another program, for which io_uring is forbidden.
const forbidIOUring = "EBB_TEST_FORBID_IO_URING"

// filtered is ebb under a seccomp filter like those of containers.
func filtered(t *testing.T) place {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return place{under: []string{"env", forbidIOUring + "=1", self}}
}

// execFiltered installs the filter and becomes the program that the arguments name.
func execFiltered() error {
	runtime.LockOSThread()
	filter := []unix.SockFilter{
		{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // seccomp_data.nr
		{Code: unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K, Jf: 1, K: unix.SYS_IO_URING_SETUP},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
		{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
	}
	prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	if _, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog))); errno != 0 {
		return fmt.Errorf("seccomp: %w", errno)
	}
	if err := os.Unsetenv(forbidIOUring); err != nil {
		return err
	}
	return syscall.Exec(os.Args[1], os.Args[1:], os.Environ())
}

// TestIOUringForbidden starts ebb where io_uring is forbidden by a filter, refused as the sysctl does it, or may lock no memory:
// it serves, and says in one line why it is not on io_uring, if it is not.
func TestIOUringForbidden(t *testing.T) {
	for _, c := range []struct {
		name   string
		place  place
		engine string // "" is either
		reason string
	}{
		{"seccomp", filtered(t), "epoll", "engine uring: io_uring_setup: operation not permitted"},
		{"sysctl", failing(t, "io_uring_setup:error=EPERM"), "epoll", "engine uring: io_uring_setup: operation not permitted"},
		{"no memory", failing(t, "io_uring_setup:error=ENOMEM"), "epoll", "engine uring: io_uring_setup: cannot allocate memory"},
		{"no buffer ring", failing(t, "io_uring_register:error=ENOMEM"), "epoll", "engine uring: register buffer ring: cannot allocate memory"},
		{"nothing may be locked", place{under: []string{"prlimit", "--memlock=0:0", "setpriv", "--bounding-set=-ipc_lock", "--inh-caps=-ipc_lock"}}, "", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			if c.engine == "" && os.Getuid() != 0 && os.Getenv("CI") != "true" {
				t.Skip("to give up a capability takes root")
			}
			b := echo(t, at(2, freePort(t)))
			e := start(t, setup{place: c.place, plain: true, hosts: []string{host(2)}, port: b.addr.Port()})
			for range 4 {
				if err := talk(e.addr); err != nil {
					t.Error(err)
				}
			}
			engine, want := e.status(t).Engine, 1
			if engine == "uring" {
				want = 0
			}
			lines := e.wantLines(t, want, "falling back")
			t.Logf("engine %s, %v", engine, lines)
			if c.engine != "" && (engine != c.engine || len(lines) != 1 || lines[0].text("reason") != c.reason) {
				t.Errorf("engine %s, %v, want %s for %q", engine, lines, c.engine, c.reason)
			}
			oracle(t, e, b)
		})
	}
}
