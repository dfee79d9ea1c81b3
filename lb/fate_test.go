package lb

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// endsAs fails unless a session ends with FIN and, as the only one, with the word.
func (r *rig) endsAs(c io.Reader, word string) {
	r.t.Helper()
	if _, err := io.ReadAll(c); err != nil {
		r.t.Errorf("the client sees %v, want an end", err)
	}
	if ends := r.awaitEnds(1); len(ends) != 1 || ends[0] != word {
		r.t.Errorf("ends: %v, want %s", ends, word)
	}
}

func (r *rig) fate(peer string) *fate {
	for addr, f := range r.server.running().pools[0].fates.of.Range {
		if addr.(netip.AddrPort).Addr().String() == peer {
			return f.(*fate)
		}
	}
	return nil
}

// A peer that only an old epoch holds is still checked, and its death ends what lives there.
func TestRH10DeathOnAnOldEpoch(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.pool().Check = fastCheck()
	r.serve()
	eventually(t, "up", func() bool { return r.status().Peers[0].State == "up" })
	c := r.dial()
	greeting(t, c)
	r.dns.SetA("db.test", 0, "127.0.0.3")
	r.awaitListed("127.0.0.3")
	if !lives(c) {
		t.Fatal("the session has ended with the epoch")
	}
	list[0].ln.Close() // its connections live on: only the check knows
	r.endsAs(c, "peer_dead")
	r.closed()
}

func TestDeadDrains(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("127.0.0.2", port)}
	r.pool().Check = fastCheck()
	r.pool().On.Dead = "drain"
	r.serve()
	eventually(t, "up", func() bool { return r.status().Peers[0].State == "up" })
	c := r.dial()
	greeting(t, c)
	list[0].ln.Close()
	eventually(t, "down", func() bool { return r.fate("127.0.0.2") != nil })
	if !lives(c) {
		t.Fatal("the session has ended")
	}
	again := serveBackend(t, "127.0.0.2", port)
	eventually(t, "up again", func() bool { return r.fate("127.0.0.2") == nil })
	again.stop()
	r.next.Store(withPool(r.conf, func(p *config.Pool) { p.DrainTimeout = time.Millisecond }))
	if _, err := r.server.Reload(); err != nil {
		t.Fatal(err)
	}
	r.endsAs(c, "drained")
	r.closed()
}

// withPool is a config in which the pool differs.
func withPool(c *config.Config, change func(*config.Pool)) *config.Config {
	next := *c
	next.Pools = append([]config.Pool{}, c.Pools...)
	change(&next.Pools[0])
	return &next
}

// Of several causes the strictest decides, and each holds until it has gone itself.
func TestEveryCauseHolds(t *testing.T) {
	r, c := onOld(t, func(p *config.Pool) { p.On.AdminDrain, p.DrainTimeout = "drain", time.Hour })
	old := netip.MustParseAddrPort(r.status().Peers[0].Addr)
	eventually(t, "its fate", func() bool { return r.fate("127.0.0.2") != nil })
	first := r.fate("127.0.0.2")
	r.next.Store(withPool(r.conf, func(p *config.Pool) { p.DrainTimeout = 2 * time.Hour }))
	if _, err := r.server.Reload(); err != nil {
		t.Fatal(err)
	}
	if f := r.fate("127.0.0.2"); f == first || f.within != 2*time.Hour || !f.since.Equal(first.since) {
		t.Errorf("another drain_timeout makes of %+v %+v", first.terms, f)
	}
	first = r.fate("127.0.0.2")
	r.order(old, admin.Order{Word: "drain"})
	r.order(old, admin.Order{Word: "ready"})
	if f := r.fate("127.0.0.2"); f != first {
		t.Errorf("what an operator took back has changed the drain of a removed peer: %+v", f)
	}
	r.order(old, admin.Order{Word: "drain"})
	r.dns.SetA("db.test", 0, "127.0.0.2", "127.0.0.3")
	r.awaitListed("127.0.0.2", "127.0.0.3")
	if f := r.fate("127.0.0.2"); f != first {
		t.Errorf("the return of a drained peer has changed its drain: %+v", f)
	}
	if !lives(c) {
		t.Error("the session has ended")
	}
	r.order(old, admin.Order{Word: "maint"})
	r.endsAs(c, "admin_killed")
	r.order(old, admin.Order{Word: "ready"})
	if f := r.fate("127.0.0.2"); f != nil {
		t.Errorf("the peer is well, and yet %+v", f)
	}
	r.closed()
}

// Closes wait for their turn, and those that still wait when the peer returns do not happen.
func TestCloseIsCalledOff(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.pool().On.Removed, r.pool().CloseRate = "close", 1
	r.serve()
	c := r.dial()
	greeting(t, c)
	p := r.server.running().pools[0]
	p.fates.pace.mu.Lock()
	p.fates.pace.at = time.Now().Add(time.Hour) // others go first
	p.fates.pace.mu.Unlock()
	r.dns.SetA("db.test", 0, "127.0.0.3")
	eventually(t, "its fate", func() bool { return r.fate("127.0.0.2") != nil })
	r.dns.SetA("db.test", 0, "127.0.0.2", "127.0.0.3")
	eventually(t, "no fate", func() bool { return r.fate("127.0.0.2") == nil })
	p.fates.work.Wait()
	if !lives(c) {
		t.Error("the session has ended")
	}
	c.Close()
	r.closed()
}

