//go:build linux

package integration

import (
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestLI5FailedCallsOfDatagrams has some sends of each thread fail. What was to be sent is dropped, for a reason; the
// flow and its listener go on.
func TestLI5FailedCallsOfDatagrams(t *testing.T) {
	for _, c := range []struct {
		engine, call, reason string
		sizes                []int // of the datagrams that are sent at a time
	}{
		{"epoll", "sendto", "", []int{1}}, // of both directions; of TCP there is only what an engine tries at its start
		{"epoll", "sendmsg", "", slices.Repeat([]int{8}, 32)},
		{"epoll", "sendmmsg", "", growing(32)}, // none can be joined to the one before it
		{"portable", "sendto", "send", []int{1}},
		{"portable", "sendmsg", "reply", []int{1}},
	} {
		for _, errno := range []string{"ENOBUFS", "EAGAIN", "EPERM", "ENOMEM"} {
			if c.engine == "portable" && c.call == "sendmsg" && errno == "EAGAIN" { // there a reply has a goroutine of its own, which waits for room
				continue
			}
			t.Run(c.engine+"/"+c.call+"/"+errno, func(t *testing.T) {
				t.Parallel()
				b := echoUDP(t, at(2, 0))
				e := start(t, setup{
					place: failing(t, c.call+":error="+errno+":when=4..6"), plain: true, network: "udp", hosts: []string{host(2)}, port: b.addr.Port(),
					top: onEngine(c.engine),
				})
				cl := listenUDP(t, at(1, 0))
				dropped := func(reason string) int {
					if reason == "" {
						return int(e.metrics(t).sum("ebb_udp_dropped_total"))
					}
					return int(e.metrics(t).sum("ebb_udp_dropped_total", label("reason", reason)))
				}
				sent, answered := 0, 0
				// One that is dropped says nothing, so that takes a while. How many threads make the calls is the runtime's affair.
				for begin, whole := time.Now(), 0; (whole < 10 || dropped("") < 3) && time.Since(begin) < patience; {
					for _, size := range c.sizes {
						cl.send(t, make([]byte, size), e.addr)
						sent++
					}
					came := 0
					for came < len(c.sizes) {
						if _, _, err := cl.tryRecv(200 * time.Millisecond); err != nil {
							break
						}
						came++
					}
					if answered += came; came == len(c.sizes) {
						whole++
					}
				}
				eventually(t, "the books to be closed", func() bool {
					for _, _, err := cl.tryRecv(time.Millisecond); err == nil; _, _, err = cl.tryRecv(time.Millisecond) {
						answered++
					}
					return answered+dropped("") == sent
				})
				if n := dropped(c.reason); n < 3 || n != dropped("") || dropped("send")+dropped("reply") != n {
					t.Errorf("sent %d, answered %d, dropped %v", sent, answered, e.metrics(t).pick("ebb_udp_dropped_total"))
				}
				if n := e.metrics(t).sum("ebb_sessions_active"); n != 1 {
					t.Errorf("%v flows", n)
				}
			})
		}
	}
}

func growing(n int) (sizes []int) {
	for i := range n {
		sizes = append(sizes, i+1)
	}
	return sizes
}

// TestUDPBehindAFirewall has packets filtered on their way out, which the kernel tells as EPERM.
func TestUDPBehindAFirewall(t *testing.T) {
	nft := program(t, "nft")
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			space := newSpace(t)
			rule := func(text string) {
				t.Helper()
				within(t, space, func() {
					cmd := exec.Command(nft, "-f", "-")
					cmd.Stdin = strings.NewReader("table inet t\ndelete table inet t\n" + text)
					if out, err := cmd.CombinedOutput(); err != nil {
						t.Fatalf("nft: %v: %s", err, out)
					}
				})
			}
			forbid := func(what string, addr netip.AddrPort) {
				t.Helper()
				rule(fmt.Sprintf("table inet t {\nchain c {\ntype filter hook output priority 0\nudp %s %d drop\n}\n}\n", what, addr.Port()))
			}
			var b *udpBackend
			var cl udpClient
			within(t, space, func() {
				b = echoUDP(t, at(2, 0))
				cl = listenUDP(t, at(1, 0))
			})
			e := start(t, setup{
				place: place{space: space}, network: "udp", hosts: []string{host(2)}, port: b.addr.Port(), top: onEngine(engine),
			})
			echoes := func(word string) {
				t.Helper()
				cl.send(t, []byte(word), e.addr)
				if got, _ := cl.recv(t); string(got) != word {
					t.Errorf("got %q, expected %q", got, word)
				}
			}
			dropped := func(reason string) float64 {
				return e.metrics(t).sum("ebb_udp_dropped_total", label("reason", reason))
			}
			echoes("before")
			forbid("dport", b.addr)
			for range 3 {
				cl.send(t, []byte("lost"), e.addr)
			}
			eventually(t, "three drops", func() bool { return dropped("send") == 3 })
			rule("")
			echoes("between")
			forbid("sport", e.addr)
			cl.send(t, []byte("lost"), e.addr)
			eventually(t, "a dropped reply", func() bool { return dropped("reply") == 1 })
			rule("")
			echoes("after")
			if n := e.metrics(t).sum("ebb_sessions_active"); n != 1 {
				t.Errorf("%v flows", n)
			}
			if p, ok := e.poolStatus(t).peer(b.addr.String()); !ok || p.State != "up" {
				t.Errorf("the peer is blamed: %+v", p)
			}
		})
	}
}
