//go:build linux

package main

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// Where the proxies listen.
const (
	frontHost, frontPort = "127.0.0.1", "5000"
	front                = frontHost + ":" + frontPort
	adminAddr            = "127.0.0.1:9321"
)

// proxy is what clients connect to.
type proxy struct {
	name string
	conf string
	args func(r rig, file string) []string
}

// ebbProxy names the two servers and wants the primary; all else is as it is by default.
var ebbProxy = proxy{
	name: "ebb",
	conf: `[[listener]]
name = "pg"
listen = "tcp://` + front + `"
pool = "pg"
[[pool.pg.backend]]
host = "` + hostA + `"
port = ` + pgPort + `
[[pool.pg.backend]]
host = "` + hostB + `"
port = ` + pgPort + `
[pool.pg.check]
kind = "postgres"
user = "postgres"
want = "primary"
`,
	args: func(r rig, file string) []string { return []string{r.ebb, "run", "-c", file} },
}

// haproxy is set up as Patroni's own template does it (extras/confd/templates/haproxy.tmpl): asked every 3 s, down after three failures.
var haproxy = proxy{
	name: "HAProxy",
	conf: `global
    maxconn 1000
defaults
    log global
    mode tcp
    retries 2
    timeout client 30m
    timeout connect 4s
    timeout server 30m
    timeout check 5s
listen primary
    bind ` + front + `
    option httpchk OPTIONS /primary
    http-check expect status 200
    default-server inter 3s fall 3 rise 2 on-marked-down shutdown-sessions
    server a ` + hostA + `:` + pgPort + ` maxconn 100 check port ` + restPort + `
    server b ` + hostB + `:` + pgPort + ` maxconn 100 check port ` + restPort + `
`,
	args: func(_ rig, file string) []string { return []string{sbin("haproxy"), "-db", "-f", file} },
}

// sbin finds a server where Debian puts it, which is not on everyone's path.
func sbin(name string) string {
	if _, err := os.Stat("/usr/sbin/" + name); err == nil {
		return "/usr/sbin/" + name
	}
	return name
}

// process is a running proxy.
type process struct {
	cmd *exec.Cmd
	out bytes.Buffer
}

// start runs the proxy and waits until it serves the primary.
func (p proxy) start(r rig, dir string) (*process, error) {
	file := filepath.Join(dir, "proxy.conf")
	if err := os.WriteFile(file, []byte(p.conf), 0o600); err != nil {
		return nil, err
	}
	args := p.args(r, file)
	run := &process{cmd: exec.Command(args[0], args[1:]...)}
	run.cmd.Stdout, run.cmd.Stderr = &run.out, &run.out
	run.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := run.cmd.Start(); err != nil {
		return nil, err
	}
	for give := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		c, err := net.Dial("tcp", front)
		if err == nil {
			return run, c.Close()
		}
		if time.Now().After(give) {
			run.stop()
			return nil, fmt.Errorf("it does not listen: %w: %s", err, &run.out)
		}
	}
}

func (p *process) stop() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait()
}
