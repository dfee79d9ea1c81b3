package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
)

// patience bounds how long a test waits for what must come.
const patience = 30 * time.Second

var freeAddrs atomic.Uint32 // that were given

// freeAddr gives a loopback address, with a port, that nobody listens on. It is nobody else's: neither another call, a listener at
// port 0, nor a client can get its port meanwhile.
func freeAddr(t *testing.T) string {
	t.Helper()
	n := freeAddrs.Add(1)
	ln, err := net.Listen("tcp", fmt.Sprintf("127.88.%d.%d:0", n>>8, n&255))
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// echo serves what it is sent, until the test ends.
func echo(t *testing.T) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			serving.Go(func() {
				defer c.Close()
				_, _ = io.Copy(c, c)
			})
		}
	})
	t.Cleanup(func() { ln.Close(); serving.Wait() })
	return ln.Addr().String()
}

// inherited makes a pipe whose write end looks like one that was passed on by the parent: it has a number and stays open
// on exec. Who takes the number closes it.
func inherited(t *testing.T) (r *os.File, fd int) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	t.Cleanup(func() { r.Close() })
	if err := r.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	if fd, err = syscall.Dup(int(w.Fd())); err != nil {
		t.Fatal(err)
	}
	return r, fd
}

// command is a run of ebb in this process.
type command struct {
	stop           context.CancelFunc
	stdout, stderr lines
	code           chan int
}

func begin(t *testing.T, args ...string) *command {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	c := &command{stop: stop, code: make(chan int, 1)}
	go func() { c.code <- run(ctx, args, &c.stdout, &c.stderr) }()
	t.Cleanup(stop)
	return c
}

func (c *command) wait(t *testing.T) int {
	t.Helper()
	select {
	case code := <-c.code:
		return code
	case <-time.After(patience):
		t.Fatal("ebb did not return")
		return 0
	}
}

// runAll is a command that ends by itself.
func runAll(t *testing.T, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	c := begin(t, args...)
	code = c.wait(t)
	return code, c.stdout.String(), c.stderr.String()
}

func TestRun(t *testing.T) {
	listen, adminAddr := freeAddr(t), freeAddr(t)
	ready, fd := inherited(t)
	c := begin(t, "run", "--listen", "tcp://"+listen, "--to", echo(t), "--admin", adminAddr, "--ready-fd", strconv.Itoa(fd))

	if said, err := io.ReadAll(ready); err != nil || string(said) != "\n" { // ReadAll needs the end too
		t.Fatalf("ready: %q, %v", said, err)
	}
	conn, err := net.Dial("tcp", listen)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write([]byte("ebb")); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 3)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "ebb" {
		t.Fatalf("echo: %q, %v", got, err)
	}

	code, table, stderr := runAll(t, "status", "--admin", adminAddr)
	if code != exitDone || stderr != "" || !strings.Contains(table, "tcp://"+listen) || !strings.Contains(table, ": ready\n") {
		t.Errorf("status: %d, %s%s", code, table, stderr)
	}
	code, document, stderr := runAll(t, "status", "--admin", adminAddr, "--json")
	var s admin.Status
	if err := json.Unmarshal([]byte(document), &s); err != nil || code != exitDone || stderr != "" {
		t.Fatalf("status --json: %d, %v, %s%s", code, err, document, stderr)
	}
	if s.Version != buildVersion() || len(s.Listeners) != 1 || s.Listeners[0].Active != 1 {
		t.Errorf("status --json: %+v", s)
	}

	conn.Close()
	c.stop()
	if code := c.wait(t); code != exitDone {
		t.Errorf("exit code %d", code)
	}
	if len(c.stdout.String()) > 0 {
		t.Errorf("stdout: %s", c.stdout.String())
	}
	var said []string
	for line := range strings.Lines(c.stderr.String()) {
		var record struct{ Msg string }
		if err := json.Unmarshal([]byte(line), &record); err != nil {
			t.Errorf("%v: %s", err, line)
		}
		said = append(said, record.Msg)
	}
	for _, msg := range []string{"listening", "ready", "session", "stopping", "stopped"} {
		if !slices.Contains(said, msg) {
			t.Errorf("no line with msg=%s:\n%s", msg, c.stderr.String())
		}
	}
}

