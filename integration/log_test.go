//go:build linux

package integration

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync/atomic"
	"testing"
)

// startLogging is start for an ebb whose log goes elsewhere, before an echo at 127.0.0.2.
func startLogging(t *testing.T, s setup, target string) *ebb {
	t.Helper()
	s.hosts, s.port, s.log = []string{host(2)}, freePort(t), fmt.Sprintf("target = %q", target)
	echo(t, at(2, s.port))
	file := s.write(t)
	e := spawnIn(t, s.place, s.plain, "-c", file)
	e.addr, e.admin = s.addr, s.admin
	e.awaitReady(t)
	return e
}

// A full disk costs lines, which are counted, and nothing else.
func TestLI9TheDiskIsFull(t *testing.T) {
	t.Parallel()
	e := startLogging(t, setup{}, "/dev/full")
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

// LI-9: on a disk of 64 KiB that is full, lines are lost and counted, a state is not saved, and nothing else suffers. When there
// is room again, ebb goes on by itself, and begins a new line.
func TestLI9ASmallDiskFills(t *testing.T) {
	t.Parallel()
	if os.Getuid() != 0 && os.Getenv("CI") != "true" {
		t.Skip("to mount a disk takes root")
	}
	disk := t.TempDir()
	mount := []string{program(t, "unshare"), "--mount", "sh", "-c",
		`mount --make-rprivate / && mount -t tmpfs -o size=64k,mode=700 ebb "$1" && head -c 40960 /dev/zero >"$1/other" && shift && exec "$@"`, "sh", disk}
	log, state := filepath.Join(disk, "ebb.log"), filepath.Join(disk, "state.json")
	e := startLogging(t, setup{place: place{under: mount}, top: fmt.Sprintf("state_file = %q", state)}, log)
	peer := e.poolStatus(t).Peers[0].Addr
	inside := func(path string) string { return fmt.Sprintf("/proc/%d/root%s", e.cmd.Process.Pid, path) }
	served := 0
	talks := func(n int) {
		t.Helper()
		for range n {
			if err := talk(e.addr); err != nil {
				t.Fatal(err)
			}
			served++
		}
	}
	weigh := func(weight string) {
		t.Helper()
		if code, _, stderr := e.verb(t, "weight", "t", peer, weight, "--admin", e.admin); code != 0 {
			t.Errorf("ebb weight: exit %d, %s", code, stderr)
		}
	}
	lost := func() float64 { return e.metrics(t).sum("ebb_log_dropped_total") }
	for lost() < 50 {
		talks(50)
	}
	before := slurp(t, inside(state))
	weigh("7") // is obeyed, but not saved, and what was saved stays whole
	if after := slurp(t, inside(state)); !bytes.Equal(before, after) {
		t.Errorf("the state on a full disk: %s", after)
	}
	if left, err := filepath.Glob(inside(state) + ".*"); err != nil || len(left) > 0 {
		t.Errorf("left of a state that was not saved: %v %v", left, err)
	}
	if p, ok := e.poolStatus(t).peer(peer); !ok || p.Weight != 7 {
		t.Errorf("the peer: %+v", p)
	}

	if err := os.Remove(inside(filepath.Join(disk, "other"))); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no line is lost any more", func() bool { was := lost(); talks(5); return lost() == was })
	weigh("8")
	if text := slurp(t, inside(state)); !bytes.Contains(text, []byte(`"weight": 8`)) {
		t.Errorf("the state: %s", text)
	}
	whole := 0
	eventually(t, "a line for each session that lost none", func() bool {
		torn := 0
		whole = 0
		for line := range bytes.Lines(slurp(t, inside(log))) {
			if !bytes.HasSuffix(line, []byte("\n")) { // being written
				continue
			}
			if !json.Valid(line) {
				torn++
			} else if bytes.Contains(line, []byte(`"msg":"session"`)) {
				whole++
			}
		}
		if torn > 1 {
			t.Fatalf("%d lines are torn", torn)
		}
		return whole+int(lost()) >= served
	})
	if whole < 5 {
		t.Errorf("%d lines of %d sessions", whole, served)
	}
	if code := e.stop(t); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// logrotate moves the file away while sessions come and go: each has its line in the one or the other.
func TestLogrotate(t *testing.T) {
	t.Parallel()
	rotate := program(t, "logrotate")
	path := filepath.Join(t.TempDir(), "ebb.log")
	e := startLogging(t, setup{}, path)
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
