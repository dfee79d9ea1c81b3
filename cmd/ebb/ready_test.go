package main

import (
	"errors"
	"io"
	"log/slog"
	"os"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

func TestReadyFD(t *testing.T) {
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer null.Close()
	dup := func(f *os.File) string {
		fd, err := syscall.Dup(int(f.Fd()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = syscall.Close(fd) })
		return strconv.Itoa(fd)
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	defer w.Close()
	for _, c := range []struct{ name, text, want string }{
		{"stdin", "0", "3 or more"},
		{"stderr", "2", "3 or more"},
		{"negative", "-1", "3 or more"},
		{"word", "three", "3 or more"},
		{"empty", "", "3 or more"},
		{"never opened", "100000", "is not open"},
		{"of this process", strconv.Itoa(int(null.Fd())), "is not open"}, // as are those of the runtime
		{"read only", dup(r), "cannot be written to"},
	} {
		t.Run(c.name, func(t *testing.T) {
			var fd readyFD
			if err := fd.Set(c.text); err == nil || !strings.Contains(err.Error(), c.want) || fd.file != nil {
				t.Errorf("error %v, want one with %q", err, c.want)
			}
		})
	}
}

func TestNotifierReady(t *testing.T) {
	manager := serviceManager(t)
	r, number := inherited(t)
	var fd readyFD
	if err := fd.Set(strconv.Itoa(number)); err != nil {
		t.Fatal(err)
	}
	n := &notifier{fd: fd.file, log: slog.New(slog.DiscardHandler)}
	n.ready()
	if said, err := io.ReadAll(r); err != nil || string(said) != "\n" {
		t.Errorf("%q, %v", said, err)
	}
	if got := told(t, manager); got != "READY=1" {
		t.Errorf("the service manager was told %q", got)
	}
	n.close() // a second time, as serve does
}

func TestNotifierReadyNobody(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/nowhere/at/all")
	r, number := inherited(t)
	r.Close()
	var fd readyFD
	if err := fd.Set(strconv.Itoa(number)); err != nil {
		t.Fatal(err)
	}
	var out lines
	n := &notifier{fd: fd.file, log: slog.New(slog.NewTextHandler(&out, nil))}
	n.ready()
	if !out.contains("nobody could be told") || !out.contains("the service manager could not be told") {
		t.Error(out.text.String())
	}
}

// systemd 253 and newer waits for the end of a reload, which it knows by its beginning: later than the signal that it sent.
func TestReloadsAreTold(t *testing.T) {
	manager := serviceManager(t)
	n := &notifier{log: slog.New(slog.DiscardHandler)}
	clock := func() int64 {
		var now unix.Timespec
		if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
			t.Fatal(err)
		}
		return now.Nano() / 1000
	}
	before := clock()
	n.reloading()
	after := clock()
	at, found := strings.CutPrefix(told(t, manager), "RELOADING=1\nMONOTONIC_USEC=")
	if usec, err := strconv.ParseInt(at, 10, 64); !found || err != nil || usec < before || usec > after {
		t.Errorf("%q at %d to %d", at, before, after)
	}
	for _, c := range []struct {
		err  error
		want string
	}{
		{nil, `reloaded at TIME`},
		{errors.New("a.toml:1: no"), `reload failed at TIME, what ran before runs on: a\.toml:1: no`},
		{errors.New("a.toml:1: no\na.toml:2: no\na.toml:3: no"), `reload failed at TIME, what ran before runs on: a\.toml:1: no \(and 2 more\)`},
	} {
		n.reloaded(c.err)
		want := `^READY=1\nSTATUS=` + strings.Replace(c.want, "TIME", `\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC`, 1) + "$"
		if got := told(t, manager); !regexp.MustCompile(want).MatchString(got) {
			t.Errorf("the service manager was told %q, expected %s", got, want)
		}
	}
}
