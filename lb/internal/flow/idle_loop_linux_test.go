//go:build amd64 || arm64

package flow

import (
	"net"
	"net/netip"
	"runtime"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/engine"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// driven is a loop whose turns a test makes.
type driven struct {
	*rig
	*loop
	client endpoint
	turns  ticks
}

// drive gives a loop of flows with one response. A peer answers a question that is a number so many times.
func drive(t *testing.T, dial *sock.Options, peers ...endpoint) *driven {
	t.Helper()
	if carried == "portable" {
		t.Skip("the portable carrier makes a socket for each flow")
	}
	runtime.LockOSThread()
	t.Cleanup(runtime.UnlockOSThread)
	conn, err := sock.ListenUDP(t.Context(), localhost, sock.Default)
	if err != nil {
		t.Fatal(err)
	}
	var at []netip.AddrPort
	for _, p := range peers {
		at = append(at, p.addr)
		go func() {
			b := make([]byte, 1)
			for {
				_, from, err := p.ReadFromUDPAddrPort(b)
				if err != nil {
					return
				}
				for range b[0] {
					_, _ = p.WriteToUDPAddrPort(b, from)
				}
			}
		}()
	}
	d := &driven{rig: newRigOn(t, conn, Options{Mode: ReqResp, IdleTimeout: time.Minute, Responses: 1, Dial: dial}, at...), client: bind(t, localhost)}
	d.loop = d.rig.table.carrier.(*loop)
	d.start()
	t.Cleanup(func() {
		d.group.Stop()
		d.turnUntil("the stop", d.rig.table.closing.Load)
	})
	return d
}

func (d *driven) turnUntil(what string, f func() bool) {
	d.t.Helper()
	d.rig.await(what, func() bool {
		if f() {
			return true
		}
		d.turnOnce()
		return f()
	})
}

func (d *driven) turnOnce() {
	d.intake.wake() // nothing may be due
	d.turns++
	d.turn()
}

// ask makes a flow that gets so many answers, and waits for its end.
func (d *driven) ask(answers byte) *Flow {
	d.t.Helper()
	n := len(d.opened())
	d.client.send(d.rig.addr, []byte{answers})
	d.turnUntil("the end of a flow", func() bool {
		all := d.opened()
		return len(all) > n && len(all[n].ended) > 0
	})
	d.turnOnce() // with which the last answer leaves
	return d.opened()[n].flow
}

// isOpen tells whether the socket of a flow is.
func (d *driven) isOpen(f *Flow) bool {
	c, err := net.ListenUDP("udp", net.UDPAddrFromAddrPort(f.Upstream()))
	if err == nil {
		c.Close()
	}
	return err != nil
}

func TestIdleSocketsAreClosed(t *testing.T) {
	d := drive(t, nil, bind(t, localhost), bind(t, localhost))
	before := d.idle.n
	first := d.ask(1)
	if !d.isOpen(first) || d.idle.n != before+1 {
		t.Fatal("the socket of a flow that is over is closed")
	}
	second := d.ask(2) // the last peer stays
	d.turnUntil("the close of a socket that was heard", func() bool { return !d.isOpen(second) })
	if d.idle.shy > 0 {
		t.Error("what came right after the answer is taken for late")
	}

	third := d.ask(1)
	d.calm += idlePause
	d.surplus(&engine.Datagram{Kind: engine.Peer, Tag: uint32(third.looped.slot), Err: unix.ECONNREFUSED})
	d.turnUntil("the close of a socket with an error", func() bool { return !d.isOpen(third) })
	if d.idle.shy > 0 || len(d.drops()) > 1 {
		t.Errorf("an error is taken for an answer; dropped: %v", d.drops())
	}

	calm, turns := d.calm, d.turns
	d.born = d.born.Add(-tick * time.Duration(idleLife+1))
	d.turnUntil("the close of a socket that has been idle for long", func() bool { return !d.isOpen(first) })
	if d.calm-calm > d.turns-turns {
		t.Errorf("%d turns are %d ticks", d.turns-turns, d.calm-calm)
	}

	d.ask(1)
	GiveWay()
	for range 2 {
		if d.ask(1); d.idle.n > 0 {
			t.Error("sockets are idle although somebody lacks a descriptor")
		}
	}
	d.calm += idleLife // so long nobody has lacked one

	third = d.ask(1) // in a slot of theirs
	if i := d.idle.at(third.looped.slot); i == nil || i.peer != third.peer || i.fd != third.looped.fd || i.upstream != third.Upstream() {
		t.Errorf("%+v is idle, expected the socket of %+v", i, third.looped)
	}
	n := len(d.opened())
	d.client.send(d.rig.addr, []byte{0}) // is never answered
	d.turnUntil("a flow that waits", func() bool { return len(d.opened()) > n })
	d.group.Stop()
	d.turnUntil("the stop", d.rig.table.closing.Load)
	if d.idle.n > 0 {
		t.Error("sockets are idle after the stop")
	}
	d.turnUntil("the close of what was idle", func() bool { return !d.isOpen(third) })
	waits := d.opened()[n].flow
	waits.requests.Store(1 | complete)
	waits.replies++
	waits.Kill(end.Complete)
	d.turnUntil("the end of a flow after the stop", func() bool { return len(d.opened()[n].ended) > 0 })
	if d.idle.n > 0 {
		t.Error("the socket of a flow that ended after the stop is idle")
	}
}

// LI-6: what is idle takes no port from who needs one.
func TestLI6IdleSocketsMakeRoom(t *testing.T) {
	free := bind(t, netip.MustParseAddrPort("127.0.0.73:0")) // no test has another port there
	free.Close()
	own := free.addr
	d := drive(t, &sock.Options{Source: sock.Source{IPv4: sock.Addresses{own.Addr()}, First: own.Port(), Last: own.Port()}}, bind(t, localhost), bind(t, localhost))
	before := lacking.Load()
	for range 3 { // of one peer, of the other, and of that again
		if f := d.ask(1); f.Upstream() != own {
			t.Fatalf("a flow comes from %v, expected %v; dropped: %v", f.Upstream(), own, d.drops())
		}
		d.client.recv([]byte{1})
	}
	if lacking.Load() == before {
		t.Error("other loops are not told")
	}
}
