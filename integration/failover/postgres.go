//go:build linux

package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// The addresses of the pair; all servers listen on the same ports.
const (
	hostA, hostB = "127.0.0.2", "127.0.0.3"
	pgPort       = "5432"
	restPort     = "8008" // of Patroni
)

// postgres is one of the two servers, with the REST API that Patroni would have beside it.
type postgres struct {
	host, bin, dir string
	who            *syscall.Credential
	cmd            *exec.Cmd
	log            bytes.Buffer

	leads  atomic.Bool // what its REST API says to /primary
	frozen atomic.Bool // it says nothing
	rest   http.Server
}

// bin finds the folder of the newest PostgreSQL.
func bin() (string, error) {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin")
	if len(found) == 0 {
		return "", errors.New("postgresql is not installed; make deps installs it")
	}
	return found[len(found)-1], nil
}

func newPostgres(host, dir string) (*postgres, error) {
	p := &postgres{host: host, dir: filepath.Join(dir, host)}
	var err error
	if p.bin, err = bin(); err != nil {
		return nil, err
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
	gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
	if err := errors.Join(err1, err2); err != nil {
		return nil, err
	}
	p.who = &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	if err := os.Mkdir(p.dir, 0o700); err != nil {
		return nil, err
	}
	return p, os.Chown(p.dir, int(uid), int(gid))
}

// command is one of PostgreSQL's programs, as its user.
func (p *postgres) command(name string, args ...string) *exec.Cmd {
	cmd := exec.Command(filepath.Join(p.bin, name), args...)
	cmd.Dir = p.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: p.who, Pdeathsig: syscall.SIGKILL, Setpgid: true}
	return cmd
}

func (p *postgres) data() string { return filepath.Join(p.dir, "data") }

// create makes an empty server, or with from a copy of that, which is its replica.
func (p *postgres) create(from *postgres) error {
	cmd := p.command("initdb", "-D", p.data(), "-U", "postgres", "-A", "trust", "--no-sync", "-E", "UTF8", "--locale", "C")
	if from != nil {
		cmd = p.command("pg_basebackup", "-h", from.host, "-p", pgPort, "-U", "postgres", "-D", p.data(), "-R", "-X", "stream", "-c", "fast", "--no-sync")
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", cmd.Path, err, out)
	}
	return p.start()
}

// start starts the server and waits until it answers.
func (p *postgres) start() error {
	p.cmd = p.command("postgres", "-D", p.data(), "-p", pgPort, "-c", "listen_addresses="+p.host, "-c", "unix_socket_directories="+p.dir,
		"-c", "fsync=off", "-c", "max_connections=200", "-c", "primary_conninfo=host="+p.other()+" port="+pgPort+" user=postgres")
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	if err := p.cmd.Start(); err != nil {
		return err
	}
	for give := time.Now().Add(30 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		_, err := p.ask("SELECT 1")
		if err == nil {
			return nil
		}
		if time.Now().After(give) {
			return fmt.Errorf("postgres on %s: %w: %s", p.host, err, &p.log)
		}
	}
}

func (p *postgres) other() string {
	if p.host == hostA {
		return hostB
	}
	return hostA
}

// ask runs statements on the server itself, and gives the first value of the last.
func (p *postgres) ask(sql string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	c, err := pgconn.Connect(ctx, conninfo(p.host, pgPort))
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close(ctx) }()
	results, err := c.Exec(ctx, sql).ReadAll()
	if err != nil || len(results) == 0 || len(results[len(results)-1].Rows) == 0 {
		return "", err
	}
	return string(results[len(results)-1].Rows[0][0]), nil
}

func conninfo(host, port string) string {
	return fmt.Sprintf("host=%s port=%s user=postgres dbname=postgres sslmode=disable", host, port)
}

// signal sends one to every process of the server. Its backends are children of the first, which may not outlive it.
func (p *postgres) signal(sig syscall.Signal) error {
	pids := []int{p.cmd.Process.Pid}
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pids[0]))
	for _, file := range tasks {
		text, _ := os.ReadFile(file)
		for _, f := range bytes.Fields(text) {
			if child, err := strconv.Atoi(string(f)); err == nil {
				pids = append(pids, child)
			}
		}
	}
	for _, pid := range pids[1:] {
		_ = syscall.Kill(pid, sig) // it may be gone
	}
	return syscall.Kill(pids[0], sig)
}

// stop ends the server in order, cutting its sessions, and waits for the end.
func (p *postgres) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil { // fast shutdown
		return err
	}
	_ = p.cmd.Wait() // with the code of a shutdown
	return nil
}

// rejoin starts a stopped server as a replica of the other.
func (p *postgres) rejoin() error {
	if err := os.WriteFile(filepath.Join(p.data(), "standby.signal"), nil, 0o600); err != nil {
		return err
	}
	if err := os.Chown(filepath.Join(p.data(), "standby.signal"), int(p.who.Uid), int(p.who.Gid)); err != nil {
		return err
	}
	return p.start()
}

// promote makes a replica the primary; it has become that when this returns.
func (p *postgres) promote() error {
	said, err := p.ask("SELECT pg_promote()")
	if err == nil && said != "t" {
		err = errors.New("it does not promote itself")
	}
	return err
}

// serveREST answers as Patroni does: 200 to /primary where the leader is, else 503.
func (p *postgres) serveREST() error {
	ln, err := net.Listen("tcp", net.JoinHostPort(p.host, restPort))
	if err != nil {
		return err
	}
	p.rest.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if p.frozen.Load() {
			<-r.Context().Done()
			return
		}
		if !p.leads.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	go func() { _ = p.rest.Serve(ln) }()
	return nil
}

func (p *postgres) close() {
	_ = p.rest.Close()
	if p.cmd != nil && p.cmd.Process != nil {
		_ = p.signal(syscall.SIGCONT)
		_ = p.signal(syscall.SIGKILL)
		_ = p.cmd.Wait()
	}
}
