package main

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// proxy is one column: a way from the client to a target.
type proxy struct {
	name  string
	ours  bool
	udp   bool                                                                        // it has a column for loads over UDP
	start func(ctx context.Context, network, listen, target string) (*process, error) // nil is no proxy
}

// isOneOf tells whether the name contains one of those that stand in list with commas between them.
func (p proxy) isOneOf(list string) bool {
	return slices.ContainsFunc(strings.Split(list, ","), func(part string) bool { return strings.Contains(p.name, part) })
}

// contenders lists the columns. Each proxy is in the setting that suits it: no logs, splice where it can, and both one
// thread and two, for either may win on two cores.
func contenders(ebb string, also newer, dir string) []proxy {
	haproxy := func(program string, threads int) func(context.Context, string, string, string) (*process, error) {
		return func(ctx context.Context, _, listen, target string) (*process, error) {
			conf := fmt.Sprintf(`global
  nbthread %d
  maxconn 4000
  tune.pipesize 1048576
defaults
  mode tcp
  timeout connect 3s
  timeout client 1h
  timeout server 1h
  option splice-auto
listen l
  bind %s
  server s %s
`, threads, listen, target)
			return withConfig(ctx, dir, program, conf, "-db", "-f")
		}
	}
	udp := map[bool]string{true: " udp"}
	nginx := func(program string, workers int) func(context.Context, string, string, string) (*process, error) {
		return func(ctx context.Context, network, listen, target string) (*process, error) {
			module := filepath.Join(filepath.Dir(program), "../lib/nginx/modules/ngx_stream_module.so") // where Debian puts it
			if _, err := os.Stat(module); err != nil {
				module = "modules/ngx_stream_module.so"
			}
			conf := fmt.Sprintf(`load_module %s;
daemon off;
worker_processes %d;
worker_rlimit_nofile %d;
pid %s/nginx.pid;
error_log /dev/null;
events { worker_connections %d; }
stream {
  server {
    listen %s%s reuseport;
    proxy_buffer_size 64k;
    proxy_pass %s;%s
  }
}
`, module, workers, mostFiles, dir, 2*mostFiles, listen, udp[network != "tcp"], target, map[string]string{brief: " proxy_responses 1;"}[network])
			return withConfig(ctx, dir, program, conf, "-p", dir, "-c")
		}
	}
	ours := func(engine, loops string) func(context.Context, string, string, string) (*process, error) {
		return func(ctx context.Context, network, listen, target string) (*process, error) {
			args := []string{"run", "--engine", engine, "--loops", loops, "--admin", "off", "--access-log", "off", "--log-level", "error"}
			if network == "tcp" {
				return start(ctx, nil, ebb, append(args, "--listen", network+"://"+listen, "--to", target, "--max-conns", "off")...)
			}
			at := netip.MustParseAddrPort(target)
			conf := fmt.Sprintf(`[[listener]]
name = "l"
listen = "udp://%s"
pool = "p"
mode = %q
max_conns = "off"
socket.reuse_port = true
[pool.p]
[[pool.p.backend]]
host = "%s"
port = %d
`, listen, map[bool]string{false: "session", true: "reqresp"}[network == brief], at.Addr(), at.Port())
			return withConfig(ctx, dir, ebb, conf, append(args, "-c")...)
		}
	}
	list := []proxy{
		{name: "direct", udp: true},
		{name: "haproxy, 1 thread", start: haproxy(sbin("haproxy"), 1)},
		{name: "haproxy, 2 threads", start: haproxy(sbin("haproxy"), 2)},
		{name: "nginx, 1 worker", udp: true, start: nginx(sbin("nginx"), 1)},
		{name: "nginx, 2 workers", udp: true, start: nginx(sbin("nginx"), 2)},
		{name: "io.Copy in Go", start: copying},
		{name: "ebb, uring, 1 loop", ours: true, udp: true, start: ours("uring", "1")},
		{name: "ebb, uring, 2 loops", ours: true, udp: true, start: ours("uring", "2")},
		{name: "ebb, epoll, 1 loop", ours: true, udp: true, start: ours("epoll", "1")},
		{name: "ebb, epoll, 2 loops", ours: true, udp: true, start: ours("epoll", "2")},
		{name: "ebb, portable", ours: true, udp: true, start: ours("portable", "auto")},
	}
	if also.nginx != "" { // behind the system's
		list = slices.Insert(list, 5,
			proxy{name: newNginx + ", 1 worker", udp: true, start: nginx(also.nginx, 1)}, proxy{name: newNginx + ", 2 workers", udp: true, start: nginx(also.nginx, 2)})
	}
	if also.haproxy != "" {
		list = slices.Insert(list, 3,
			proxy{name: newHAProxy + ", 1 thread", start: haproxy(also.haproxy, 1)}, proxy{name: newHAProxy + ", 2 threads", start: haproxy(also.haproxy, 2)})
	}
	return list
}

