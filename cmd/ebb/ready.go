package main

import (
	"fmt"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sys/unix"
)

// notifier tells others how far the process is: whoever reads --ready-fd, and the service manager, if there is one.
type notifier struct {
	fd  *os.File // nil if nobody asked
	log *slog.Logger
}

// ready is called once.
func (n *notifier) ready() {
	if n.fd != nil {
		if _, err := n.fd.WriteString("\n"); err != nil {
			n.log.Warn("ready, but nobody could be told", "fd", n.fd.Name(), "error", err)
		}
		n.close()
	}
	n.systemd(daemon.SdNotifyReady)
}

// reloading and reloaded are told around each reload. systemd wants the time of the beginning (notify-reload).
func (n *notifier) reloading() {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		return
	}
	n.systemd(daemon.SdNotifyReloading + "\nMONOTONIC_USEC=" + strconv.FormatInt(now.Nano()/1000, 10))
}

// reloaded also tells what `systemctl status` is to show: to systemd a reload ends, it does not fail.
func (n *notifier) reloaded(err error) {
	at := time.Now().UTC().Format("2006-01-02 15:04:05 UTC")
	status := "reloaded at " + at
	if err != nil {
		problem, others, _ := strings.Cut(err.Error(), "\n")
		status = "reload failed at " + at + ", what ran before runs on: " + problem
		if others != "" {
			status += fmt.Sprintf(" (and %d more)", 1+strings.Count(others, "\n"))
		}
	}
	n.systemd(daemon.SdNotifyReady + "\nSTATUS=" + status)
}

func (n *notifier) stopping() { n.systemd(daemon.SdNotifyStopping) }

func (n *notifier) systemd(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		n.log.Warn("the service manager could not be told", "state", state, "error", err)
	}
}

// close lets go of the descriptor; its reader sees the end, after a newline or without.
func (n *notifier) close() {
	if n.fd != nil {
		n.fd.Close()
		n.fd = nil
	}
}

// readyFD is the number of a descriptor that was inherited to be told on.
type readyFD struct{ file *os.File }

// Set takes the descriptor. The standard ones are no choice: closing one of them would let the next socket take its
// number. Those of the runtime are none either, and they are the ones that are closed on exec.
func (r *readyFD) Set(text string) error {
	n, err := strconv.Atoi(text)
	if err != nil || n < 3 {
		return fmt.Errorf("found %q, expected the number of an open file descriptor, 3 or more", text)
	}
	flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0)
	if err != nil || flags&unix.FD_CLOEXEC != 0 {
		return fmt.Errorf("file descriptor %d is not open; whoever starts ebb must pass it on", n)
	}
	if mode, err := unix.FcntlInt(uintptr(n), unix.F_GETFL, 0); err != nil || mode&unix.O_ACCMODE == unix.O_RDONLY {
		return fmt.Errorf("file descriptor %d cannot be written to", n)
	}
	unix.CloseOnExec(n)
	r.file = os.NewFile(uintptr(n), strconv.Itoa(n))
	return nil
}
func (r *readyFD) String() string { return "" }
func (r *readyFD) Type() string   { return "N" }
