//go:build linux

package integration

import (
	"fmt"
	"strings"
	"syscall"
	"testing"
)

// redis is a Redis server of a test.
type redis struct {
	binary, cli, host, port string
	*server
}

func startRedis(t *testing.T, host, port string) *redis {
	t.Helper()
	r := &redis{binary: program(t, "redis-server"), cli: program(t, "redis-cli"), host: host, port: port}
	r.begin(t)
	return r
}

func (r *redis) begin(t *testing.T) {
	t.Helper()
	r.server = (*account)(nil).run(t, t.TempDir(), r.binary, "--bind", r.host, "--port", r.port, "--save", "", "--appendonly", "no",
		"--replica-announce-ip", r.host)
	awaitServer(t, r.server, func() bool { out, err := r.ask(t, r.host, r.port, "PING"); return err == nil && out == "PONG" })
}

func (r *redis) ask(t *testing.T, host, port string, words ...string) (string, error) {
	t.Helper()
	return try(t, append([]string{r.cli, "-h", host, "-p", port}, words...)...)
}

// A name that moves from one Redis to another, and back when that dies.
func TestServersRedis(t *testing.T) {
	bench := program(t, "redis-benchmark")
	backends := fmt.Sprint(freePort(t))
	two, three := startRedis(t, host(2), backends), startRedis(t, host(3), backends)
	names := startDNS(t)
	names.SetA("redis.test", 0, host(2))
	addr, ip, port := front(t)
	e := startFlags(t, addr, "--listen", "tcp://"+addr.String(), "--to", "redis.test:"+backends, "--check", "tcp",
		"--resolver", "udp://"+names.Addr(), "--allow-answers", "loopback", "--min-refresh", "100ms")
	want := func(answer string, words ...string) {
		t.Helper()
		if out, err := two.ask(t, ip, port, words...); err != nil || out != answer {
			t.Errorf("%v: %q, %v, expected %q", words, out, err, answer)
		}
	}
	want("OK", "SET", "where", "two")
	want("two", "GET", "where")
	client := []string{bench, "-h", ip, "-p", port, "-c", "20", "-t", "get,set"}
	out := must(t, append(client, "-n", "5000", "-q")...)
	if strings.Contains(out, "rror") || strings.Count(out, "requests per second") != 2 {
		t.Errorf("redis-benchmark:\n%s", out)
	}
	names.SetA("redis.test", 0, host(3))
	e.awaitPeers(t, host(3)+":"+backends)
	eventually(t, "the check to pass", func() bool { p, ok := e.poolStatus(t).peer(host(3) + ":" + backends); return ok && p.State == "up" })
	want("", "GET", "where")
	want("OK", "SET", "where", "three")
	want("three", "GET", "where")
	e.wantEnds(t, "client_fin", "client_reset")

	load := background(t, append(client, "-n", "100000000", "-q")...)
	e.awaitLoad(t, 20)
	three.end(syscall.SIGKILL)
	e.allEnded(t)
	eventually(t, "the check to fail", func() bool { p, ok := e.poolStatus(t).peer(host(3) + ":" + backends); return ok && p.State == "down" })
	load.end(syscall.SIGKILL)
	before := e.allEnded(t)
	if out, err := two.ask(t, ip, port, "PING"); err == nil && out == "PONG" {
		t.Error("a dead server answers")
	}
	eventually(t, "the session to end", func() bool { return len(e.logs.ended()) > before })
	if s := e.logs.ended()[before]; s.End != "no_peer" {
		t.Errorf("%+v", s)
	}
	three.begin(t)
	eventually(t, "the check to pass", func() bool { p, ok := e.poolStatus(t).peer(host(3) + ":" + backends); return ok && p.State == "up" })
	want("", "GET", "where")
	names.SetA("redis.test", 0, host(2))
	e.awaitPeers(t, host(2)+":"+backends)
	eventually(t, "the check to pass", func() bool { p, ok := e.poolStatus(t).peer(host(2) + ":" + backends); return ok && p.State == "up" })
	want("two", "GET", "where")
	e.wantEnds(t, "client_fin", "client_reset", "server_fin", "server_reset", "peer_dead", "connect_failed", "no_peer")
	oracle(t, e)
}
