package lb

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/check"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/pool"
)

func TestDNS1BothAddressesServe(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 1, "127.0.0.2", "127.0.0.3")
	b := named("db.test", port)
	b.MaxRefresh = 5 * time.Minute
	r.pool().Backends = []config.Backend{b}
	r.serve()
	before := r.dns.QueryCount("db.test", "A")
	start := time.Now()
	served := make(map[string]int)
	for range 100 {
		served[r.ask().Addr().String()]++
	}
	if served["127.0.0.2"] != 50 || served["127.0.0.3"] != 50 {
		t.Errorf("served: %v", served)
	}
	// The TTL is 1 s: only the schedule asks.
	if n, most := r.dns.QueryCount("db.test", "A")-before, 2+int(time.Since(start)/time.Second); n > most {
		t.Errorf("%d questions while 100 sessions came, want at most %d", n, most)
	}
	r.closed()
}

func TestDNS2AChangeFailsNoConnection(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.serve()
	for i := range 20 {
		r.dns.SetA("db.test", 0, fmt.Sprintf("127.0.0.%d", 2+i%2))
		for range 10 {
			r.ask()
		}
	}
	r.dns.SetA("db.test", 0, "127.0.0.3")
	r.awaitListed("127.0.0.3")
	if who := r.ask().Addr().String(); who != "127.0.0.3" {
		t.Errorf("served by %s", who)
	}
	r.closed()
}

// onOld gives a session on 127.0.0.2, from which the name has then moved to 127.0.0.3.
func onOld(t *testing.T, change func(*config.Pool)) (*rig, *net.TCPConn) {
	t.Helper()
	r := newRig(t)
	_, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	change(r.pool())
	r.serve()
	c := r.dial()
	greeting(t, c)
	r.dns.SetA("db.test", 0, "127.0.0.3")
	r.awaitListed("127.0.0.3")
	return r, c
}

func TestDNS3ASessionOnARemovedPeerDrains(t *testing.T) {
	r, c := onOld(t, func(*config.Pool) {})
	old := r.status().Peers[0]
	if old.State != "draining" || old.Active != 1 || len(old.Sources) != 0 {
		t.Errorf("the old peer: %+v", old)
	}
	if _, err := c.Write([]byte("still there\n")); err != nil {
		t.Fatal(err)
	}
	if b := make([]byte, 12); must(io.ReadFull(c, b)) != 12 || string(b) != "still there\n" {
		t.Errorf("echo: %q", b)
	}
	for range 3 {
		if who := r.ask().Addr().String(); who != "127.0.0.3" {
			t.Errorf("a new session went to %s", who)
		}
	}
	c.Close()
	eventually(t, "the old peer to be gone", func() bool { return len(r.status().Peers) == 1 })
	eventually(t, "its line", func() bool { return len(r.logs.find("peer gone")) == 1 })
	r.closed()
}

func must(n int, err error) int {
	if err != nil {
		panic(err)
	}
	return n
}

func TestDNS4RemovedCloses(t *testing.T) {
	r, c := onOld(t, func(p *config.Pool) { p.On.Removed = "close" })
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the client sees %v, want an end", err)
	}
	if ends := r.awaitEnds(1); ends[0] != "peer_removed" {
		t.Errorf("end: %v", ends)
	}
	r.closed()
}

func TestDNS4DrainTimeoutCloses(t *testing.T) {
	r, c := onOld(t, func(p *config.Pool) { p.DrainTimeout = 200 * time.Millisecond })
	if _, err := io.ReadAll(c); err != nil {
		t.Errorf("the client sees %v, want an end", err)
	}
	if ends := r.awaitEnds(1); ends[0] != "drained" {
		t.Errorf("end: %v", ends)
	}
	r.closed()
}

func TestKeepOutlivesRemoval(t *testing.T) {
	r, c := onOld(t, func(p *config.Pool) { p.On.Removed, p.DrainTimeout = "keep", time.Millisecond })
	fmt.Fprintln(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		t.Error(err)
	}
	c.Close()
	r.closed()
}

