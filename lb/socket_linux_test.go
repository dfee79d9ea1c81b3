//go:build amd64 || arm64

package lb

import (
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// socketsOf gives this process's sockets between two addresses; one without an other side if remote is the zero value.
func socketsOf(t testing.TB, local, remote netip.AddrPort) (fds []int) {
	t.Helper()
	list, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range list {
		if fd, err := strconv.Atoi(e.Name()); err == nil && sock.LocalAddr(fd) == local && sock.PeerAddr(fd) == remote {
			fds = append(fds, fd)
		}
	}
	return fds
}

// hasOption reads an option back from every socket between two addresses.
func hasOption(t *testing.T, where string, local, remote netip.AddrPort, level, option, want int) {
	t.Helper()
	fds := socketsOf(t, local, remote)
	if len(fds) == 0 {
		t.Errorf("no socket %s from %v to %v", where, local, remote)
	}
	for _, fd := range fds {
		if got, err := unix.GetsockoptInt(fd, level, option); err != nil || got != want {
			t.Errorf("%s: option %d of level %d is %d, %v, want %d", where, option, level, got, err, want)
		}
	}
}

// allowed skips a test for what this host does not give to this process.
func allowed(t *testing.T, conf *config.Config) {
	t.Helper()
	if problems := Probe(conf); len(problems) > 0 {
		t.Skip(problems)
	}
}

// socketOptions are those of both sides, each with a value, and what the kernel says of it.
var socketOptions = []struct {
	name                string
	set                 func(*config.Socket)
	level, option, want int
}{
	{"nodelay", func(s *config.Socket) { s.NoDelay = false }, unix.IPPROTO_TCP, unix.TCP_NODELAY, 0},
	{"nodelay by default", func(s *config.Socket) {}, unix.IPPROTO_TCP, unix.TCP_NODELAY, 1},
	{"keepalive off", func(s *config.Socket) { s.KeepaliveIdle = 0 }, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0},
	{"keepalive by default", func(s *config.Socket) {}, unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1},
	{"keepalive_idle", func(s *config.Socket) { s.KeepaliveIdle = 77 * time.Second }, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 77},
	{"keepalive_interval", func(s *config.Socket) { s.KeepaliveInterval = 78 * time.Second }, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, 78},
	{"keepalive_count", func(s *config.Socket) { s.KeepaliveCount = 79 }, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, 79},
	{"user_timeout", func(s *config.Socket) { s.UserTimeout = 12345 * time.Millisecond }, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 12345},
	{"send_buffer", func(s *config.Socket) { s.SendBuffer = 70000 }, unix.SOL_SOCKET, unix.SO_SNDBUF, 140000},
	{"receive_buffer", func(s *config.Socket) { s.ReceiveBuffer = 80000 }, unix.SOL_SOCKET, unix.SO_RCVBUF, 160000},
	{"mark", func(s *config.Socket) { s.Mark = 0x6b6b }, unix.SOL_SOCKET, unix.SO_MARK, 0x6b6b},
	{"interface", func(s *config.Socket) { s.Interface = "lo" }, unix.SOL_SOCKET, unix.SO_BINDTOIFINDEX, 1},
	{"freebind", func(s *config.Socket) { s.Freebind = true }, unix.IPPROTO_IP, unix.IP_FREEBIND, 1},
	{"transparent", func(s *config.Socket) { s.Transparent = true }, unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1},
}

// Every option is on the real sockets, of the client and of the peer, whatever carries the session.
func TestSocketOptionsAreOnBothSockets(t *testing.T) {
	for _, w := range socketOptions {
		t.Run(w.name, func(t *testing.T) {
			t.Parallel()
			list, port := backends(t, "127.0.0.1")
			r := newRig(t)
			r.pool().Backends = []config.Backend{named("127.0.0.1", port)}
			w.set(&r.listener().Socket.Socket)
			w.set(&r.pool().Socket.Socket)
			allowed(t, r.conf)
			r.serve()
			c := r.dial()
			greeting(t, c)
			front, client := netip.MustParseAddrPort(r.addr()), sock.AddrPort(c.LocalAddr())
			hasOption(t, "the client", front, client, w.level, w.option, w.want)
			conns, _ := r.server.Conns(admin.ConnFilter{})
			upstream := netip.MustParseAddrPort(conns[0].Upstream)
			if w.option == unix.SO_KEEPALIVE || w.option == unix.TCP_KEEPIDLE || w.option == unix.TCP_KEEPINTVL || w.option == unix.TCP_KEEPCNT {
				eventually(t, "keepalive, which short sessions are spared", func() bool {
					fd := socketsOf(t, upstream, list[0].addr)[0]
					got, err := unix.GetsockoptInt(fd, w.level, w.option)
					return err == nil && got == w.want
				})
			}
			hasOption(t, "the peer", upstream, list[0].addr, w.level, w.option, w.want)
		})
	}
}

// What is for sockets that listen is on those, and the loops share one unless each is to have its own.
func TestSocketOptionsOfListeners(t *testing.T) {
	for _, c := range []struct {
		name                string
		set                 func(*config.ClientSocket)
		level, option, want int
		sockets             int // of them; 0 is one, whatever it has to do with loops
	}{
		{"defer_accept", func(s *config.ClientSocket) { s.DeferAccept = time.Second }, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 1, 0},
		{"fast_open", func(s *config.ClientSocket) { s.FastOpen = 17 }, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 17, 0},
		{"reuse_port", func(s *config.ClientSocket) { s.ReusePort = true }, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1, 2},
		{"freebind", func(s *config.ClientSocket) { s.Freebind = true }, unix.IPPROTO_IP, unix.IP_FREEBIND, 1, 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, port := backends(t, "127.0.0.1")
			r := newRig(t)
			r.pool().Backends = []config.Backend{named("127.0.0.1", port)}
			c.set(&r.listener().Socket)
			allowed(t, r.conf)
			r.serve()
			front := netip.MustParseAddrPort(r.addr())
			hasOption(t, "the listener", front, netip.AddrPort{}, c.level, c.option, c.want)
			r.hasListening(front, max(1, c.sockets))
			for range 20 { // whichever of them it comes to
				conn := r.dial()
				if _, err := conn.Write([]byte("x")); err != nil { // defer_accept
					t.Fatal(err)
				}
				greeting(t, conn)
				conn.Close()
			}
			r.awaitEnds(20)
			r.closed()
		})
	}
}

