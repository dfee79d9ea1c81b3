//go:build linux

package integration

import (
	"bytes"
	"fmt"
	"os/exec"
	"testing"
	"time"
)

// SE-7: the kernel destroys both sockets of every session at once, as `ss -K` has it do, again and again. Each session ends, is
// in the books once, and new clients are served. The row has 5000 sessions and ten times: with -soak.
func TestSE7(t *testing.T) {
	sessions, rounds := 300, 2
	if *soakFor > 0 {
		sessions, rounds = 5000, 10
	}
	ss := program(t, "ss")
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			space := newSpace(t)
			var b *backend
			within(t, space, func() { b = echo(t, at(2, freePort(t))) })
			e := start(t, setup{
				plain: *soakFor > 0, // what the race detector keeps of each goroutine would be 2 GiB
				place: place{space: space}, hosts: []string{host(2)}, port: b.addr.Port(),
				top: onEngine(engine),
			})
			for round := range rounds {
				var all []client
				within(t, space, func() {
					for i := range sessions {
						c, err := dialFrom(at(byte(100+i/1000), 0), e.addr)
						if err != nil {
							t.Error(err)
							return
						}
						all = append(all, c)
					}
				})
				for _, c := range all {
					c.echoes(t, []byte("in"))
				}
				ours := fmt.Sprintf("( sport = :%d or dport = :%d )", e.addr.Port(), b.addr.Port())
				var (
					killed []byte
					err    error
				)
				begin := time.Now()
				within(t, space, func() { killed, err = exec.Command(ss, "-K", "-H", "-t", "-n", "state", "established", ours).Output() })
				if err != nil {
					t.Fatal(err)
				}
				if len(killed) == 0 {
					t.Skip("this kernel destroys no sockets (CONFIG_INET_DIAG_DESTROY)")
				}
				eventually(t, "the end of all sessions", func() bool { return len(e.logs.ended()) == (round+1)*(sessions+1)-1 })
				for _, c := range all {
					c.wantReset(t)
					c.Close()
				}
				eventually(t, "a gauge of 0", func() bool { return e.metrics(t).sum("ebb_sessions_active") == 0 })
				t.Logf("%d sockets destroyed; all sessions have ended after %v", bytes.Count(killed, []byte("\n")), time.Since(begin).Round(time.Millisecond))
				within(t, space, func() {
					if err := talk(e.addr); err != nil {
						t.Errorf("a client after that: %v", err)
					}
				})
				if round == 0 { // memory that was touched once is no leak
					e.base.rss = e.usage(t).rss
				}
			}
			oracle(t, e)
			for _, s := range e.logs.ended()[:sessions] {
				if s.End != "client_reset" && s.End != "server_reset" {
					t.Errorf("%+v", s)
				}
			}
		})
	}
}
