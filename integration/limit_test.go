//go:build linux

package integration

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestLI1(t *testing.T) {
	t.Parallel()
	const limit = 100
	b := echo(t, at(2, freePort(t)))
	e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port(), listener: "max_conns = 100"})
	var live []client
	for range limit {
		c := dial(t, e.addr)
		c.echoes(t, []byte("in"))
		live = append(live, c)
	}
	quickest := patience
	const refused = 10
	for range refused {
		quickest = min(quickest, e.wantRefusal(t))
	}
	if quickest > 10*time.Millisecond {
		t.Errorf("refused after %v at best", quickest)
	}
	if n := e.metrics(t).sum("ebb_rejected_total", label("reason", "max_conns")); n != refused {
		t.Errorf("ebb_rejected_total is %v, expected %d", n, refused)
	}
	if n := b.accepted.Load(); n != limit {
		t.Errorf("the peer has seen %d connections", n)
	}
	live[0].Close()
	eventually(t, "room", func() bool { return len(e.logs.ended()) == refused+1 })
	c := dial(t, e.addr)
	c.echoes(t, []byte("next"))
	for _, c := range append(live[1:], c) {
		c.echoes(t, []byte("still"))
		c.Close()
	}
	oracle(t, e, b)
}

// Out of descriptors, ebb backs off, counts, and does not spin; when descriptors come back it goes on by itself.
func TestEMFILE(t *testing.T) {
	t.Parallel()
	const sessions, waiting = 10, 5
	b := echo(t, at(2, freePort(t)))
	e := start(t, setup{plain: true, hosts: []string{host(2)}, port: b.addr.Port()})
	var live []client
	for range sessions {
		c := dial(t, e.addr)
		c.echoes(t, []byte("in"))
		live = append(live, c)
	}
	e.limitFDs(t)
	var queued []client // the kernel completes their handshakes; ebb cannot accept them
	for range waiting {
		c, err := dialFrom(netip.AddrPort{}, e.addr)
		if errors.Is(err, syscall.ECONNRESET) { // it got the last descriptor, and there was none for its peer
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		queued = append(queued, c)
	}
	eventually(t, "a failed accept", func() bool { return len(e.logs.find("accept failed, backing off", "reason", "emfile")) > 0 })
	used := e.load(t, func() {
		for begin := time.Now(); time.Since(begin) < 2*time.Second; time.Sleep(100 * time.Millisecond) {
			for _, c := range live { // those that are in do not suffer
				c.echoes(t, []byte("still"))
			}
		}
	})
	t.Logf("%.1f %% of a core out of descriptors", 100*used)
	if used > 0.25 {
		t.Errorf("used %.0f %% of a core: it spins", 100*used)
	}
	for _, c := range live {
		c.Close()
	}
	for _, c := range queued { // one that is accepted when there is a descriptor for it and none for its peer yet is reset
		if _, err := c.Write([]byte("x")); err == nil {
			_, err = c.Read(make([]byte, 1))
			if err != nil && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("a client that waited: %v", err)
			}
		}
		c.Close()
	}
	eventually(t, "the end of those that waited", func() bool { return len(e.logs.ended()) == sessions+waiting })
	// A session has ended a moment before its descriptors are free.
	eventually(t, "a session as always", func() bool { return talk(e.addr) == nil })
	if n := e.metrics(t).sum("ebb_accept_errors_total", label("reason", "emfile")); n < 1 || n > 100 { // 5 ms, 10, 20, ... 1 s
		t.Errorf("%v failed accepts counted", n)
	}
	oracle(t, e, b)
	for _, s := range e.logs.ended() {
		if s.End != "client_fin" && (s.End != "internal" || !strings.Contains(s.Attempts, " no_resources ")) {
			t.Errorf("%+v", s)
		}
	}
}

// Out of descriptors, ebb drops what would open a flow, for that reason. Flows that live go on, and so does all when
// descriptors come back.
func TestUDPWithoutDescriptors(t *testing.T) {
	t.Parallel()
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			b := echoUDP(t, at(2, 0))
			e := start(t, setup{
				plain: true, network: "udp", hosts: []string{host(2)}, port: b.addr.Port(), listener: `idle_timeout = "1m"`, top: onEngine(engine),
			})
			old := listenUDP(t, at(1, 0))
			sent := int64(0)
			echoes := func(c udpClient) {
				c.send(t, []byte("x"), e.addr)
				c.recv(t)
				sent++
			}
			echoes(old)
			lift := e.limitFDs(t)
			for range 10 {
				listenUDP(t, at(1, 0)).send(t, []byte("lost"), e.addr)
				sent++
				echoes(old) // which came after it
			}
			lift()
			echoes(listenUDP(t, at(1, 0)))
			agree(t, 5*time.Millisecond, func() (bad complaints) {
				m := e.metrics(t)
				dropped := m.sum("ebb_udp_dropped_total", label("reason", "emfile")) // a connection that ends gives a few a descriptor
				if dropped < 5 || m.sum("ebb_udp_dropped_total") != dropped || b.received.Load()+int64(dropped) != sent {
					bad.add("sent %d, %d arrived, dropped %v", sent, b.received.Load(), m.pick("ebb_udp_dropped_total"))
				}
				return bad
			})
		})
	}
}

// limitFDs leaves ebb no descriptor to open, until lift: RLIMIT_NOFILE is one more than the highest number that a new one may
// have, and the kernel gives the lowest that is free.
func (e *ebb) limitFDs(t *testing.T) (lift func()) {
	t.Helper()
	list, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", e.cmd.Process.Pid))
	if err != nil {
		t.Fatal(err)
	}
	open := make(map[string]bool)
	for _, f := range list {
		open[f.Name()] = true
	}
	free := 0
	for open[strconv.Itoa(free)] {
		free++
	}
	var was unix.Rlimit
	limit := func(to, old *unix.Rlimit) {
		if err := unix.Prlimit(e.cmd.Process.Pid, unix.RLIMIT_NOFILE, to, old); err != nil {
			t.Fatal(err)
		}
	}
	limit(nil, &was)
	limit(&unix.Rlimit{Cur: uint64(free), Max: was.Max}, nil)
	return func() { limit(&was, nil) }
}