// newer names programs that are not the system's; empty is none.
type newer struct{ haproxy, nginx string }

// What their columns are called.
const (
	newHAProxy = "newer haproxy"
	newNginx   = "newer nginx"
)

func withConfig(ctx context.Context, dir, program, conf string, args ...string) (*process, error) {
	file := filepath.Join(dir, filepath.Base(program)+".conf")
	if err := os.WriteFile(file, []byte(conf), 0o644); err != nil {
		return nil, err
	}
	return start(ctx, []string{"PATH=" + os.Getenv("PATH") + ":/usr/sbin"}, program, append(args, file)...)
}

// sbin finds a server where Debian puts it, which is not on everyone's path.
func sbin(name string) string {
	if _, err := os.Stat("/usr/sbin/" + name); err == nil {
		return "/usr/sbin/" + name
	}
	return name
}

// measure runs each load once through the proxy, each with a fresh process.
func (p proxy) measure(ctx context.Context, t *targets, length time.Duration, only string, r *report) error {
	for i, l := range loads {
		if !strings.HasPrefix(l.name, only) || l.network != "tcp" && !p.udp {
			continue
		}
		s, err := p.sample(ctx, t, l, length)
		if err != nil {
			return fmt.Errorf("%s: %w", l.name, err)
		}
		r.add(i, p.name, s)
	}
	return nil
}

func (p proxy) sample(ctx context.Context, t *targets, l load, length time.Duration) (sample, error) {
	target := l.target(t)
	if p.start == nil {
		got, all, err := l.watched(ctx, t, target, length)
		return sample{Rate: got.rate, All: l.perUnit(all, got), P99: micros(got.p99), Beside: got.other}, err
	}
	listen := "127.0.0.1:" + freePort()
	proc, err := p.start(ctx, l.network, listen, target)
	if err != nil {
		return sample{}, err
	}
	defer proc.stop()
	if err := t.await(l.network, listen); err != nil {
		return sample{}, fmt.Errorf("%w: %s", err, proc.stderr.String())
	}
	before, err := proc.cpu()
	if err != nil {
		return sample{}, err
	}
	got, all, err := l.watched(ctx, t, listen, length)
	if err != nil {
		return sample{}, err
	}
	after, err := proc.cpu()
	return sample{Rate: got.rate, CPU: l.perUnit(after-before, got), All: l.perUnit(all, got), P99: micros(got.p99), Beside: got.other}, err
}

// watched runs the load and tells what the cores had to do meanwhile.
func (l load) watched(ctx context.Context, t *targets, addr string, length time.Duration) (got result, all time.Duration, err error) {
	before, err := busy()
	if err != nil {
		return got, 0, err
	}
	if got, err = l.run(ctx, t, addr, length); err != nil {
		return got, 0, err
	}
	after, err := busy()
	return got, after - before, err
}

// perUnit is the CPU time for a unit of the load, in seconds.
func (l load) perUnit(cpu time.Duration, got result) float64 {
	return cpu.Seconds() / got.units * l.cpuUnit
}
