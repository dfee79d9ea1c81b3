package check

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// mostOutput is how much of a program's output is kept, in bytes; the rest is read and dropped.
const mostOutput = 4 << 10

// running bounds the programs that run at once, for all probes: a thousand peers must not be a thousand processes.
var running = make(chan struct{}, 64)

// newExec is the "exec" kind: a program that exits with 0 is life. It gets the arguments and the environment that HAProxy's
// external-check gives, and runs in a process group of its own, of which nothing is left when the probe ends.
func newExec(o Options) (probeFunc, error) {
	if len(o.Command) == 0 {
		return nil, errors.New("no command")
	}
	return func(ctx context.Context, target netip.AddrPort) Result {
		select {
		case running <- struct{}{}:
			defer func() { <-running }()
		case <-ctx.Done():
			return Result{Reason: Local, Detail: fmt.Sprintf("%d other programs were running all the time", cap(running))}
		}
		if o.Port != 0 {
			target = netip.AddrPortFrom(target.Addr(), o.Port)
		}
		return runProgram(ctx, o.Command, target)
	}, nil
}

func runProgram(ctx context.Context, command []string, target netip.AddrPort) Result {
	host, port := target.Addr().String(), strconv.Itoa(int(target.Port()))
	out := new(head)
	// The arguments after the command's own are those of HAProxy: where it listens, which a check for all pools does not
	// know, and where the server is.
	cmd := exec.Command(command[0], append(command[1:len(command):len(command)], "NOT_USED", "NOT_USED", host, port)...)
	cmd.Env = append(os.Environ(), "HAPROXY_PROXY_NAME=ebb", "HAPROXY_PROXY_ID=0", "HAPROXY_PROXY_ADDR=NOT_USED", "HAPROXY_PROXY_PORT=NOT_USED",
		"HAPROXY_SERVER_NAME="+target.String(), "HAPROXY_SERVER_ID=0", "HAPROXY_SERVER_ADDR="+host, "HAPROXY_SERVER_PORT="+port,
		"HAPROXY_SERVER_PROTO=tcp")
	cmd.Stdout, cmd.Stderr = out, out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	cmd.WaitDelay = politeTime // for who left the group and still holds the output
	if err := cmd.Start(); err != nil {
		if errors.Is(err, syscall.EAGAIN) {
			return Result{Reason: Local, Detail: oneLine(err.Error())}
		}
		return failed(err)
	}
	end := func() { _ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	stop := context.AfterFunc(ctx, end)
	err := cmd.Wait()
	timely := stop()
	end() // those whom it left behind
	said := strings.TrimSpace(out.String())
	var exit *exec.ExitError
	switch {
	case !timely:
		return Result{Reason: Timeout, Detail: oneLine("killed, with all that it started, after " + said)}
	case errors.As(err, &exit):
		return Result{Reason: SaysDown, Detail: oneLine(exit.String() + ": " + said)}
	case err != nil && !errors.Is(err, exec.ErrWaitDelay):
		return failed(err)
	}
	return programResult(said)
}

// programResult reads the first line of a program that is content: words it may have for what ebb asks databases
// themselves, as "role=replica lag=1.5s". Anything else is a remark.
func programResult(said string) Result {
	r := Result{Alive: true, Reason: OK}
	line, _, _ := strings.Cut(said, "\n")
	for word := range strings.FieldsSeq(line) {
		name, value, _ := strings.Cut(word, "=")
		switch name {
		case "role":
			switch value {
			case Primary.String():
				r.Role = Primary
			case Replica.String():
				r.Role = Replica
			}
		case "lag":
			if d, err := time.ParseDuration(value); err == nil && d >= 0 {
				r.Lag, r.LagKnown = d, true
			}
		case "timeline":
			r.Timeline, _ = strconv.ParseUint(value, 10, 64)
		}
	}
	if r.Role == Primary {
		r.Lag, r.LagKnown = 0, true
	}
	return r
}

// head keeps the first bytes that are written.
type head struct {
	mu sync.Mutex // who is left behind may still write when it is read
	b  []byte
}

func (h *head) Write(p []byte) (int, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.b = append(h.b, p[:min(len(p), mostOutput-len(h.b))]...)
	return len(p), nil
}

func (h *head) String() string {
	h.mu.Lock()
	defer h.mu.Unlock()
	return string(h.b)
}
