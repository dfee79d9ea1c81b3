package lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/config"
)

func TestDR3ShutdownInOrder(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("127.0.0.2", port)}
	r.conf.ShutdownDelay, r.conf.ShutdownTimeout = patience, patience
	r.serve()
	addr := r.addr()
	stays, leaves := r.dial(), r.dial()
	greeting(t, stays)
	greeting(t, leaves)
	if ok, why := r.server.Ready(); !ok {
		t.Fatalf("not ready: %q", why)
	}
	r.cancel()
	eventually(t, "not ready", func() bool { ok, _ := r.server.Ready(); return !ok })
	if _, why := r.server.Ready(); !slices.Equal(why, []string{"stopping"}) {
		t.Errorf("reasons: %q", why)
	}
	late := r.dial() // within the delay clients are still served
	greeting(t, late)
	late.Close()
	r.hurry <- struct{}{} // a second signal ends the delay
	eventually(t, "the listener to be closed", func() bool {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, syscall.ECONNREFUSED)
	})
	for _, c := range []net.Conn{stays, leaves} { // those that live go on
		fmt.Fprintln(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			t.Fatal(err)
		}
	}
	leaves.Close()
	eventually(t, "one session", func() bool { return r.server.running().active() == 1 })
	close(r.hurry) // a third one
	r.hurry = nil
	if _, err := io.ReadAll(stays); err != nil {
		t.Errorf("the client that stays sees %v, want an end", err)
	}
	if err := <-r.done; err != nil {
		t.Fatal(err)
	}
	r.done <- nil
	ends := r.awaitEnds(3)
	if last := ends[len(ends)-1]; last != "shutdown" {
		t.Errorf("ends: %v", ends)
	}
	lines := r.logs.messages()
	for _, msg := range []string{"peer gone", "no peer left"} {
		if slices.Contains(lines, msg) {
			t.Errorf("%q is noise at the end", msg)
		}
	}
	if line := r.logs.find("stopped"); len(line) != 1 || line[0]["cut"] != 1.0 || lines[len(lines)-1] != "stopped" {
		t.Errorf("the last lines: %v", lines[max(0, len(lines)-3):])
	}
	published, reclaimed := r.server.running().pools[0].table.Counts()
	if published != reclaimed {
		t.Errorf("published %d, reclaimed %d", published, reclaimed)
	}
}

func TestShutdownTimeoutCuts(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("127.0.0.2", port)}
	r.conf.ShutdownTimeout = 50 * time.Millisecond
	r.serve()
	c := r.dial()
	greeting(t, c)
	r.cancel()
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the client sees %v, want an end", err)
	}
	if ends := r.awaitEnds(1); ends[0] != "shutdown" {
		t.Errorf("ends: %v", ends)
	}
}

func TestDNS52ANameThatResolvesLate(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.dns.Rcode("db.test", 2) // SERVFAIL
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.start()
	eventually(t, "the listener", func() bool { return r.server.accepting.Load() })
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v, want a reset", err)
	}
	eventually(t, "the reason", func() bool { return len(r.logs.find("not ready")) > 0 })
	if why := fmt.Sprint(r.logs.find("not ready")[0]["reason"]); !strings.Contains(why, "pool db has no peer to offer: db.test:") || !strings.Contains(why, "servfail") {
		t.Errorf("reason: %q", why)
	}
	select {
	case <-r.ready:
		t.Fatal("ready without a peer")
	default:
	}
	r.dns.Rcode("db.test", 0)
	r.dns.SetA("db.test", 0, "127.0.0.2")
	eventually(t, "ready", func() bool { ok, _ := r.server.Ready(); return ok })
	<-r.ready
	r.ask()
	r.closed()
}

// Everything that is wrong at the start is told at once, with names, and nothing is left behind.
func TestAddressInUse(t *testing.T) {
	ln := listenOn(t, "127.0.0.6", 0) // no client has a port there
	defer ln.Close()
	pc, err := net.ListenPacket("udp", "127.0.0.6:0")
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	r := newRig(t)
	taken, takenUDP := netip.MustParseAddrPort(ln.Addr().String()), netip.MustParseAddrPort(pc.LocalAddr().String())
	free := r.conf.Listeners[0].Listen[0]
	r.conf.Listeners[0].Listen = []config.Endpoint{free, {Network: "tcp", Addr: taken}, {Network: "udp", Addr: takenUDP}}
	r.conf.Admin.Listen = taken.String()
	err = Run(context.Background(), r.conf, RunOptions{Log: NewLogger(r.logs, NewLogForm("json"), slog.LevelInfo)})
	if !errors.Is(err, syscall.EADDRINUSE) {
		t.Fatalf("error: %v", err)
	}
	for _, want := range []string{"listener front: ", taken.String(), takenUDP.String(), "admin: "} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in %q", want, err)
		}
	}
	// Once more, with an error that comes after every listener and the admin server are bound, which frees them again.
	other := listenOn(t, "127.0.0.6", 0)
	for _, c := range []io.Closer{ln, pc, other} {
		c.Close()
	}
	r.conf.Listeners[0].Listen = []config.Endpoint{{Network: "tcp", Addr: taken}, {Network: "udp", Addr: takenUDP}}
	r.conf.Admin.Listen = other.Addr().String()
	b := named("not..a.name", 1)
	r.conf.Pools[0].Backends = []config.Backend{named("127.0.0.1", 1), b}
	err = Run(context.Background(), r.conf, RunOptions{Log: NewLogger(r.logs, NewLogForm("json"), slog.LevelInfo)})
	if err == nil || !strings.Contains(err.Error(), "pool db: backend not..a.name:1: ") {
		t.Errorf("error: %v", err)
	}
	again, err := net.Listen("tcp", taken.String())
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
	againUDP, err := net.ListenPacket("udp", takenUDP.String())
	if err != nil {
		t.Fatal(err)
	}
	againUDP.Close()
	again, err = net.Listen("tcp", r.conf.Admin.Listen)
	if err != nil {
		t.Fatal(err)
	}
	again.Close()
}
