package main

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"time"
)

// wwwName is what is asked, again and again.
const wwwName = "www.ebb.test"

// startKnot starts a DNS server that answers it, with one thread for UDP, and writes a file of questions for dnsperf.
func (t *targets) startKnot(ctx context.Context, dir string) error {
	port := freePort()
	conf := fmt.Sprintf(`server:
  rundir: %[1]s
  listen: 127.0.0.1@%[2]s
  udp-workers: 1
database:
  storage: %[1]s
zone:
  - domain: ebb.test
    file: %[1]s/zone
`, dir, port)
	const zone = "$ORIGIN ebb.test.\n$TTL 60\n@ SOA ns hostmaster 1 3600 600 86400 60\n@ NS ns\nns A 127.0.0.1\nwww A 192.0.2.1\n"
	t.asked = filepath.Join(dir, "questions")
	for name, text := range map[string]string{"knot.conf": conf, "zone": zone, "questions": wwwName + " A\n"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	p, err := start(ctx, nil, sbin("knotd"), "-c", filepath.Join(dir, "knot.conf"))
	if err != nil {
		return fmt.Errorf("the load dnsperf needs Knot (Debian package knot): %w", err)
	}
	t.closers = append(t.closers, p.stop)
	t.dns = "127.0.0.1:" + port
	return awaitDNS(t.dns)
}

// awaitDNS returns when questions to addr are answered, which it tries for up to 10 s.
func awaitDNS(addr string) error {
	r := net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "udp", addr)
	}}
	var err error
	for give := time.Now().Add(10 * time.Second); time.Now().Before(give); time.Sleep(10 * time.Millisecond) {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		_, err = r.LookupNetIP(ctx, "ip4", wwwName+".")
		cancel()
		if err == nil {
			return nil
		}
	}
	return fmt.Errorf("no answer through %s: %w", addr, err)
}

var (
	dnsperfRate = regexp.MustCompile(`Queries per second: +([0-9.]+)`)
	dnsperfDone = regexp.MustCompile(`Queries completed: +([0-9]+)`)
)

// dnsperf asks from n ports, with ten questions on the way from each, for whole seconds, at least one.
func dnsperf(n int) func(context.Context, *targets, string, time.Duration) (result, error) {
	return func(ctx context.Context, t *targets, addr string, length time.Duration) (result, error) {
		host, port, _ := net.SplitHostPort(addr)
		cmd := exec.CommandContext(ctx, "dnsperf", "-s", host, "-p", port, "-d", t.asked,
			"-l", wholeSeconds(length), "-c", strconv.Itoa(n), "-q", strconv.Itoa(10*n))
		cmd.SysProcAttr = withParent()
		out, err := cmd.CombinedOutput()
		if err != nil {
			return result{}, fmt.Errorf("dnsperf: %w: %s", err, out)
		}
		return printed("dnsperf", out, dnsperfRate, dnsperfDone)
	}
}
