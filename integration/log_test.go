//go:build linux

package integration

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// startLogging is start for an ebb whose log goes elsewhere.
func startLogging(t *testing.T, target string) *ebb {
	t.Helper()
	port := freePort(t)
	echo(t, at(2, port))
	s := setup{hosts: []string{host(2)}, port: port, log: fmt.Sprintf("target = %q", target)}
	file := s.write(t)
	e := spawn(t, false, "-c", file)
	e.addr, e.admin = s.addr, s.admin
	e.awaitReady(t)
	return e
}

// A full disk costs lines, which are counted, and nothing else.
func TestLI9TheDiskIsFull(t *testing.T) {
	t.Parallel()
	e := startLogging(t, "/dev/full")
	for range 50 {
		if err := talk(e.addr); err != nil {
			t.Fatal(err)
		}
	}
	eventually(t, "50 lines are lost and counted", func() bool { return e.metrics(t).sum("ebb_log_dropped_total") >= 50 })
	if code := e.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// logrotate moves the file away while sessions come and go: each has its line in the one or the other.
func TestLogrotate(t *testing.T) {
	t.Parallel()
	rotate := program(t, "logrotate")
	path := filepath.Join(t.TempDir(), "ebb.log")
	e := startLogging(t, path)
	conf := filepath.Join(t.TempDir(), "logrotate.conf")
	if err := os.WriteFile(conf, fmt.Appendf(nil, `%s {
	rotate 1
	create
	postrotate
		kill -USR1 %d
	endscript
}
`, path, e.cmd.Process.Pid), 0o644); err != nil {
		t.Fatal(err)
	}
	var sessions atomic.Int64
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				if err := talk(e.addr); err != nil {
					t.Error(err)
					return
				}
				sessions.Add(1)
			}
		}
	}()
	more := func(what string) {
		t.Helper()
		was := sessions.Load()
		eventually(t, what, func() bool { return sessions.Load() >= was+20 })
	}
	more("sessions before")
	if out, err := exec.Command(rotate, "-f", "-s", conf+".state", conf).CombinedOutput(); err != nil {
		t.Fatalf("logrotate: %v\n%s", err, out)
	}
	eventually(t, "the new file is in use", func() bool { return bytes.Contains(slurp(t, path), []byte("log opened again")) })
	more("sessions after")
	close(stop)
	<-done
	if code := e.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
	line := []byte(`"msg":"session"`)
	old, now := bytes.Count(slurp(t, path+".1"), line), bytes.Count(slurp(t, path), line)
	if old < 20 || now < 20 || int64(old+now) != sessions.Load() {
		t.Errorf("%d and %d lines, for %d sessions", old, now, sessions.Load())
	}
}

func slurp(t *testing.T, path string) []byte {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
