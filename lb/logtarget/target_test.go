package logtarget

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func write(t *testing.T, to Target, lines ...string) {
	t.Helper()
	for _, line := range lines {
		if n, err := to.Write([]byte(line)); n != len(line) || err != nil {
			t.Fatalf("%q: %d %v", line, n, err)
		}
	}
}

func TestAFileIsReopened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ebb.log")
	if err := os.WriteFile(path, []byte("before\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	to, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	write(t, to, "one\n")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, to, "two\n")
	if err := to.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, to, "three\n")
	if old, now := read(t, path+".1"), read(t, path); old != "before\none\ntwo\n" || now != "three\n" {
		t.Errorf("moved: %q, now: %q", old, now)
	}
	if err := os.Rename(filepath.Dir(path), filepath.Dir(path)+".gone"); err != nil {
		t.Fatal(err)
	}
	if err := to.Reopen(); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without its directory: %v", err)
	}
	write(t, to, "four\n")
	if now := read(t, filepath.Dir(path)+".gone/ebb.log"); now != "three\nfour\n" {
		t.Errorf("the old file went out of use: %q", now)
	}
}

// No line is lost to Reopen, and none is torn.
func TestReopenAmongWrites(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ebb.log")
	to, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	stop, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for {
			select {
			case <-stop:
				return
			default:
				if err := to.Reopen(); err != nil {
					t.Error(err)
				}
			}
		}
	}()
	for range 2000 {
		write(t, to, "a line\n")
	}
	close(stop)
	<-done
	if got := read(t, path); got != strings.Repeat("a line\n", 2000) {
		t.Errorf("%d bytes", len(got))
	}
}

func TestAFullDiskIsAnError(t *testing.T) {
	to, err := Open("/dev/full", nil)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, fs.ErrPermission) {
		t.Skip("there is no /dev/full")
	}
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	if _, err := to.Write([]byte("x\n")); !errors.Is(err, syscall.ENOSPC) {
		t.Errorf("got %v", err)
	}
}

func TestHalfALineIsEnded(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ebb.log")
	to, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	write(t, to, "half")
	to.open.Load().torn = true // as a write of a part leaves it
	write(t, to, "whole\n", "more\n", "half")
	if got := read(t, path); got != "half\nwhole\nmore\nhalf" {
		t.Errorf("%q", got)
	}
	to.open.Load().torn = true
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	if err := to.Reopen(); err != nil {
		t.Fatal(err)
	}
	write(t, to, "whole\n")
	if got := read(t, path); got != "whole\n" {
		t.Errorf("the new file: %q", got)
	}
}

// A pipe that nobody reads is opened at once; who is blocked on it is let go by Close.
func TestAPipeWithoutAReader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	to, err := Open(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		for {
			if _, err := to.Write(bytes.Repeat([]byte("x"), 4096)); err != nil {
				ended <- err
				return
			}
		}
	}()
	r, err := os.Open(path) // and a reader that comes later gets what waits
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; !errors.Is(err, os.ErrClosed) {
		t.Errorf("got %v", err)
	}
}

// listen is a daemon at a path, until stop.
func listen(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return c
}

func next(t *testing.T, c *net.UnixConn) string {
	t.Helper()
	b := make([]byte, 1<<18)
	n, err := c.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return string(b[:n])
}

func TestSyslog(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	daemon := listen(t, path)
	to, err := openSyslog("unixgram", path)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	for format, handler := range map[string]slog.Handler{
		"json": slog.NewJSONHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}),
		"text": slog.NewTextHandler(to, &slog.HandlerOptions{Level: slog.LevelDebug}),
	} {
		log := slog.New(handler)
		log.Debug("m", "a", `level=ERROR "level":"ERROR"`)
		log.Info("m")
		log.Warn("m")
		log.Error("m")
		for _, want := range []string{"<31>", "<30>", "<28>", "<27>"} { // daemon is 3, times 8
			if got := next(t, daemon); !strings.HasPrefix(got, want) || !strings.Contains(got, " ebb[") {
				t.Errorf("%s: %q, want %s", format, got, want)
			}
		}
	}
	daemon.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if _, err := to.Write([]byte("x\n")); err == nil {
		t.Error("no error without a daemon")
	}
	daemon = listen(t, path)
	write(t, to, "level=WARN back\n")
	if got := next(t, daemon); !strings.HasPrefix(got, "<28>") {
		t.Errorf("after it came back: %q", got)
	}
}

// parsed is an entry of the native protocol.
func parsed(t *testing.T, e string) map[string]string {
	t.Helper()
	fields := make(map[string]string)
	for e != "" {
		line, rest, _ := strings.Cut(e, "\n")
		name, value, simple := strings.Cut(line, "=")
		if !simple {
			n := binary.LittleEndian.Uint64([]byte(rest[:8]))
			value, rest = rest[8:8+n], rest[8+n:]
			if rest[0] != '\n' {
				t.Fatalf("%s: no newline after its value", name)
			}
			rest = rest[1:]
		}
		fields[name], e = value, rest
	}
	return fields
}

func TestJournal(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	if _, err := openJournal(path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("without a journal: %v", err)
	}
	journald := listen(t, path)
	to, err := openJournal(path)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	log := slog.New(slog.NewJSONHandler(to, nil))
	log.Warn("peer down", "pool", "db", "detail", "two\nlines", "n", 12345678901234567, "changes", []string{"a", "b"}, "a.b", "")
	got := parsed(t, next(t, journald))
	for name, want := range map[string]string{
		"MESSAGE":  `peer down pool=db detail="two\nlines" n=12345678901234567 changes="a b" a.b=""`,
		"PRIORITY": "4", "SYSLOG_IDENTIFIER": "ebb", "EBB_POOL": "db", "EBB_DETAIL": "two\nlines", "EBB_N": "12345678901234567",
		"EBB_CHANGES": "a b", "EBB_A_B": "",
	} {
		if got[name] != want {
			t.Errorf("%s: %q, want %q", name, got[name], want)
		}
		delete(got, name)
	}
	if len(got) > 0 {
		t.Errorf("more: %v", got)
	}
	log.Info("long", "text", strings.Repeat("x", 1<<20))
	if got := next(t, journald); len(got) > maxEntry {
		t.Errorf("%d bytes", len(got))
	}
	if _, err := to.Write([]byte("no object\n")); err == nil {
		t.Error("a line that is no object was sent")
	}
	journald.Close()
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	journald = listen(t, path)
	log.Info("back")
	if got := parsed(t, next(t, journald)); got["MESSAGE"] != "back" {
		t.Errorf("after it came back: %v", got)
	}
}
