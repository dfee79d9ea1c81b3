//go:build linux

package integration

import (
	"encoding/binary"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// UD-10: flows come and go, and nothing is left of them. With -soak they come at 500 a second, and what ebb holds stays flat.
func TestUD10(t *testing.T) {
	if *soakFor == 0 {
		t.Parallel()
	}
	b := echoUDP(t, at(2, 0))
	idle := "500ms"
	if *soakFor > 0 {
		idle = "2s"
	}
	e := start(t, setup{
		network: "udp", hosts: []string{host(2)}, port: b.addr.Port(), listener: fmt.Sprintf("idle_timeout = %q", idle), log: `access = "off"`,
		plain: *soakFor > 0,
	})
	come := func() udpClient {
		c := listenUDP(t, at(1, 0))
		c.send(t, []byte("x"), e.addr)
		return c
	}
	if *soakFor == 0 {
		for round := range int64(3) {
			clients := make([]udpClient, 100) // open all the time, so that no two have the same port
			for i := range clients {
				clients[i] = come()
			}
			eventually(t, "the flows are idle and gone", func() bool {
				return b.received.Load() == 100*(round+1) && e.metrics(t).sum("ebb_sessions_active") == 0
			})
			for _, c := range clients {
				c.Close()
			}
		}
		if m := e.atRest(t); m.sum("ebb_sessions_total") != 300 || m.sum("ebb_udp_dropped_total") != 0 {
			t.Errorf("ended %v, dropped %v", m.pick("ebb_sessions_total"), m.pick("ebb_udp_dropped_total"))
		}
		return
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var early, late usageSeries
	begin := time.Now()
	for n := 0; time.Since(begin) < *soakFor; n++ {
		<-tick.C
		for range 5 {
			come().Close()
		}
		if n%100 != 0 || time.Since(begin) < min(10*time.Second, *soakFor/8) {
			continue
		}
		switch at := time.Since(begin); {
		case at < *soakFor/2:
			early.add(e.usage(t))
		default:
			late.add(e.usage(t))
		}
	}
	t.Logf("descriptors %d then %d, goroutines %d then %d", median(early.fds), median(late.fds), median(early.goroutines), median(late.goroutines))
	for what, is := range map[string][2]int{
		"descriptors": {median(early.fds), median(late.fds)}, "goroutines": {median(early.goroutines), median(late.goroutines)},
	} {
		if bound := max(is[0]/20, 2); is[1] > is[0]+bound || is[1] < is[0]-bound {
			t.Errorf("%s went from %d to %d", what, is[0], is[1])
		}
	}
	e.atRest(t)
}

type usageSeries struct{ fds, goroutines []int }

func (s *usageSeries) add(u usage) {
	s.fds, s.goroutines = append(s.fds, u.fds), append(s.goroutines, u.goroutines)
}

func median(list []int) int {
	if len(list) == 0 {
		return 0
	}
	slices.Sort(list)
	return list[len(list)/2]
}

// UD-11: flows that are idle almost at once, and clients of one datagram each. None is lost, unless it is counted.
func TestUD11(t *testing.T) {
	if *soakFor == 0 {
		t.Parallel()
	}
	clients := 1000
	if *soakFor > 0 {
		clients = 10_000
		var over atomic.Bool // both cores have work besides
		for range 2 {
			go func() {
				for !over.Load() {
				}
			}()
		}
		defer over.Store(true)
	}
	b := serveUDP(t, at(2, 0), func([]byte) []byte { return nil })
	e := start(t, setup{
		network: "udp", hosts: []string{host(2)}, port: b.addr.Port(), listener: `idle_timeout = "10ms"`, log: `access = "off"`,
		plain: *soakFor > 0,
	})
	a := newTally(t, e, b)
	for range clients {
		a.send(listenUDP(t, at(1, 0)), []byte("first")) // open until the end, so that no two have the same port
		a.keepUp(100)
	}
	a.balance()
	if m := e.atRest(t); m.sum("ebb_sessions_total") < float64(b.received.Load()) { // the flush, too, has a flow of its own
		t.Errorf("%v flows for %d datagrams of as many clients", m.sum("ebb_sessions_total"), b.received.Load())
	}
}

// UD-17: numbered datagrams of one client keep their order, and what is lost is counted. With -soak it is at most one in a
// thousand.
func TestUD17(t *testing.T) {
	if *soakFor == 0 {
		t.Parallel()
	}
	count, buffer := 5000, ""
	if *soakFor > 0 {
		count, buffer = 100_000, "\n[listener.socket]\nreceive_buffer = 4194304" // or else 14 ms without a processor are too much
	}
	var last, disorder atomic.Int64
	b := serveUDP(t, at(2, 0), func(b []byte) []byte {
		if n := int64(binary.BigEndian.Uint64(b)); n <= last.Swap(n) {
			disorder.Add(1)
		}
		return nil
	})
	e := start(t, setup{network: "udp", hosts: []string{host(2)}, port: b.addr.Port(), listener: `idle_timeout = "1s"` + buffer, plain: *soakFor > 0})
	a := newTally(t, e, b)
	c := listenUDP(t, at(1, 0))
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	number := func() []byte { return binary.BigEndian.AppendUint64(nil, uint64(a.sent+1)) }
	for range count / 20 { // 20,000 a second
		<-tick.C
		for range 20 {
			a.send(c, number())
		}
	}
	a.flush = func() { a.send(c, number()) }
	a.balance()
	if n := disorder.Load(); n > 0 {
		t.Errorf("%d datagrams came after a later one", n)
	}
	if lost := a.sent - b.received.Load(); *soakFor > 0 && lost*1000 > a.sent {
		t.Errorf("%d of %d are lost", lost, a.sent)
	}
	oracle(t, e)
}

// tally says where datagrams are that were sent through ebb.
type tally struct {
	t     *testing.T
	e     *ebb
	peer  *udpBackend
	sent  int64
	flush func() // sends one more, with which the kernel tells what it has dropped
}

func newTally(t *testing.T, e *ebb, peer *udpBackend) *tally {
	a := &tally{t: t, e: e, peer: peer}
	a.flush = func() {
		c := listenUDP(t, at(1, 0))
		defer c.Close()
		a.send(c, []byte("flush"))
	}
	return a
}

func (a *tally) send(c udpClient, b []byte) {
	a.t.Helper()
	c.send(a.t, b, a.e.addr)
	a.sent++
}

// keepUp waits, not for ever, until no more than a few are under way.
func (a *tally) keepUp(few int64) {
	for begin := time.Now(); a.sent-a.peer.received.Load() > few && time.Since(begin) < time.Second; {
		time.Sleep(time.Millisecond) // sockets have no event to wait for
	}
}

// balance waits until each datagram has arrived or is counted: dropped by ebb, or by the kernel at the peer's socket.
func (a *tally) balance() {
	a.t.Helper()
	begin, next := time.Now(), time.Now().Add(time.Second/2)
	for {
		arrived, dropped, late := a.peer.received.Load(), int64(a.e.metrics(a.t).sum("ebb_udp_dropped_total")), kernelDrops(a.t, a.peer)
		if arrived+dropped+late == a.sent {
			a.t.Logf("sent %d, arrived %d, dropped by ebb %d, at the peer %d", a.sent, arrived, dropped, late)
			return
		}
		if time.Since(begin) > patience {
			a.t.Fatalf("sent %d, arrived %d, dropped by ebb %d, at the peer %d", a.sent, arrived, dropped, late)
		}
		if time.Now().After(next) {
			a.flush()
			next = time.Now().Add(time.Second / 2)
		}
		time.Sleep(10 * time.Millisecond)
	}
}

// kernelDrops is what the socket of a server had no room for.
func kernelDrops(t *testing.T, b *udpBackend) int64 {
	t.Helper()
	text, err := os.ReadFile("/proc/net/udp")
	if err != nil {
		t.Fatal(err)
	}
	ip := b.addr.Addr().As4()
	local := fmt.Sprintf("%02X%02X%02X%02X:%04X", ip[3], ip[2], ip[1], ip[0], b.addr.Port())
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 13 && f[1] == local {
			n, err := strconv.ParseInt(f[12], 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return n
		}
	}
	t.Fatalf("/proc/net/udp has no %s", local)
	return 0
}
