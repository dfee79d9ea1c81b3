//go:build linux

package integration

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// dnsperf asks a real server through ebb, from many ports at a time: every question has its right answer, and a flow of its own
// where the listener counts responses.
func TestServersDNSPerf(t *testing.T) {
	dnsperf, k := program(t, "dnsperf"), startKnot(t)
	questions := filepath.Join(t.TempDir(), "questions")
	if err := os.WriteFile(questions, []byte("db.ebb.test A\nns.ebb.test A\nnobody.ebb.test A\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseUint(k.port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	const sent = 3000
	for _, mode := range []string{
		"mode = \"session\"\nidle_timeout = \"2s\"", "mode = \"reqresp\"\nrequests = 1\nidle_timeout = \"20s\"",
	} {
		t.Run(mode, func(t *testing.T) {
			e := start(t, setup{
				network: "udp", hosts: []string{k.host}, port: uint16(port), listener: mode, log: `access = "off"`,
			})
			out, err := try(t, dnsperf, "-s", e.addr.Addr().String(), "-p", fmt.Sprint(e.addr.Port()), "-d", questions,
				"-n", fmt.Sprint(sent/3), "-c", "20", "-q", "20", "-t", "20")
			if err != nil {
				t.Fatalf("%v: %s", err, out)
			}
			for _, want := range []string{
				`Queries sent: +3000\n`, `Queries completed: +3000 \(100\.00%\)`, `Queries lost: +0 `, `NOERROR 2000 .*NXDOMAIN 1000 `,
			} {
				if !regexp.MustCompile(want).MatchString(out + "\n") {
					t.Errorf("no %q in:\n%s", want, out)
				}
			}
			m := e.atRest(t)
			if m.sum("ebb_udp_dropped_total") != 0 {
				t.Errorf("dropped %v", m.pick("ebb_udp_dropped_total"))
			}
			flows, complete := m.sum("ebb_sessions_total"), m.sum("ebb_sessions_total", `end="complete"`)
			if each := strings.Contains(mode, "reqresp"); each && complete != sent || !each && flows >= sent {
				t.Errorf("%v flows, %v complete", flows, complete)
			}
		})
	}
}
