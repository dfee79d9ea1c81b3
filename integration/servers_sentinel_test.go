//go:build linux

package integration

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	goredis "github.com/redis/go-redis/v9"
)

// startSentinels makes sentinels, of which two have to agree that a server is the primary.
func startSentinels(t *testing.T, primary *redis, hosts ...string) (addrs []string) {
	t.Helper()
	binary := program(t, "redis-sentinel")
	for _, host := range hosts {
		dir, port := t.TempDir(), fmt.Sprint(freePort(t))
		conf := filepath.Join(dir, "sentinel.conf") // which it writes
		text := fmt.Sprintf("bind %[1]s\nport %[2]s\nsentinel announce-ip %[1]s\nsentinel monitor main %[3]s %[4]s 2\nsentinel down-after-milliseconds main 3000\n",
			host, port, primary.host, primary.port)
		if err := os.WriteFile(conf, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		s := (*account)(nil).run(t, dir, binary, conf)
		awaitServer(t, s, func() bool { out, err := primary.ask(t, host, port, "PING"); return err == nil && out == "PONG" })
		addrs = append(addrs, net.JoinHostPort(host, port))
	}
	return addrs
}

// TestServersRedisSentinel has sentinels move the primary. A program's client finds the new one, the old session is closed,
// and a server that calls itself primary by its own word alone gets nothing. What the checks ask, an account may that can do
// nothing else, and no server takes note of an error.
func TestServersRedisSentinel(t *testing.T) {
	port := freePort(t)
	a, b := startRedis(t, host(2), fmt.Sprint(port)), startRedis(t, host(3), fmt.Sprint(port))
	own := func(r *redis, answer string, words ...string) {
		t.Helper()
		if out, err := r.ask(t, r.host, r.port, words...); err != nil || out != answer {
			t.Fatalf("%v at %s: %q, %v, expected %q", words, r.host, out, err, answer)
		}
	}
	for _, r := range []*redis{a, b} {
		own(r, "OK", "ACL", "SETUSER", "ebb", "on", ">geheim", "+auth", "+role", "+info")
		own(r, "OK", "CONFIG", "SET", "repl-diskless-sync-delay", "0")
	}
	own(b, "OK", "REPLICAOF", a.host, a.port)
	in := func(r *redis, word string) func() bool {
		return func() bool {
			out, err := r.ask(t, r.host, r.port, "INFO", "replication")
			return err == nil && strings.Contains(out, word)
		}
	}
	eventually(t, "the replica to be in step", in(b, "master_link_status:up"))
	sentinels := startSentinels(t, a, host(4), host(5), host(6))
	sentinel := func(i int, words ...string) string {
		t.Helper()
		h, p, _ := net.SplitHostPort(sentinels[i])
		out, err := a.ask(t, h, p, words...)
		if err != nil {
			t.Fatalf("%v: %q, %v", words, out, err)
		}
		return out
	}
	eventually(t, "the sentinels to know each other and the replica", func() bool {
		for i := range sentinels {
			out := sentinel(i, "SENTINEL", "MASTER", "main")
			if !strings.Contains(out, "num-slaves\n1") || !strings.Contains(out, "num-other-sentinels\n2") {
				return false
			}
		}
		return true
	})
	secret := secretFile(t, "geheim")
	e := start(t, setup{
		hosts: []string{a.host, b.host}, port: port,
		check: fmt.Sprintf("kind = \"redis\"\nuser = \"ebb\"\npassword_file = %q\ntimeout = \"10s\"\nwant = \"primary\"\nsentinels = [%q, %q, %q]\nsentinel_primary = \"main\"",
			secret, sentinels[0], sentinels[1], sentinels[2]),
	})
	at := func(r *redis) string { return r.host + ":" + r.port }
	e.awaitState(t, at(a), "up", "")
	e.awaitState(t, at(b), "unwanted", "role")

	program := goredis.NewClient(&goredis.Options{Addr: e.addr.String(), MaxRetries: -1}) // what fails is seen
	defer program.Close()
	ctx := context.Background()
	old := program.Conn()
	if err := old.Set(ctx, "where", "a", 0).Err(); err != nil {
		t.Fatal(err)
	}
	own(a, "a", "GET", "where")

	eventually(t, "a sentinel to promote the replica", func() bool { // not before it has heard of its state
		out := sentinel(0, "SENTINEL", "FAILOVER", "main")
		return out == "OK" || strings.Contains(out, "INPROG")
	})
	eventually(t, "the session to be closed", func() bool { return e.ends()["role_lost"] == 1 })
	if err := old.Ping(ctx).Err(); err == nil {
		t.Error("the session to the old primary lives")
	}
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	e.awaitState(t, at(b), "up", "")
	e.awaitState(t, at(a), "unwanted", "")
	if err := program.Set(ctx, "where", "b", 0).Err(); err != nil {
		t.Error(err)
	}
	own(b, "b", "GET", "where")
	own(a, "OK", "REPLICAOF", b.host, b.port) // as the sentinels would, after ten seconds
	eventually(t, "the old primary to follow", in(a, "master_link_status:up"))
	own(a, "b", "GET", "where")

	for _, r := range []*redis{a, b} {
		own(r, "", "ACL", "LOG")
		if out, err := r.ask(t, r.host, r.port, "INFO", "errorstats"); err != nil || strings.Contains(out, "errorstat_NO") || strings.Contains(out, "WRONGPASS") {
			t.Errorf("%s counts errors: %q, %v", r.host, out, err)
		}
	}

	// The primary dies, which the sentinels find out; it comes back as a primary by its own word, before they have told it.
	b.end(syscall.SIGKILL)
	e.awaitState(t, at(b), "down", "")
	e.awaitState(t, at(a), "up", "")
	if err := program.Set(ctx, "where", "a again", 0).Err(); err != nil {
		if err = program.Set(ctx, "where", "a again", 0).Err(); err != nil { // the first try may have found the session that died
			t.Error(err)
		}
	}
	own(a, "a again", "GET", "where")
	b.begin(t)
	own(b, "OK", "ACL", "SETUSER", "ebb", "on", ">geheim", "+auth", "+role", "+info")
	e.awaitState(t, at(b), "unwanted", "")
	if err := program.Set(ctx, "where", "a still", 0).Err(); err != nil {
		t.Error(err)
	}
	own(a, "a still", "GET", "where")
	if n := len(e.logs.find("several primaries")); n > 0 {
		t.Errorf("%d alarms, though there was one primary all the time", n)
	}
	if err := program.Close(); err != nil {
		t.Error(err)
	}
	e.keepsSecrets(t, "geheim")
	oracle(t, e)
}
