//go:build linux

package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
)

// inside marks the process that runs in the namespace.
const inside = "EBB_FAILOVER_INSIDE"

func main() {
	var (
		rounds  = flag.Int("rounds", 1, "how often each proxy meets each scenario; the worst figures count")
		clients = flag.Int("clients", 50, "how many write at a time")
		only    = flag.String("only", "", "run only the scenarios whose names begin so, such as killed")
		ebb     = flag.String("ebb", "", "the ebb binary; empty builds it")
		logs    = flag.Bool("logs", false, "show what the proxies say")
	)
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	err := run(ctx, rig{rounds: *rounds, clients: *clients, only: *only, ebb: *ebb, logs: *logs})
	if err != nil {
		fmt.Fprintln(os.Stderr, "failover:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has been called
	}
}

// rig is what all scenarios have in common.
type rig struct {
	rounds, clients int
	only, ebb, dir  string
	logs            bool
}

func run(ctx context.Context, r rig) error {
	dir, err := os.MkdirTemp("", "ebb-failover-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil { // PostgreSQL is another user
		return err
	}
	r.dir = dir
	if r.ebb == "" {
		r.ebb = filepath.Join(dir, "ebb")
		if out, err := exec.CommandContext(ctx, "go", "build", "-o", r.ebb, "./cmd/ebb").CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w: %s", err, out)
		}
	}
	if os.Getenv(inside) == "" {
		return r.enter(ctx)
	}
	for _, args := range [][]string{{"ip", "link", "set", "lo", "up"}, {"nft", "add", "table", "inet", "failover"}} {
		if out, err := exec.CommandContext(ctx, args[0], args[1:]...).CombinedOutput(); err != nil {
			return fmt.Errorf("%s: %w: %s", strings.Join(args, " "), err, out)
		}
	}
	proxies := []proxy{ebbProxy, haproxy}
	if _, err := os.Stat(sbin("haproxy")); err != nil {
		fmt.Fprintln(os.Stderr, "failover: haproxy is not installed: only ebb is measured")
		proxies = proxies[:1]
	}
	var all report
	for round := range r.rounds {
		for _, s := range scenarios {
			if !strings.HasPrefix(s.name, r.only) {
				continue
			}
			for _, p := range proxies {
				got, err := r.measure(ctx, s, p)
				if err != nil {
					return fmt.Errorf("%s, %s: %w", s.name, p.name, err)
				}
				all.add(s, p, got)
				fmt.Fprintf(os.Stderr, "round %d of %d: %s, %s: %s\n", round+1, r.rounds, s.name, p.name, got)
			}
		}
	}
	if all.print(os.Stdout) {
		return nil
	}
	return errors.New("a target was missed")
}

// enter runs this program again in a network namespace of its own.
func (r rig) enter(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	cmd := exec.CommandContext(ctx, self, append([]string{"-ebb", r.ebb}, os.Args[1:]...)...)
	cmd.Env = append(os.Environ(), inside+"=1")
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGTERM) }
	cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNET}
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("in a network namespace: %w", err)
	}
	return nil
}
