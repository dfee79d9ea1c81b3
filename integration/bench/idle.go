package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// idleSessions names the measurement for -load.
const idleSessions = "idle sessions"

// idle is what a proxy holds in user space for a session in which nothing moves. What the kernel holds for two sockets is the
// same for all.
type idle struct {
	Sessions    int     `json:"sessions"`
	KiB         float64 `json:"kib"`         // of resident memory, for each
	Descriptors float64 `json:"descriptors"` // for each
}

// settle is how long a proxy gets to tidy up before its memory counts.
const settle = 3 * time.Second

// measureIdle opens as many sessions as the descriptor limit allows to each proxy.
func (p proxy) measureIdle(ctx context.Context, t *targets, r *report) error {
	if p.start == nil {
		return nil
	}
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return err
	}
	n := min(int(limit.Cur), 20_000)/6 - 300 // io.Copy needs six for each session, this process two
	listen := "127.0.0.1:" + freePort()
	proc, err := p.start(ctx, "tcp", listen, t.echo)
	if err != nil {
		return err
	}
	defer proc.stop()
	if err := awaitTCP(listen); err != nil {
		return fmt.Errorf("%w: %s", err, proc.stderr.String())
	}
	time.Sleep(time.Second)
	before, err := proc.holds()
	if err != nil {
		return err
	}
	message := make([]byte, 512)
	for range n {
		c, err := net.Dial("tcp", listen)
		if err != nil {
			return err
		}
		defer c.Close()
		if _, err = c.Write(message); err == nil {
			_, err = io.ReadFull(c, message)
		}
		if err != nil {
			return err
		}
	}
	select {
	case <-time.After(settle):
	case <-ctx.Done():
		return ctx.Err()
	}
	after, err := proc.holds()
	if err != nil {
		return err
	}
	r.Idle[p.name] = idle{n, float64(after.kib-before.kib) / float64(n), float64(after.descriptors-before.descriptors) / float64(n)}
	return nil
}

// held is what a process and its children have.
type held struct{ kib, descriptors int }

func (p *process) holds() (h held, err error) {
	for _, pid := range p.family() {
		status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
		if err != nil {
			return h, err
		}
		for line := range strings.Lines(string(status)) {
			if f := strings.Fields(line); len(f) == 3 && f[0] == "VmRSS:" {
				n, _ := strconv.Atoi(f[1])
				h.kib += n
			}
		}
		list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return h, err
		}
		h.descriptors += len(list)
	}
	return h, nil
}