// TestRunLogReaderGone takes away who reads the log. That is no reason to die, not even with the last line.
func TestRunLogReaderGone(t *testing.T) {
	listen := freeAddr(t)
	cmd := exec.Command("ebb", "run", "--listen", "tcp://"+listen, "--to", echo(t), "--admin", "off")
	log, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	guard := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	defer guard.Stop()
	for in := bufio.NewScanner(log); in.Scan() && !strings.Contains(in.Text(), `"msg":"ready"`); {
	}
	log.Close()
	for range 3 { // sessions, each with a line that fails
		conn, err := net.Dial("tcp", listen)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := conn.Write([]byte("e")); err != nil {
			t.Fatal(err)
		}
		if _, err := io.ReadFull(conn, make([]byte, 1)); err != nil {
			t.Error(err)
		}
		conn.Close()
	}
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
}

// stuck is a log target that takes nothing until it is freed.
type stuck struct{ freed chan struct{} }

func (s stuck) Write(b []byte) (int, error) {
	<-s.freed
	return len(b), nil
}

func TestRunLogStuck(t *testing.T) {
	target := stuck{make(chan struct{})}
	defer close(target.freed)
	ready, fd := inherited(t)
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, []string{"run", "--listen", "tcp://" + freeAddr(t), "--to", "127.0.0.1:1", "--admin", "off", "--ready-fd", strconv.Itoa(fd)}, io.Discard, target)
	}()
	if said, err := io.ReadAll(ready); err != nil || string(said) != "\n" {
		t.Fatalf("ready: %q, %v", said, err)
	}
	stop()
	select {
	case got := <-code:
		if got != exitDone {
			t.Errorf("exit code %d", got)
		}
	case <-time.After(patience):
		t.Fatal("ebb did not return")
	}
}

func TestRunText(t *testing.T) {
	c := begin(t, "run", "--listen", "tcp://"+freeAddr(t), "--to", "127.0.0.1:1", "--admin", "off", "--log-format", "text", "--log-level", "warn")
	c.stop()
	if code := c.wait(t); code != exitDone || strings.Contains(c.stderr.String(), "level=INFO") {
		t.Errorf("%d, %s", code, c.stderr.String())
	}
}

func TestRunAddressInUse(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	_, port, _ := net.SplitHostPort(taken.Addr().String())
	other := freeAddr(t)
	for _, c := range []struct {
		name          string
		listen, admin string
		want          []string
	}{
		{"listener", taken.Addr().String(), other, []string{"ebb: listener default: listen tcp4 " + taken.Addr().String() + ": bind: address already in use: ss -ltunp 'sport = :" + port + "' says who has it"}},
		{"admin", other, taken.Addr().String(), []string{"ebb: admin: listen tcp " + taken.Addr().String() + ": bind: address already in use"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			ready, fd := inherited(t)
			code, stdout, stderr := runAll(t, "run", "--listen", "tcp://"+c.listen, "--to", "127.0.0.1:1", "--admin", c.admin, "--ready-fd", strconv.Itoa(fd))
			if code != exitFailed || stdout != "" || !slices.Equal(strings.Split(strings.TrimSpace(stderr), "\n"), c.want) {
				t.Errorf("%d, %q, %s", code, stdout, stderr)
			}
			if said, err := io.ReadAll(ready); err != nil || len(said) > 0 {
				t.Errorf("ready: %q, %v: not even the end", said, err)
			}
			again, err := net.Listen("tcp", other)
			if err != nil {
				t.Fatalf("the other address is still bound: %v", err)
			}
			again.Close()
		})
	}
}
