package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// startPostgres starts an empty PostgreSQL with pgbench's tables, which is gone when ctx is done or close is called.
func startPostgres(ctx context.Context) (addr string, closes func(), err error) {
	bin, _ := filepath.Glob("/usr/lib/postgresql/*/bin") // where Debian has them, and not on the path
	if len(bin) == 0 {
		return "", nil, errors.New("the load pgbench needs PostgreSQL (Debian package postgresql)")
	}
	newest := bin[len(bin)-1]
	dir, err := os.MkdirTemp("", "ebb-bench-postgres-")
	if err != nil {
		return "", nil, err
	}
	remove := func() { _ = os.RemoveAll(dir) }
	attr, err := asPostgres()
	if err == nil && attr != nil && attr.Credential != nil {
		err = os.Chown(dir, int(attr.Credential.Uid), int(attr.Credential.Gid))
	}
	if err != nil {
		remove()
		return "", nil, err
	}
	data, port := filepath.Join(dir, "data"), freePort()
	initdb := exec.CommandContext(ctx, filepath.Join(newest, "initdb"), "-D", data, "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C")
	initdb.Dir, initdb.SysProcAttr = dir, attr
	if out, err := initdb.CombinedOutput(); err != nil {
		remove()
		return "", nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	p := &process{cmd: exec.CommandContext(ctx, filepath.Join(newest, "postgres"), "-D", data, "-p", port,
		"-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="+dir, "-c", "fsync=off")}
	p.cmd.Dir, p.cmd.SysProcAttr, p.cmd.Stderr = dir, attr, &p.stderr
	if err := p.cmd.Start(); err != nil {
		remove()
		return "", nil, err
	}
	closes = func() { p.stop(); remove() }
	addr = "127.0.0.1:" + port
	for give := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err = pgbenchRun(ctx, addr, "-i", "-q", "-s", "1")
		if err == nil || time.Now().After(give) || ctx.Err() != nil {
			break
		}
	}
	if err != nil {
		closes()
		return "", nil, fmt.Errorf("%w; the server said: %s", err, p.stderr.String())
	}
	return addr, closes, nil
}

var (
	pgbenchRate = regexp.MustCompile(`tps = ([0-9.]+) \(without initial connection time\)`)
	pgbenchDone = regexp.MustCompile(`transactions actually processed: ([0-9]+)`)
)

// pgbenchSelect runs pgbench's SELECTs with n clients for whole seconds, at least one.
func pgbenchSelect(n int) func(context.Context, *targets, string, time.Duration) (result, error) {
	return func(ctx context.Context, _ *targets, addr string, length time.Duration) (result, error) {
		out, err := pgbenchRun(ctx, addr, "-S", "-n", "-c", strconv.Itoa(n), "-T", wholeSeconds(length))
		if err != nil {
			return result{}, err
		}
		return printed("pgbench", out, pgbenchRate, pgbenchDone)
	}
}

func pgbenchRun(ctx context.Context, addr string, args ...string) ([]byte, error) {
	host, port, _ := net.SplitHostPort(addr)
	cmd := exec.CommandContext(ctx, "pgbench", append(args, "-h", host, "-p", port, "-U", "postgres", "postgres")...)
	cmd.SysProcAttr = withParent()
	out, err := cmd.Output()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil, fmt.Errorf("pgbench: %w: %s", err, exit.Stderr)
	}
	return out, err
}
