//go:build linux

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// knot is an authoritative DNS server of a test, for the zone ebb.test.
type knot struct {
	binary, dig, dir, host, port string
	*server
}

func startKnot(t *testing.T) *knot {
	t.Helper()
	k := &knot{binary: program(t, "knotd"), dig: program(t, "dig"), dir: t.TempDir(), host: host(2), port: fmt.Sprint(freePort(t))}
	for name, text := range map[string]string{
		"knot.conf": fmt.Sprintf(`server:
  rundir: %[1]s
  listen: %[2]s@%[3]s
  udp-workers: 1
  tcp-workers: 1
  background-workers: 1
log:
  - target: stderr
    any: warning
database:
  storage: %[1]s
zone:
  - domain: ebb.test
    file: %[1]s/ebb.test.zone
`, k.dir, k.host, k.port),
		"ebb.test.zone": `$ORIGIN ebb.test.
$TTL 60
@ SOA ns hostmaster 1 3600 600 86400 60
@ NS ns
ns A 192.0.2.1
db A 192.0.2.7
long TXT` + strings.Repeat(` "`+strings.Repeat("x", 200)+`"`, 20) + "\n",
	} {
		if err := os.WriteFile(filepath.Join(k.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	k.begin(t)
	return k
}

func (k *knot) begin(t *testing.T) {
	t.Helper()
	k.server = (*account)(nil).run(t, k.dir, k.binary, "-c", filepath.Join(k.dir, "knot.conf"))
	awaitServer(t, k.server, func() bool {
		out, err := k.ask(t, k.host, k.port, "db.ebb.test")
		return err == nil && out == "192.0.2.7"
	})
}

// ask puts a question with dig, which waits 2 s and does not repeat it.
func (k *knot) ask(t *testing.T, host, port string, words ...string) (string, error) {
	t.Helper()
	return try(t, append([]string{k.dig, "@" + host, "-p", port, "+short", "+tries=1", "+time=2"}, words...)...)
}

func TestServersDNS(t *testing.T) {
	k := startKnot(t)
	addr, ip, port := front(t)
	e := startFlags(t, addr, "--listen", "tcp+udp://"+addr.String(), "--to", k.host+":"+k.port, "--idle-timeout", "2s")
	want := func(answer string, words ...string) {
		t.Helper()
		eventually(t, strings.Join(words, " ")+" is "+answer, func() bool { // a datagram may be late or lost, here too
			out, err := k.ask(t, ip, port, words...)
			if err != nil {
				return false
			}
			lines := slices.DeleteFunc(strings.Split(out, "\n"), func(line string) bool { // dig has words of its own for a try that failed
				return strings.HasPrefix(line, ";")
			})
			if got := strings.Join(lines, "\n"); got != answer {
				t.Fatalf("%v: %q, expected %q", words, out, answer)
			}
			return true
		})
	}
	long := strings.TrimSpace(strings.Repeat(`"`+strings.Repeat("x", 200)+`" `, 20))
	want("192.0.2.7", "db.ebb.test", "+notcp")
	want("192.0.2.7", "db.ebb.test", "+tcp")
	want(long, "long.ebb.test", "TXT", "+notcp", "+bufsize=1232") // truncated; dig goes on with TCP
	proto := make(map[string]int)
	eventually(t, "the sessions to end", func() bool { // flows end by being idle
		clear(proto)
		for _, s := range e.logs.ended() {
			proto[s.Proto]++
		}
		return proto["udp"] >= 2 && proto["tcp"] >= 2
	})
	e.wantEnds(t, "client_fin", "client_reset", "idle")

	k.end(syscall.SIGKILL)
	if out, err := k.ask(t, ip, port, "db.ebb.test"); err == nil {
		t.Errorf("a dead server says %q", out)
	}
	if out, err := k.ask(t, ip, port, "db.ebb.test", "+tcp"); err == nil {
		t.Errorf("a dead server says %q", out)
	}
	k.begin(t)
	want("192.0.2.7", "db.ebb.test", "+notcp")
	want("192.0.2.7", "db.ebb.test", "+tcp")
	eventually(t, "all sessions to end", func() bool { return e.metrics(t).sum("ebb_sessions_active") == 0 })
	e.wantEnds(t, "client_fin", "client_reset", "idle", "connect_failed")
	oracle(t, e)
}
