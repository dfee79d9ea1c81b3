package main

import (
	"context"
	"io"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
)

// lines is a log target that several goroutines may use.
type lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

func (l *lines) contains(s string) bool { return strings.Contains(l.String(), s) }

func (l *lines) await(t *testing.T, s string) {
	t.Helper()
	for give := time.Now().Add(patience); !l.contains(s); time.Sleep(time.Millisecond) {
		if time.Now().After(give) {
			t.Fatalf("not within %v: %s", patience, s)
		}
	}
}

// raise sends this process a signal and returns when it has arrived: one that arrives when nobody listens any more would
// end the tests.
func raise(t *testing.T, s syscall.Signal) {
	t.Helper()
	arrived := make(chan os.Signal, 1)
	signal.Notify(arrived, s)
	defer signal.Stop(arrived)
	if err := syscall.Kill(os.Getpid(), s); err != nil {
		t.Fatal(err)
	}
	select {
	case <-arrived:
	case <-time.After(patience):
		t.Fatalf("%v did not arrive", s)
	}
}

// within fails the test unless done is closed in time.
func within(t *testing.T, what string, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-time.After(patience):
		t.Fatalf("%s: not within %v", what, patience)
	}
}

// serviceManager listens where the environment says.
func serviceManager(t *testing.T) *net.UnixConn {
	t.Helper()
	at := filepath.Join(t.TempDir(), "notify")
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: at, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", at)
	return c
}

func told(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 512)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestSignals(t *testing.T) {
	manager := serviceManager(t)
	var out lines
	log := slog.New(slog.NewTextHandler(&out, nil))
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "ebb.log")
	target := openLogging(t, path)
	ctx, s := newStopper(t.Context(), &notifier{log: log}, target.reopen, target.Logger)
	defer s.close()

	raise(t, syscall.SIGHUP) // nothing has started that could reload
	if ctx.Err() != nil {
		t.Fatal("SIGHUP ended it")
	}

	raise(t, syscall.SIGUSR1)
	awaitFile(t, path, "log opened again")
	if err := os.Rename(dir, dir+".gone"); err != nil {
		t.Fatal(err)
	}
	raise(t, syscall.SIGUSR1)
	awaitFile(t, dir+".gone/ebb.log", `"msg":"log not opened again","error":"open `)
	if ctx.Err() != nil {
		t.Fatal("SIGUSR1 ended it")
	}

	raise(t, syscall.SIGTERM)
	within(t, "SIGTERM", ctx.Done())
	if got := told(t, manager); got != "STOPPING=1" {
		t.Errorf("the service manager was told %q", got)
	}
	select {
	case <-s.hurry:
		t.Fatal("one signal was two")
	default:
	}
	raise(t, syscall.SIGINT)
	within(t, "the second signal", s.hurry)
	raise(t, syscall.SIGTERM) // a third finds nothing left to do
}

// openLogging is a log in the file at a path.
func openLogging(t *testing.T, path string) *logging {
	t.Helper()
	l, err := newLogging(&config.Config{Log: config.Log{Level: "info", Format: "auto", Target: path}}, io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.close)
	return l
}

// awaitFile waits until a file has a text in it.
func awaitFile(t *testing.T, path, text string) {
	t.Helper()
	for give := time.Now().Add(patience); ; time.Sleep(time.Millisecond) {
		b, err := os.ReadFile(path)
		if err == nil && strings.Contains(string(b), text) {
			return
		}
		if time.Now().After(give) {
			t.Fatalf("%s: %v, not within %v: %s", path, err, patience, text)
		}
	}
}

func TestStopperCloseAlone(t *testing.T) {
	ctx, s := newStopper(t.Context(), &notifier{log: slog.New(slog.DiscardHandler)}, func() {}, slog.New(slog.DiscardHandler))
	s.close()
	if ctx.Err() != context.Canceled {
		t.Error("the context lives on")
	}
}