// A peer that comes back while it drains is not cut by the drain that is over.
func TestReturnEndsTheDrain(t *testing.T) {
	r, c := onOld(t, func(p *config.Pool) { p.DrainTimeout = time.Minute })
	p := r.server.running().pools[0]
	addr := netip.MustParseAddrPort(r.status().Peers[0].Addr)
	begun := func() (d *fate) {
		eventually(t, "a drain", func() bool {
			p.mu.Lock()
			defer p.mu.Unlock()
			d = p.fates.find(addr)
			return d != nil
		})
		return d
	}
	first := begun()
	r.dns.SetA("db.test", 0, "127.0.0.2", "127.0.0.3")
	eventually(t, "the drain to be over", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.fates.find(addr) == nil
	})
	r.dns.SetA("db.test", 0, "127.0.0.3")
	r.awaitListed("127.0.0.3")
	second := begun()
	p.overdue(addr, first) // its timer may have fired just before it was stopped
	fmt.Fprintln(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		t.Errorf("the second drain's session was cut by the first: %v", err)
	}
	p.overdue(addr, second)
	if ends := r.awaitEnds(1); ends[0] != "drained" {
		t.Errorf("end: %v", ends)
	}
	r.closed()
}

func TestRH1ARefusedPeerIsNotTriedTwice(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3", "127.0.0.4")
	list[0].stop()
	list[1].stop()
	heavy := named("127.0.0.2", port)
	heavy.Weight = 100 // it would be picked again and again
	r.pool().Backends = []config.Backend{heavy, named("127.0.0.3", port), named("127.0.0.4", port)}
	r.serve()
	for range 6 {
		if who := r.ask().Addr().String(); who != "127.0.0.4" {
			t.Errorf("served by %s", who)
		}
	}
	r.awaitEnds(6)
	longest := 0
	for _, line := range r.logs.find("session") {
		attempts := strings.Split(line["attempts"].(string), ", ")
		longest = max(longest, len(attempts))
		seen := make(map[string]bool)
		for i, a := range attempts {
			words := strings.Fields(a)
			if seen[words[0]] {
				t.Errorf("tried twice: %v", attempts)
			}
			seen[words[0]] = true
			if want := map[bool]string{true: "ok", false: "refused"}[i == len(attempts)-1]; words[1] != want {
				t.Errorf("attempt %q, want %s", a, want)
			}
		}
	}
	if longest < 2 {
		t.Error("no session was retried")
	}
	r.closed()
}

func TestRH2OneAttemptIsOne(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3")
	list[0].stop()
	r.pool().ConnectAttempts = 1
	r.pool().Backends = []config.Backend{named("127.0.0.2", port), named("127.0.0.3", port)}
	r.serve()
	failed := 0
	for range 4 {
		if errors.Is(turnedAway(r.addr()), syscall.ECONNRESET) {
			failed++
		}
	}
	if failed != 2 {
		t.Errorf("%d of 4 failed, want 2", failed)
	}
	eventually(t, "4 lines", func() bool { return len(r.logs.find("session")) == 4 })
	words := make(map[string]int)
	for _, e := range r.awaitEnds(4) {
		words[e]++
	}
	if words["connect_failed"] != 2 {
		t.Errorf("ends: %v", words)
	}
	eventually(t, "the failures in the status", func() bool { return r.status().Peers[0].Failures == 2 && r.status().Peers[1].Failures == 0 })
	r.closed()
}

func TestRH15NoPeerIsSaidAtOnce(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("127.0.0.2", port)}
	r.pool().Check = fastCheck()
	r.serve()
	list[0].stop()
	eventually(t, "the peer to be down", func() bool { return r.status().Peers[0].State == "down" })
	if err := turnedAway(r.addr()); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("the client sees %v, want a reset", err)
	}
	if ends := r.awaitEnds(1); ends[0] != "no_peer" {
		t.Errorf("end: %v", ends)
	}
	if ok, why := r.server.Ready(); ok || !strings.Contains(why[0], "pool db has no peer to offer") {
		t.Errorf("ready %v: %q", ok, why)
	}
	eventually(t, "it is said that no peer is left", func() bool { return len(r.logs.find("no peer left")) > 0 })
	if n := len(r.logs.find("no peer left")); n != 1 {
		t.Errorf("said %d times that no peer is left", n)
	}
	serveBackend(t, "127.0.0.2", port)
	eventually(t, "the peer to be up", func() bool { return r.status().Peers[0].State == "up" })
	r.ask()
	eventually(t, "it is said that there are peers", func() bool { return len(r.logs.find("peers to offer")) > 1 })
	if n := len(r.logs.find("peers to offer")); n != 2 { // at the start, and now
		t.Errorf("said %d times that there are peers", n)
	}
	r.closed()
}

