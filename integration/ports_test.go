//go:build linux

package integration

import (
	"fmt"
	"net/netip"
	"strings"
	"testing"
)

// engines are all that carry TCP.
var engines = []string{"uring", "epoll", "portable"}

func onEngine(name string) string { return fmt.Sprintf("[relay]\nengine = %q\n", name) }

// TestLI6 has 200 source ports towards a peer. One address serves 200 sessions, and the next ends for want of a port, which the peer
// is not blamed for; with a second address there are as many again. The network is the test's own: no other holds a port.
func TestLI6(t *testing.T) {
	t.Parallel()
	const ports, more = 200, 5
	for _, engine := range engines {
		for _, sources := range [][]string{{host(9)}, {host(9), host(10)}} {
			t.Run(fmt.Sprintf("%s/%d", engine, len(sources)), func(t *testing.T) {
				t.Parallel()
				space, port := newSpace(t), freePort(t)
				room := ports * len(sources)
				within(t, space, func() {
					b := echo(t, at(2, port))
					e := start(t, setup{
						place: place{space: space}, plain: true, hosts: []string{host(2)}, port: port, top: onEngine(engine),
						pool: fmt.Sprintf("connect_timeout = \"20s\"\nsocket.source_ports = \"40000-40199\"\nsocket.source = [\"%s\"]", strings.Join(sources, `", "`)),
					})
					var live []client
					enter := func() {
						c := dial(t, e.addr)
						c.echoes(t, []byte("in"))
						live = append(live, c)
					}
					for range room {
						enter()
					}
					quickest := patience
					for range more {
						quickest = min(quickest, e.wantRefusal(t))
					}
					t.Logf("session %d was refused within %v at best", room+1, quickest)
					eventually(t, "their lines", func() bool { return len(e.logs.ended()) == more })
					for _, s := range e.logs.ended() {
						if s.End != "no_source_port" || !strings.Contains(s.Attempts, " no_source_port ") {
							t.Errorf("%+v", s)
						}
					}
					if p, ok := e.poolStatus(t).peer(b.addr.String()); !ok || p.State != "up" {
						t.Errorf("the peer is blamed: %+v", p)
					}
					live[0].abort() // an end would keep the port in TIME_WAIT
					live = live[1:]
					eventually(t, "a free port", func() bool { return len(e.logs.ended()) == more+1 })
					eventually(t, "a session that takes it", func() bool { return talk(e.addr) == nil })
					for _, c := range live {
						c.echoes(t, []byte("still"))
						c.Close()
					}
					oracle(t, e)
					served := make(map[string]int)
					for _, s := range e.logs.ended() {
						if s.End == "client_fin" {
							served[netip.MustParseAddrPort(s.Upstream).Addr().String()]++
						}
					}
					if len(served) != len(sources) {
						t.Errorf("sessions went out from %v, want %v", served, sources)
					}
				})
			})
		}
	}
}