// hasListening counts the sockets of an address, of which loops may have several descriptors. Without loops there is one.
func (r *rig) hasListening(front netip.AddrPort, want int) {
	r.t.Helper()
	cookies := make(map[uint64]bool)
	for _, fd := range socketsOf(r.t, front, netip.AddrPort{}) {
		cookie, err := unix.GetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_COOKIE)
		if err != nil {
			r.t.Fatal(err)
		}
		cookies[cookie] = true
	}
	if r.server.loops == nil {
		want = 1
	}
	if len(cookies) != want {
		r.t.Errorf("%d sockets listen, want %d", len(cookies), want)
	}
}

// With reuse_port each loop has a socket of its own for datagrams, too. A client stays on one, also while the listener leaves.
func TestReusePortOfDatagrams(t *testing.T) {
	r, _ := datagrams(t, "127.0.0.2", "127.0.0.3")
	r.listener().Socket.ReusePort = true
	r.pool().Balance = "random"
	r.serve()
	front := netip.MustParseAddrPort(r.addr())
	r.hasListening(front, 2)
	const clients = 32
	all, peers := make([]udpClient, clients), make([]string, clients)
	for i := range all {
		all[i] = r.udp()
		peers[i] = all[i].ask()
	}
	if _, err := r.reload(func(c *config.Config) { c.Listeners[0].Listen[0].Addr = netip.MustParseAddrPort("127.0.0.5:0") }); err != nil {
		t.Fatal(err)
	}
	for i, c := range all {
		if got := c.ask(); got != peers[i] {
			t.Errorf("client %d has gone from %s to %s", i, peers[i], got)
		}
	}
	r.cutAll()
}

// An address that no interface has is listened on, with freebind.
func TestFreebindListensBeforeTheAddressIsThere(t *testing.T) {
	_, port := backends(t, "127.0.0.1")
	r := newRig(t)
	r.pool().Backends = []config.Backend{named("127.0.0.1", port)}
	r.listener().Listen = append(r.listener().Listen, config.Endpoint{Network: "tcp", Addr: netip.MustParseAddrPort("192.0.2.77:0")})
	r.listener().Socket.Freebind = true
	r.serve()
	if got := netip.MustParseAddrPort(r.server.Status().Listeners[1].Address).Addr().String(); got != "192.0.2.77" {
		t.Errorf("listens on %s", got)
	}
	r.ask()
}

// Peers see the address that source names, or that of the client; so do those of UDP.
func TestSourceOfSessions(t *testing.T) {
	for _, c := range []struct {
		name string
		set  func(*config.PeerSocket)
		want string
	}{
		{"auto", func(*config.PeerSocket) {}, "127.0.0.1"},
		{"address", func(s *config.PeerSocket) { s.Source = []netip.Addr{netip.MustParseAddr("127.0.0.9")} }, "127.0.0.9"},
		{"client", func(s *config.PeerSocket) { s.FromClient = true }, "127.0.0.5"},
	} {
		for _, network := range []string{"tcp", "udp"} {
			t.Run(c.name+" "+network, func(t *testing.T) {
				seen := make(chan netip.AddrPort, 1)
				port := tellClients(t, network, seen)
				r := newRig(t)
				r.pool().Backends = []config.Backend{named("127.0.0.1", port)}
				r.listener().Listen[0].Network = network
				r.listener().Mode = "session"
				c.set(&r.pool().Socket)
				allowed(t, r.conf)
				r.serve()
				conn := dialFrom(t, network, "127.0.0.5", r.addr())
				if _, err := conn.Write([]byte("x")); err != nil {
					t.Fatal(err)
				}
				if got := (<-seen).Addr().String(); got != c.want {
					t.Errorf("the peer sees %s, want %s", got, c.want)
				}
			})
		}
	}
}

