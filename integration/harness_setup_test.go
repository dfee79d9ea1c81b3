//go:build linux

package integration

import (
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// setup describes a config with one listener and one pool, both named "t". The zero value of each field is a default fit
// for tests; the text fields are lines of TOML for their table.
type setup struct {
	plain    bool   // the binary without the race detector
	place           // where and under what the process runs
	network  string // of the listener: tcp, udp; "" is tcp
	listen   netip.AddrPort
	hosts    []string // the backends: names or addresses
	port     uint16   // of the backends
	resolver string   // host:port of the DNS server for names; "" where hosts are addresses
	top      string   // top-level keys
	log      string
	listener string
	pool     string
	backend  string // for each backend
	check    string // "" is no check
	dns      string // for the resolver

	addr  netip.AddrPort // set by write: where the listener is
	admin string
}

// write puts the config into a file of the test.
func (s *setup) write(t *testing.T) string {
	t.Helper()
	if s.network == "" {
		s.network = "tcp"
	}
	if s.addr = s.listen; !s.addr.IsValid() {
		s.addr = netip.AddrPortFrom(loopback, freePort(t))
	}
	s.admin = netip.AddrPortFrom(loopback, freePort(t)).String()

	var b strings.Builder
	line := func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) }
	line("%s", s.top)
	line("[admin]\nlisten = %q", s.admin)
	line("[log]\nformat = \"json\"\n%s", s.log)
	if s.resolver != "" {
		line("[resolver.default]\nservers = [\"udp://%s\"]\n%s", s.resolver,
			withDefaults(s.dns, "attempt_timeout", `"500ms"`, "hosts_file", `"off"`))
	}
	line("[[listener]]\nname = \"t\"\nlisten = \"%s://%s\"\npool = \"t\"\n%s", s.network, s.addr, s.listener)
	line("[pool.t]\n%s", withDefaults(s.pool, "balance", `"roundrobin"`, "connect_timeout", `"1s"`))
	for _, h := range s.hosts {
		line("[[pool.t.backend]]\nhost = %q\nport = %d\n%s", h, s.port,
			withDefaults(s.backend, "allow_answers", `["loopback"]`))
	}
	if s.check != "" {
		line("[pool.t.check]\n%s", withDefaults(s.check, "kind", `"tcp"`, "interval", `"200ms"`, "timeout", `"500ms"`, "fast_interval", `"100ms"`))
	}
	// As in lb: everything on one engine.
	if engine := os.Getenv("EBB_TEST_ENGINE"); engine != "" && !strings.Contains("\n"+b.String(), "\n[relay]\n") {
		line("%s", onEngine(engine))
	}
	path := filepath.Join(t.TempDir(), "ebb.toml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// withDefaults adds the keys that lines do not set.
func withDefaults(lines string, pairs ...string) string {
	for i := 0; i < len(pairs); i += 2 {
		if !strings.Contains("\n"+lines, "\n"+pairs[i]+" ") {
			lines += "\n" + pairs[i] + " = " + pairs[i+1]
		}
	}
	return lines
}
