package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a program that this run started. It dies with this process.
type process struct {
	cmd    *exec.Cmd
	stderr bytes.Buffer
}

func start(ctx context.Context, env []string, name string, args ...string) (*process, error) {
	p := &process{cmd: exec.CommandContext(ctx, name, args...)}
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.Stderr = &p.stderr
	p.cmd.SysProcAttr = withParent()
	if err := p.cmd.Start(); err != nil {
		return nil, err
	}
	return p, nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	done := make(chan struct{})
	go func() { _ = p.cmd.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(5 * time.Second):
		_ = p.cmd.Process.Kill()
		<-done
	}
}

// clockTick is the unit of times in /proc/PID/stat: USER_HZ, 100 on every Linux that Go runs on.
const clockTick = 10 * time.Millisecond

// family is the process and its children.
func (p *process) family() []int {
	pids := []int{p.cmd.Process.Pid}
	children, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[0]))
	for _, file := range children {
		text, _ := os.ReadFile(file)
		for _, f := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(f); err == nil {
				pids = append(pids, pid)
			}
		}
	}
	return pids
}

// cpu is what the process and its children have used, user and system.
func (p *process) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, pid := range p.family() {
		text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return 0, err
		}
		// Behind the program's name, which may contain anything: the fields from the third on (proc_pid_stat(5)).
		fields := strings.Fields(string(text[bytes.LastIndexByte(text, ')')+1:]))
		user, err1 := strconv.Atoi(fields[11])
		system, err2 := strconv.Atoi(fields[12])
		if err1 != nil || err2 != nil {
			return 0, fmt.Errorf("/proc/%d/stat cannot be read", pid)
		}
		sum += time.Duration(user+system) * clockTick
	}
	return sum, nil
}

// busy is what the cores have done since the machine started, for whomever: the clients, the servers and the kernel's threads as well.
func busy() (sum time.Duration, err error) {
	text, err := os.ReadFile("/proc/stat")
	if err != nil {
		return 0, err
	}
	line, _, _ := strings.Cut(string(text), "\n")
	fields := strings.Fields(line) // proc_stat(5): cpu, user, nice, system, idle, iowait, irq, softirq, ...
	for i, field := range fields[1:8] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			return 0, fmt.Errorf("/proc/stat cannot be read: %w", err)
		}
		if idle := i == 3 || i == 4; !idle {
			sum += time.Duration(ticks) * clockTick
		}
	}
	return sum, nil
}

func build(ctx context.Context, to string) (string, error) {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", to, "./cmd/ebb")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w: %s", err, out)
	}
	return to, nil
}