// tellClients serves a port of 127.0.0.1 and tells who comes.
func tellClients(t *testing.T, network string, seen chan<- netip.AddrPort) (port uint16) {
	t.Helper()
	if network == "udp" {
		pc, err := net.ListenUDP("udp4", net.UDPAddrFromAddrPort(netip.MustParseAddrPort("127.0.0.1:0")))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { pc.Close() })
		go func() {
			if _, from, err := pc.ReadFromUDPAddrPort(make([]byte, 1)); err == nil {
				seen <- from
			}
		}()
		return sock.AddrPort(pc.LocalAddr()).Port()
	}
	ln := listenOn(t, "127.0.0.1", 0)
	t.Cleanup(func() { ln.Close() })
	go func() {
		if c, err := ln.AcceptTCP(); err == nil {
			seen <- sock.AddrPort(c.RemoteAddr())
			c.Close()
		}
	}()
	return sock.AddrPort(ln.Addr()).Port()
}

func dialFrom(t *testing.T, network, from, to string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
	if network == "udp" {
		d.LocalAddr = &net.UDPAddr{IP: net.ParseIP(from)}
	}
	c, err := d.Dial(network, to)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// A reload gives new clients other options on the same socket; where it is bound cannot change, and nothing else does then.
func TestReloadOfSocketOptions(t *testing.T) {
	list, port := backends(t, "127.0.0.1")
	r := newRig(t)
	r.pool().Backends = []config.Backend{named("127.0.0.1", port)}
	r.serve()
	front := netip.MustParseAddrPort(r.addr())
	before := r.dial()
	greeting(t, before)

	next := *r.conf
	next.Listeners, next.Pools = slices.Clone(r.conf.Listeners), slices.Clone(r.conf.Pools)
	next.Listeners[0].Socket.UserTimeout, next.Pools[0].Socket.UserTimeout = 3*time.Second, 4*time.Second
	r.next.Store(&next)
	if changes, err := r.server.Reload(); err != nil || len(changes) != 2 {
		t.Fatal(changes, err)
	}
	eventually(t, "every loop to have it", func() bool {
		c := r.dial()
		greeting(t, c)
		defer c.Close()
		fd := socketsOf(t, front, sock.AddrPort(c.LocalAddr()))[0]
		got, err := unix.GetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT)
		return err == nil && got == 3000
	})
	c := r.dial()
	greeting(t, c)
	conns, _ := r.server.Conns(admin.ConnFilter{})
	hasOption(t, "the new peer", netip.MustParseAddrPort(conns[len(conns)-1].Upstream), list[0].addr, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 4000)
	hasOption(t, "the old client", front, sock.AddrPort(before.LocalAddr()), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0)

	again := next
	again.Listeners = slices.Clone(next.Listeners)
	again.Listeners[0].Socket.ReusePort, again.Listeners[0].Socket.UserTimeout = true, 5*time.Second
	r.next.Store(&again)
	if _, err := r.server.Reload(); err == nil || !strings.Contains(err.Error(), "listener front socket.reuse_port: changed, which takes a restart, or another address") {
		t.Errorf("reload: %v", err)
	}
	hasOption(t, "the listener", front, netip.AddrPort{}, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 3000)
}

// An interface that goes after the start is no peer's fault: the session ends for our own reasons, and is told once.
func TestSocketOptionThatFailsIsNotThePeersFault(t *testing.T) {
	_, port := backends(t, "127.0.0.1")
	r := newRig(t)
	r.pool().Backends = []config.Backend{named("127.0.0.1", port)}
	r.serve()
	r.server.running().pools[0].dial.Store(&sock.Options{Interface: "gone0"})
	if err := turnedAway(r.addr()); err == nil {
		t.Error("served")
	}
	if ends := r.awaitEnds(1); ends[0] != "internal" {
		t.Errorf("ended %v", ends)
	}
	eventually(t, "the reason", func() bool {
		lines := r.logs.find("socket option failed")
		return len(lines) == 1 && lines[0]["key"] == "interface" && lines[0]["reason"] == "there is no such interface"
	})
	if got := r.status().Peers[0]; got.State != "up" {
		t.Errorf("the peer is %+v", got)
	}
}

// Checks take the way of sessions, but in nobody's name.
func TestChecksTakeTheWayOfSessions(t *testing.T) {
	seen := make(chan netip.AddrPort, 1)
	port := tellClients(t, "tcp", seen)
	r := newRig(t)
	r.pool().Backends = []config.Backend{named("127.0.0.1", port)}
	r.pool().Check = fastCheck()
	r.pool().Socket.Source, r.pool().Socket.FromClient = []netip.Addr{netip.MustParseAddr("127.0.0.9")}, false
	r.start()
	if got := (<-seen).Addr().String(); got != "127.0.0.9" {
		t.Errorf("the check comes from %s", got)
	}
}