// turnedAway gives what a client sees whose connection is reset, be it in the middle of its connect; nil if it is served.
func turnedAway(addr string) error { return turnedAwayFrom("", addr) }

func TestDeadClosesSessions(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.pool().Backends = []config.Backend{named("127.0.0.2", port), named("127.0.0.3", port)}
	r.pool().Check = fastCheck()
	r.serve()
	eventually(t, "both up", func() bool { return r.status().Peers[0].State == "up" && r.status().Peers[1].State == "up" })
	on := make(map[string][]*net.TCPConn)
	for range 6 {
		c := r.dial()
		who := greeting(t, c).Addr().String()
		on[who] = append(on[who], c)
	}
	dead, alive := on["127.0.0.2"], on["127.0.0.3"]
	if len(dead) != 3 || len(alive) != 3 {
		t.Fatalf("sessions: %d and %d", len(dead), len(alive))
	}
	list[0].ln.Close() // its connections live on: only the check knows
	for _, c := range dead {
		if _, err := c.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("a client of the dead peer sees %v, want an end", err)
		}
	}
	for _, c := range alive {
		fmt.Fprintln(c, "x")
		if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
			t.Errorf("a client of the other peer: %v", err)
		}
	}
	for _, e := range r.awaitEnds(3)[:3] {
		if e != "peer_dead" {
			t.Errorf("end: %v", e)
		}
	}
	for _, c := range alive {
		c.Close()
	}
	r.closed()
}

func TestDeadKeepsSessions(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("127.0.0.2", port)}
	r.pool().Check = fastCheck()
	r.pool().On.Dead = "keep"
	r.serve()
	c := r.dial()
	greeting(t, c)
	list[0].ln.Close()
	eventually(t, "down", func() bool { return r.status().Peers[0].State == "down" })
	m, labels := r.series(), fmt.Sprintf(`peer="%s",pool="db"}`, list[0].addr)
	if m[`ebb_check_seconds{kind="tcp",`+labels] == "" || m[`ebb_peer_up{`+labels] != "0" {
		t.Errorf("no series of the check in %v", m)
	}
	fmt.Fprintln(c, "x")
	if _, err := io.ReadFull(c, make([]byte, 2)); err != nil {
		t.Error(err)
	}
	c.Close()
	r.closed()
}

func TestLI1LimitRefusesAndGoesOn(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("127.0.0.2", port)}
	r.listener().MaxConns = 3
	at := r.listener().Listen[0]
	r.listener().Listen = append(r.listener().Listen, at) // the limit is of the listener, not of each address
	r.serve()
	second := r.server.Status().Listeners[1].Address
	var held []*net.TCPConn
	for range 3 {
		c := r.dial()
		greeting(t, c)
		held = append(held, c)
	}
	for _, addr := range []string{r.addr(), second} {
		if err := turnedAway(addr); !errors.Is(err, syscall.ECONNRESET) {
			t.Errorf("%s: the client over the limit sees %v, want a reset", addr, err)
		}
	}
	held[0].Close()
	eventually(t, "a free place", func() bool { return r.server.running().active() == 2 })
	r.ask()
	for _, c := range held[1:] {
		c.Close()
	}
	r.closed()
	rejected := 0.0
	r.server.sample(func(m *admin.Metric, v float64, labels ...string) {
		if m == admin.Rejected {
			rejected += v
			if labels[0] != "front" || labels[1] != "max_conns" {
				t.Errorf("labels: %v", labels)
			}
		}
	})
	if rejected != 2 {
		t.Errorf("rejected: %v", rejected)
	}
}

