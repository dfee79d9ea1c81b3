//go:build linux

package integration

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

var authorityFor = flag.Duration("authority", 20*time.Second, "how long a real authoritative server moves names under load")

// bind is an authoritative DNS server of a test, for the zone ebb.test, which takes dynamic updates (RFC 2136).
type bind struct {
	nsupdate, host, port string
	*server
}

func startBind(t *testing.T) *bind {
	t.Helper()
	// It binds addresses of interfaces only, of which loopback has one.
	b := &bind{nsupdate: program(t, "nsupdate"), host: host(1), port: fmt.Sprint(freePort(t))}
	named, dig := program(t, "named"), program(t, "dig")
	who := anyone(t, "bind")
	dir := who.folder(t)
	for name, text := range map[string]string{
		"named.conf": fmt.Sprintf(`options {
	directory "%[1]s";
	pid-file "%[1]s/named.pid";
	session-keyfile "%[1]s/session.key";
	managed-keys-directory "%[1]s";
	listen-on port %[3]s { %[2]s; };
	listen-on-v6 { none; };
	recursion no;
	dnssec-validation no;
	notify no;
};
controls { };
zone "ebb.test" { type primary; file "%[1]s/ebb.test.zone"; allow-update { 127.0.0.0/8; }; };
`, dir, b.host, b.port),
		"ebb.test.zone": "$ORIGIN ebb.test.\n$TTL 1\n@ SOA ns hostmaster 1 3600 600 86400 1\n@ NS ns\nns A 192.0.2.1\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	b.server = who.run(t, dir, named, "-g", "-n", "1", "-c", filepath.Join(dir, "named.conf"))
	awaitServer(t, b.server, func() bool {
		out, err := try(t, dig, "@"+b.host, "-p", b.port, "+short", "+tries=1", "+time=2", "ns.ebb.test")
		return err == nil && out == "192.0.2.1"
	})
	return b
}

// update changes the zone in one transaction. Lines are as nsupdate takes them, behind "update".
func (b *bind) update(t *testing.T, lines ...string) {
	t.Helper()
	script := fmt.Sprintf("server %s %s\nzone ebb.test\n", b.host, b.port)
	for _, line := range lines {
		script += "update " + line + "\n"
	}
	cmd := exec.CommandContext(t.Context(), b.nsupdate)
	cmd.Stdin = strings.NewReader(script + "send\n")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("nsupdate: %v\n%s%s", err, script, out)
	}
}

// A real server moves a name and a service under load, by updates: no connection fails, no long session is cut, and when
// all is quiet the peers are what the server says.
func TestDNSAuthority(t *testing.T) {
	b := startBind(t)
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 4))
	const peers = 6
	port := freePort(t)
	var backends []*backend
	for n := range byte(peers) {
		backends = append(backends, echo(t, at(10+n, port)))
		b.update(t, fmt.Sprintf("add t%d.ebb.test. 1 A %s", n, host(10+n)))
	}
	b.update(t, "add db.ebb.test. 1 A "+host(10), fmt.Sprintf("add _db._tcp.ebb.test. 1 SRV 0 0 %d t0.ebb.test.", port))
	addr, _, _ := front(t)
	e := startFlags(t, addr, "--listen", "tcp://"+addr.String(), "--to", fmt.Sprintf("db.ebb.test:%d", port), "--to", "srv+_db._tcp.ebb.test",
		"--resolver", "udp://"+b.host+":"+b.port, "--allow-answers", "loopback", "--min-refresh", "100ms", "--max-refresh", "100ms")
	l := startLoad(t, addr, 200, 50)
	changes, begin := 0, time.Now()
	var want []string
	for time.Since(begin) < *authorityFor {
		lines := []string{"delete db.ebb.test. A", "delete _db._tcp.ebb.test. SRV"}
		want = nil
		for n := range byte(peers) {
			plain, service := r.IntN(2) == 0, r.IntN(2) == 0
			if n == byte(changes%peers) { // never an empty answer
				plain, service = true, true
			}
			if plain {
				lines = append(lines, "add db.ebb.test. 1 A "+host(10+n))
			}
			if service { // all of one priority, for what stands by takes no sessions
				lines = append(lines, fmt.Sprintf("add _db._tcp.ebb.test. 1 SRV 10 %d %d t%d.ebb.test.", 1+r.IntN(9), port, n))
			}
			if plain || service {
				want = append(want, at(10+n, port).String())
			}
		}
		b.update(t, lines...)
		changes++
	}
	slices.Sort(want)
	e.awaitPeers(t, want...)
	l.end(time.Since(begin))
	published := e.poolStatus(t).Epoch
	t.Logf("%d updates, %d epochs", changes, published)
	if published < uint64(changes)/10 {
		t.Errorf("%d updates made only %d epochs", changes, published)
	}
	e.wantEnds(t, "client_fin")
	oracle(t, e, backends...)
}