// echoed has a session's peer, which echoes, say something.
func echoed(t *testing.T, c io.ReadWriter, what string) {
	t.Helper()
	if _, err := io.WriteString(c, what); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(c, make([]byte, len(what))); err != nil {
		t.Fatal(err)
	}
}

// What PostgreSQL says at the end of each answer.
const idle, inTransaction = "Z\x00\x00\x00\x05I", "Z\x00\x00\x00\x05T"

func TestDrainWaitsForQuiet(t *testing.T) {
	r, peers := two(t, func(r *rig) { r.pool().On.AdminDrain = "quiet" })
	a := peers[0].addr
	atRest, busy, other := r.on(a), r.on(a), r.on(peers[1].addr)
	echoed(t, busy, inTransaction)
	r.order(a, admin.Order{Word: "drain"})
	if _, err := io.ReadAll(atRest); err != nil {
		t.Errorf("the client sees %v, want an end", err)
	}
	echoed(t, other, idle)
	r.order(a, admin.Order{Word: "ready"})
	echoed(t, busy, idle)
	time.Sleep(10 * r.pool().QuietTime) // it would have ended by now
	echoed(t, busy, inTransaction)
	r.order(a, admin.Order{Word: "drain"})
	time.Sleep(10 * r.pool().QuietTime)
	echoed(t, busy, inTransaction)
	echoed(t, busy, idle)
	if _, err := io.ReadAll(busy); err != nil {
		t.Errorf("the client sees %v, want an end", err)
	}
	eventually(t, "both ends", func() bool { return r.words()["drained"] == 2 })
	echoed(t, other, idle)
	other.Close()
	r.closed()
}

// words counts the words of the session lines.
func (r *rig) words() map[string]int {
	n := make(map[string]int)
	for _, line := range r.logs.find("session") {
		n[fmt.Sprint(line["end"])]++
	}
	return n
}

// Who is never quiet has drain_timeout.
func TestQuietHasDrainTimeout(t *testing.T) {
	r, peers := two(t, func(r *rig) { r.pool().On.AdminDrain, r.pool().DrainTimeout = "quiet", 50*time.Millisecond })
	c := r.on(peers[0].addr)
	echoed(t, c, inTransaction)
	r.order(peers[0].addr, admin.Order{Word: "drain"})
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the client sees %v, want an end", err)
	}
	eventually(t, "its end", func() bool { return r.words()["drained"] == 1 })
	r.closed()
}

func TestRemovedIsQuiet(t *testing.T) {
	r, c := onOld(t, func(p *config.Pool) { p.On.Removed = "quiet" })
	r.endsAs(c, "drained")
	r.closed()
}

// reaching is a session to which something happens between the connect to its peer and the moment when it settles there.
type reaching struct {
	*tcpSession
	happens func()
}

func (r reaching) Connected() bool {
	r.happens()
	return r.tcpSession.Connected()
}

// A session that was on its way to a peer when it was taken out has the wish of all others there.
func TestQuietWhileASessionConnects(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.pool().On.AdminDrain = "quiet"
	r.serve()
	ln := listenOn(t, "127.0.0.1", 0)
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	client, err := ln.AcceptTCP()
	if err != nil {
		t.Fatal(err)
	}
	p := r.server.running().pools[0]
	s := r.server.running().listeners[0].port.join().welcome(netip.AddrPort{}, netip.AddrPort{}, 0)
	s.Run(client, reaching{s, func() {
		r.order(list[0].addr, admin.Order{Word: "drain"})
		p.fates.work.Wait() // all who are there have it
	}})
	r.endsAs(c, "drained")
	r.closed()
}

func TestPace(t *testing.T) {
	for _, rate := range []int{1, 3, 500, 100_000} {
		t.Run(fmt.Sprint(rate), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var p pace
				off := make(chan struct{})
				begin := time.Now()
				for n := range 3 * rate {
					if !p.wait(rate, off) {
						t.Fatal("called off")
					}
					due := time.Duration(n) * (time.Second / time.Duration(rate))
					if at := time.Since(begin); at > due || at < due-paceGroup {
						t.Fatalf("number %d at %v, due at %v", n, at, due)
					}
				}
				go func() { time.Sleep(time.Millisecond); close(off) }()
				p.at = p.at.Add(time.Hour)
				if before := time.Now(); p.wait(rate, off) || time.Since(before) > time.Second {
					t.Error("not called off")
				}
				if p.wait(0, off) || !p.wait(0, nil) {
					t.Error("a rate of 0 waits")
				}
			})
		})
	}
}