// A session that connects while its peer is taken away goes to another peer instead: nothing was lost yet.
func TestPeerEndsWhileASessionConnects(t *testing.T) {
	for _, tc := range []struct {
		name, end string
		take      func(*rig, netip.AddrPort)
		policy    config.On
	}{
		{"dead", "peer_dead", func(r *rig, a netip.AddrPort) {
			p := r.server.running().pools[0]
			p.table.SetHealth(a, pool.HealthDown)
			p.mu.Lock()
			p.decideLocked(a)
			p.mu.Unlock()
		}, config.On{Dead: "close", Removed: "keep"}},
		{"removed", "peer_removed", func(r *rig, a netip.AddrPort) {
			r.dns.SetA("db.test", 0, "127.0.0.3")
			r.awaitListed("127.0.0.3")
		}, config.On{Dead: "keep", Removed: "close"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			r := newRig(t)
			_, port := backends(t, "127.0.0.2", "127.0.0.3")
			r.dns.SetA("db.test", 0, "127.0.0.2", "127.0.0.3")
			r.pool().Backends = []config.Backend{named("db.test", port)}
			r.pool().On = tc.policy
			r.serve()
			l := r.server.running().listeners[0]
			s := l.port.join().welcome(netip.AddrPort{}, netip.AddrPort{}, 0)
			first, _ := s.Next()
			for first.Addr().String() != "127.0.0.2" { // whose turn it is does not matter here
				s.release(pool.OutcomeNeutral, end.Internal)
				s.tried = nil
				first, _ = s.Next()
			}
			tc.take(r, first)
			eventually(t, "its fate", func() bool { return r.server.running().pools[0].fates.find(first) != nil })
			if n := len(l.live.on(first)); n != 0 {
				t.Fatalf("what follows a peer's end finds %d sessions", n)
			}
			if s.Connected() {
				t.Fatal("the session stays on a peer that is gone")
			}
			second, w := s.Next()
			if second.Addr().String() != "127.0.0.3" || w != end.None {
				t.Fatalf("next: %v %v", second, w)
			}
			if !s.Connected() {
				t.Fatal("the second peer is refused")
			}
			s.Done(end.ClientFIN)
			if line := r.logs.find("session")[0]; !strings.Contains(line["attempts"].(string), tc.end) || line["end"] != "client_fin" {
				t.Errorf("line: %v", line)
			}
			r.closed()
		})
	}
}

func TestUDPFlowRebindsWhenItsPeerIsRemoved(t *testing.T) {
	r := newRig(t)
	first, second := echoUDP(t, "127.0.0.2", 0), (*net.UDPConn)(nil)
	port := netip.MustParseAddrPort(first.LocalAddr().String()).Port()
	second = echoUDP(t, "127.0.0.3", port)
	r.dns.SetA("db.test", 0, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("db.test", port)}
	r.listener().Listen[0].Network = "udp"
	r.serve()
	c, err := net.Dial("udp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(patience))
	ask := func() string {
		t.Helper()
		b := make([]byte, 64)
		c.Write([]byte("who"))
		n, err := c.Read(b)
		if err != nil {
			t.Fatal(err)
		}
		return string(b[:n])
	}
	if who := ask(); who != first.LocalAddr().String() {
		t.Fatalf("served by %s", who)
	}
	r.dns.SetA("db.test", 0, "127.0.0.3")
	r.awaitListed("127.0.0.3")
	if who := ask(); who != second.LocalAddr().String() {
		t.Errorf("served by %s after the change", who)
	}
	if ends := r.awaitEnds(1); ends[0] != "peer_removed" {
		t.Errorf("end: %v", ends)
	}
	r.server.running().listeners[0].live.killAll(end.Shutdown) // instead of the idle timeout
	r.closed()
}

// A datagram for which there is no peer is a drop with a reason, and no session.
func TestUDPWithoutPeerIsADrop(t *testing.T) {
	r := newRig(t)
	r.dns.NXDomain("db.test")
	r.pool().Backends = []config.Backend{named("db.test", 53)}
	r.listener().Listen[0].Network = "udp"
	r.start()
	eventually(t, "the listener", func() bool { return r.server.accepting.Load() })
	c, err := net.Dial("udp", r.addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	for range 3 {
		c.Write([]byte("who"))
	}
	eventually(t, "three drops", func() bool { return r.server.running().listeners[0].dropped.all()["no_peer"] == 3 })
	if n := r.server.running().listeners[0].total.Load(); n != 0 || len(r.logs.find("session")) != 0 {
		t.Errorf("%d sessions", n)
	}
	r.closed()
}

// echoUDP answers each datagram with its own address.
func echoUDP(t *testing.T, ip string, port uint16) *net.UDPConn {
	t.Helper()
	c, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.AddrPortFrom(netip.MustParseAddr(ip), port)))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for b := make([]byte, 64); ; {
			_, from, err := c.ReadFromUDPAddrPort(b)
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				c.WriteToUDPAddrPort([]byte(c.LocalAddr().String()), from)
			}
		}
	}()
	t.Cleanup(func() { c.Close(); <-done })
	return c
}

