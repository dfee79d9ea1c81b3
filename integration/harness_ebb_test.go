//go:build linux

package integration

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/integration/link"
)

// patience is how long a test waits for what must come. It is no expectation: a busy machine is slow.
const patience = time.Minute

// ebb is a running process under test.
type ebb struct {
	addr   netip.AddrPort // of its first listener
	admin  string         // host:port
	logs   *logs
	space  *link.Space // whose network it has; nil is the test's own
	traced bool        // built with the race detector
	checks bool        // its pool probes its peers, which counts on the peers' side
	base   usage

	cmd    *exec.Cmd
	ready  chan struct{} // closed when it said so on --ready-fd
	exited chan struct{} // closed when it is gone
	code   int           // its exit code, once exited is closed
}

// start runs ebb with a config file made from s and waits until it is ready. It is stopped with the test.
func start(t *testing.T, s setup) *ebb {
	t.Helper()
	e := launch(t, s)
	e.awaitReady(t)
	return e
}

// launch is start without the wait: for what cannot be ready yet. It returns when the listeners are bound.
func launch(t *testing.T, s setup) *ebb {
	t.Helper()
	file := s.write(t)
	e := spawnIn(t, s.place, s.plain, "-c", file)
	e.addr, e.admin, e.checks = s.addr, s.admin, s.check != ""
	e.awaitListening(t)
	e.base = e.usage(t)
	return e
}

// startFlags runs ebb from flags alone, to which the harness adds --admin, and waits until it is ready.
func startFlags(t *testing.T, addr netip.AddrPort, args ...string) *ebb {
	t.Helper()
	admin := netip.AddrPortFrom(loopback, freePort(t)).String()
	e := spawn(t, false, append([]string{"--admin", admin}, args...)...)
	e.addr, e.admin = addr, admin
	e.awaitReady(t)
	return e
}

// spawn starts ebb run with --ready-fd and args.
func spawn(t *testing.T, plain bool, args ...string) *ebb {
	t.Helper()
	return spawnIn(t, place{}, plain, args...)
}

// place is where a process runs. The zero value is where the test does.
type place struct {
	space *link.Space // network namespace
	under []string    // a command that runs it and has the same process ID
}

// spawnIn is spawn in a place.
func spawnIn(t *testing.T, p place, plain bool, args ...string) *ebb {
	t.Helper()
	binary := raceBinary
	if plain {
		binary = plainBinary
	}
	path, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	readyRead, readyWrite, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	e := &ebb{logs: newLogs(), traced: !plain, space: p.space, ready: make(chan struct{}), exited: make(chan struct{})}
	line := append(append(p.under[:len(p.under):len(p.under)], path, "run", "--ready-fd", "3"), args...)
	e.cmd = exec.Command(line[0], line[1:]...)
	e.cmd.ExtraFiles = []*os.File{readyWrite}
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL} // outlives no test, not even one that crashed
	stderr, err := e.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	start := e.cmd.Start
	if p.space != nil {
		start = func() error { return p.space.Do(e.cmd.Start) }
	}
	if err := start(); err != nil {
		t.Fatal(err)
	}
	readyWrite.Close()
	go func() {
		defer readyRead.Close()
		if line, err := bufio.NewReader(readyRead).ReadString('\n'); err == nil && line == "\n" {
			close(e.ready)
		}
	}()
	go func() {
		e.logs.read(stderr)
		e.code = exitCode(e.cmd.Wait())
		close(e.exited)
	}()
	t.Cleanup(func() {
		_ = e.cmd.Process.Kill()
		<-e.exited
		if t.Failed() {
			t.Logf("the last lines of ebb's log:\n%s", e.logs.tail(15))
		}
	})
	return e
}

func exitCode(err error) int {
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &exit):
		return exit.ExitCode()
	}
	return -1
}

func (e *ebb) awaitListening(t *testing.T) {
	t.Helper()
	eventually(t, "the listeners", func() bool {
		select {
		case <-e.exited:
			t.Fatalf("ebb exited with %d:\n%s", e.code, e.logs.tail(20))
		default:
		}
		return len(e.logs.find("listening")) > 0
	})
}

func (e *ebb) awaitReady(t *testing.T) {
	t.Helper()
	select {
	case <-e.ready:
	case <-e.exited:
		t.Fatalf("ebb exited with %d:\n%s", e.code, e.logs.tail(20))
	case <-time.After(patience):
		t.Fatalf("ebb did not get ready:\n%s", e.logs.tail(20))
	}
	e.base = e.usage(t)
}

// isReady tells whether ebb has said that it is ready.
func (e *ebb) isReady() bool {
	select {
	case <-e.ready:
		return true
	default:
		return false
	}
}

// signal sends one.
func (e *ebb) signal(t *testing.T, s os.Signal) {
	t.Helper()
	if err := e.cmd.Process.Signal(s); err != nil {
		t.Fatal(err)
	}
}

// stop sends SIGTERM and waits for the end. It gives the exit code.
func (e *ebb) stop(t *testing.T) int {
	t.Helper()
	e.signal(t, syscall.SIGTERM)
	return e.wait(t)
}

func (e *ebb) wait(t *testing.T) int {
	t.Helper()
	select {
	case <-e.exited:
	case <-time.After(patience):
		t.Fatal("ebb did not exit")
	}
	return e.code
}

func (e *ebb) alive() bool {
	select {
	case <-e.exited:
		return false
	default:
		return true
	}
}

// runEbb runs the binary to its end, for what ends by itself.
func runEbb(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	path, err := raceBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	code = exitCode(cmd.Run())
	return code, out.String(), errs.String()
}

// wantLines waits until ebb has logged a message so often, for a line is read some time after it was written, and no more often.
func (e *ebb) wantLines(t *testing.T, n int, msg string, pairs ...string) (found []record) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d lines %q %q", n, msg, pairs), func() bool {
		found = e.logs.find(msg, pairs...)
		return len(found) >= n
	})
	if len(found) > n {
		t.Errorf("%d lines %q %q, expected %d: %v", len(found), msg, pairs, n, found)
	}
	return found
}

// linesFollow waits while ebb is 2000 lines or more behind what is asked of it: fewer than max_conns is by default, and than its log
// holds for a slow reader. It is false if no line comes any more.
func (e *ebb) linesFollow(begun func() int64) bool {
	for give := time.Now().Add(patience); begun()-e.logs.count() > 2000; time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			return false
		}
	}
	return true
}

// eventually polls until f says yes; there is no event to wait for in another process.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(patience); !f(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%s: not within %v", what, patience)
		}
	}
}
