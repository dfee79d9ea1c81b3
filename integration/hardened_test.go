//go:build linux

package integration

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// spawnBy starts ebb by another program, which becomes it.
func spawnBy(t *testing.T, args ...string) *ebb {
	t.Helper()
	e := &ebb{logs: newLogs(), ready: make(chan struct{}), exited: make(chan struct{}), cmd: exec.Command(program(t, args[0]), args[1:]...)}
	e.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	stderr, err := e.cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := e.cmd.Start(); err != nil {
		t.Fatal(err)
	}
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
	e.awaitListening(t)
	return e
}

// More sessions are promised than there are descriptors for: ebb says so, what it costs and how to mend it, and serves those
// that it can.
func TestLI8MoreSessionsThanDescriptors(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	echo(t, at(2, port))
	s := setup{hosts: []string{host(2)}, port: port, listener: "max_conns = 5000"}
	file := s.write(t)
	path, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	e := spawnBy(t, "prlimit", "--nofile=256:256", path, "run", "-c", file)
	eventually(t, "the warning", func() bool { return len(e.logs.find("few descriptors")) == 1 })
	if line := fmt.Sprint(e.logs.find("few descriptors")[0]); !strings.Contains(line, "256") || !strings.Contains(line, "fix:") || !strings.Contains(line, "cost:") {
		t.Errorf("%s", line)
	}
	e.addr = s.addr
	c := dial(t, e.addr)
	c.echoes(t, []byte("hello"))
	c.Close()
	if code := e.stop(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// A pipe that nobody reads is a log like any other: traffic passes, and who comes to read finds lines, those from before included.
func TestLI9APipeThatNobodyReads(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "log")
	if err := unix.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	e := startLogging(t, setup{}, path)
	const sessions = 400 // more than the pipe has room for
	for range sessions {
		if err := talk(e.addr); err != nil {
			t.Fatal(err)
		}
	}
	pipe, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer pipe.Close()
	if err := pipe.SetReadDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(pipe)
	for n := 0; n < sessions && lines.Scan(); {
		if !json.Valid(lines.Bytes()) {
			t.Errorf("line %q", lines.Text())
		}
		if strings.Contains(lines.Text(), `"msg":"session"`) {
			n++
		}
	}
	if err := lines.Err(); err != nil {
		t.Error(err)
	}
	if n := e.metrics(t).sum("ebb_log_dropped_total"); n != 0 {
		t.Errorf("%v lines are lost", n)
	}
	if err := talk(e.addr); err != nil {
		t.Error(err)
	}
	if !lines.Scan() || !strings.Contains(lines.Text(), `"msg":"session"`) {
		t.Errorf("then %q", lines.Text())
	}
	if code := e.stop(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}

// As nobody, with no capability but that for low ports, and no file system that could be written to, ebb does what it does, and
// starts no other program.
func TestSE8NobodyOnAReadOnlyRoot(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 {
		t.Skip("to become nobody takes root")
	}
	for i, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			nobodyServes(t, engine, at(byte(77+i), 77))
		})
	}
}

func nobodyServes(t *testing.T, engine string, listen netip.AddrPort) {
	t.Helper()
	port := freePort(t)
	b := echo(t, at(2, port))
	s := setup{hosts: []string{host(2)}, port: port, listen: listen, plain: true, top: onEngine(engine)}
	written := s.write(t)
	dir, err := os.MkdirTemp("", "ebb") // that of the test is not for nobody
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file, binary := filepath.Join(dir, "ebb.toml"), filepath.Join(dir, "ebb")
	path, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	for from, to := range map[string]string{written: file, path: binary} {
		content := slurp(t, from)
		syscall.ForkLock.RLock() // a process that is being started would hold it open for a moment longer, and what is written to is not run
		err := os.WriteFile(to, content, 0o755)
		syscall.ForkLock.RUnlock()
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	e := spawnBy(t, "unshare", "--mount", "sh", "-c", `mount --make-rprivate / && mount -o remount,bind,ro / &&
		{ mountpoint -q /tmp && mount -o remount,bind,ro /tmp; ! touch "$1.new" 2>/dev/null; } || exit 9
		exec setpriv --reuid=65534 --regid=65534 --clear-groups --no-new-privs --inh-caps=-all,+net_bind_service \
			--ambient-caps=-all,+net_bind_service --bounding-set=-all,+net_bind_service "$1" run -c "$2"`, "sh", binary, file)
	e.addr, e.admin = s.addr, s.admin
	if got := e.status(t).Engine; got != engine {
		t.Errorf("engine %s", got)
	}
	status := string(slurp(t, fmt.Sprintf("/proc/%d/status", e.cmd.Process.Pid)))
	for _, want := range []string{"Uid:\t65534\t65534\t65534\t65534", "CapEff:\t0000000000000400", "CapBnd:\t0000000000000400", "NoNewPrivs:\t1"} {
		if !strings.Contains(status, want) {
			t.Errorf("the process has no %q:\n%s", want, status)
		}
	}
	e.base = e.usage(t)
	for range 50 {
		if err := talk(e.addr); err != nil {
			t.Fatal(err)
		}
	}
	e.signal(t, syscall.SIGHUP)
	eventually(t, "the reload", func() bool { return len(e.logs.find("reload")) == 1 })
	if children := slurp(t, fmt.Sprintf("/proc/%d/task/%d/children", e.cmd.Process.Pid, e.cmd.Process.Pid)); len(children) != 0 {
		t.Errorf("it has children: %s", children)
	}
	oracle(t, e, b)
	if code := e.stop(t); code != 0 {
		t.Errorf("exit %d", code)
	}
}
