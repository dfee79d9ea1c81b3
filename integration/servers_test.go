//go:build linux

package integration

import (
	"bytes"
	"context"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
)

// program finds a program that .ci/deps installs. Where it is missing the test is skipped; with CI=true that is a failure.
func program(t *testing.T, name string) string {
	t.Helper()
	if path, err := exec.LookPath(name); err == nil {
		return path
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	found = append([]string{"/usr/sbin/" + name}, found...)
	for i := len(found) - 1; i >= 0; i-- { // the newest
		if _, err := os.Stat(found[i]); err == nil {
			return found[i]
		}
	}
	if os.Getenv("CI") == "true" {
		t.Fatalf("%s is not installed; make deps installs it", name)
	}
	t.Skipf("%s is not installed; make deps installs it", name)
	return ""
}

// account is who a real server runs as. Some refuse to be root.
type account struct{ uid, gid uint32 }

// anyone is the account that a server gets which refuses to be root; nil if the tests are not root.
func anyone(t *testing.T, name string) *account {
	t.Helper()
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup(name)
	if err != nil {
		t.Fatal(err)
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err1 != nil || err2 != nil {
		t.Fatal(err1, err2)
	}
	return &account{uint32(uid), uint32(gid)}
}

// folder makes a folder of an account. That of the test is behind one that only its own user may enter.
func (a *account) folder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ebb-server-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if a != nil {
		if err := os.Chown(dir, int(a.uid), int(a.gid)); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func (a *account) command(dir string, args []string) *exec.Cmd {
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if a != nil {
		cmd.SysProcAttr.Credential = &syscall.Credential{Uid: a.uid, Gid: a.gid}
	}
	return cmd
}

// server is a running process of somebody else.
type server struct {
	cmd    *exec.Cmd
	out    safeBuffer
	exited chan struct{}
}

// safeBuffer is what a process has said so far.
type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// run starts a server in a folder. It is killed with the test.
func (a *account) run(t *testing.T, dir string, args ...string) *server {
	t.Helper()
	s := &server{cmd: a.command(dir, args), exited: make(chan struct{})}
	s.cmd.Stdout, s.cmd.Stderr = &s.out, &s.out
	s.cmd.WaitDelay = patience // what it has started may outlive it, and hold its output
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		_ = s.cmd.Wait()
		close(s.exited)
	}()
	t.Cleanup(func() {
		s.end(syscall.SIGKILL)
		if t.Failed() {
			t.Logf("%s said:\n%s", args[0], s.out.String())
		}
	})
	return s
}

// end sends a signal and waits for the exit.
func (s *server) end(sig syscall.Signal) {
	_ = s.cmd.Process.Signal(sig)
	<-s.exited
}

// awaitServer polls until a server answers its own client.
func awaitServer(t *testing.T, s *server, answers func() bool) {
	t.Helper()
	eventually(t, s.cmd.Path+" to answer", func() bool {
		select {
		case <-s.exited:
			t.Fatalf("%s exited:\n%s", s.cmd.Path, s.out.String())
		default:
		}
		return answers()
	})
}

// try runs a client to its end and gives what it said.
func try(t *testing.T, args ...string) (out string, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput()
	return strings.TrimSpace(string(b)), err
}

// must is try where nothing may go wrong.
func must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := try(t, args...)
	if err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// background runs a client that is expected not to end by itself soon. It is killed with the test.
func background(t *testing.T, args ...string) *server {
	t.Helper()
	return (*account)(nil).run(t, t.TempDir(), args...)
}

// ends counts the sessions by the word for their end.
func (e *ebb) ends() map[string]int {
	count := make(map[string]int)
	for _, s := range e.logs.ended() {
		count[s.End]++
	}
	return count
}

// allEnded waits until no session lives and each has its line, and tells how many there were.
func (e *ebb) allEnded(t *testing.T) (n int) {
	t.Helper()
	eventually(t, "the end of all sessions", func() bool {
		var active, total int
		for _, l := range e.status(t).Listeners {
			active, total = active+int(l.Active), total+int(l.Total)
		}
		n = len(e.logs.ended())
		return active == 0 && n == total
	})
	return n
}

// wantEnds expects that every session ended with one of the words.
func (e *ebb) wantEnds(t *testing.T, words ...string) {
	t.Helper()
	ends := e.ends()
	for _, w := range words {
		delete(ends, w)
	}
	if len(ends) > 0 {
		t.Errorf("sessions ended by %v, expected only %v", ends, words)
	}
}

// awaitLoad waits until so many sessions live and bytes move.
func (e *ebb) awaitLoad(t *testing.T, sessions int) {
	t.Helper()
	const enough = 100_000
	begin := e.metrics(t).sum("ebb_bytes_total")
	eventually(t, "load", func() bool {
		m := e.metrics(t)
		return m.sum("ebb_sessions_active") >= float64(sessions) && m.sum("ebb_bytes_total") >= begin+enough
	})
}

// front is an address for ebb to listen on, and its parts as clients want them.
func front(t *testing.T) (addr netip.AddrPort, ip, port string) {
	t.Helper()
	addr = netip.AddrPortFrom(loopback, freePort(t))
	return addr, addr.Addr().String(), strconv.Itoa(int(addr.Port()))
}