// A connect that fails asks for the name at once, not when its TTL is over.
func TestAFailedConnectHastensTheName(t *testing.T) {
	r := newRig(t)
	list, port := backends(t, "127.0.0.2", "127.0.0.3")
	r.dns.SetA("db.test", 3600, "127.0.0.2")
	b := named("db.test", port)
	b.MaxRefresh = time.Hour
	r.pool().Backends = []config.Backend{b}
	r.serve()
	list[0].stop()
	r.dns.SetA("db.test", 3600, "127.0.0.3")
	before := r.dns.QueryCount("db.test", "A")
	for range 20 {
		if err := turnedAway(r.addr()); err == nil {
			break
		}
	}
	r.awaitListed("127.0.0.3")
	if n := r.dns.QueryCount("db.test", "A") - before; n > 2 { // at most one each second
		t.Errorf("%d questions", n)
	}
	r.ask()
}

// A session that is cut while it connects ends on its peer by the word of the cut.
func TestACutConnectIsCountedByItsCause(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("127.0.0.2", port)}
	r.serve()
	l := r.server.running().listeners[0]
	s := l.trip(netip.AddrPort{}, netip.AddrPort{}, 0)
	s.begin()
	addr, _ := s.Next()
	s.Failed(context.Canceled)
	s.finish(end.Shutdown, 0, 0, 0, netip.AddrPort{})
	ended := &l.pool.count(addr).ended
	if ended[end.Shutdown].Load() != 1 || ended[end.None].Load() != 0 {
		t.Errorf("the peer's count: %d, for no reason %d", ended[end.Shutdown].Load(), ended[end.None].Load())
	}
	r.closed()
}

func TestOutcome(t *testing.T) {
	for _, tc := range []struct {
		word end.Word
		out  int64
		want pool.Outcome
	}{
		{end.ClientFIN, 0, pool.OutcomeOK},
		{end.ServerFIN, 0, pool.OutcomeOK},
		{end.Idle, 0, pool.OutcomeNeutral},
		{end.Idle, 1, pool.OutcomeOK},
		{end.ServerReset, 0, pool.OutcomeResetEarly},
		{end.ServerReset, 1, pool.OutcomeOK},
		{end.ClientReset, 0, pool.OutcomeNeutral},
		{end.ConnectFailed, 0, pool.OutcomeConnectFailed},
		{end.Shutdown, 0, pool.OutcomeNeutral},
	} {
		if got := outcome(tc.word, tc.out); got != tc.want {
			t.Errorf("%v with %d bytes: %v, want %v", tc.word, tc.out, got, tc.want)
		}
	}
}

// An address that comes back just when its peer ends is another peer: it needs a check of its own, and its counts stay.
func TestAPeerThatReturnsAsItEndsIsChecked(t *testing.T) {
	r := newRig(t)
	_, port := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{named("127.0.0.2", port)}
	r.pool().Check = fastCheck()
	r.serve()
	r.ask()
	r.closed()
	p := r.server.running().pools[0]
	addr := netip.AddrPortFrom(netip.MustParseAddr("127.0.0.2"), port)
	checkOf := func() *peerCheck {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.checks[addr]
	}
	old := checkOf()
	p.gone(p.table.Peer(addr)) // as if of an older life
	now := checkOf()
	if now == nil || now == old {
		t.Fatalf("check %p, before %p", now, old)
	}
	if _, kept := p.counts.Load(addr); !kept {
		t.Error("the counts are gone")
	}
	p.checked(addr, old, check.State{Known: true}) // its last word comes late
	if h := p.table.Peer(addr).Health(); h == pool.HealthDown {
		t.Error("the old check still speaks")
	}
	p.table.SetHealth(addr, pool.HealthDown)
	eventually(t, "the new check's word", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return now.state.Up
	})
}
