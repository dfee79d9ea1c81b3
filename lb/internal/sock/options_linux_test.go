//go:build amd64 || arm64

package sock

import (
	"errors"
	"net"
	"net/netip"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// What is missing is told by the key of the configuration, and what it takes. These fail for root too.
func TestProbeNamesTheKeyAndWhatItTakes(t *testing.T) {
	for _, c := range []struct {
		key  string
		o    Options
		want string
	}{
		{"interface", Options{Interface: "none0"}, "there is no such interface"},
		{"congestion", Options{Congestion: "none"}, "sysctl net.ipv4.tcp_available_congestion_control"},
		{"source", Options{Source: Source{IPv4: netip.MustParseAddr("192.0.2.1")}}, "no interface of this host has the address"},
		{"source_ports", Options{Source: Source{First: 1, Last: 65535}}, "net.ipv4.ip_local_port_range"},
		{"source", Options{Source: Source{IPv6: netip.MustParseAddr("2001:db8::1")}}, "no interface of this host has the address"},
	} {
		missing := c.o.Probe(true, false, c.o.Source.IPv6.IsValid())
		if len(missing) != 1 || missing[0].Key != c.key || !strings.Contains(missing[0].Why(), c.want) {
			t.Errorf("%+v misses %v, want %s: %s", c.o, missing, c.key, c.want)
		}
	}
	for _, o := range []Options{{}, *Default, {Freebind: true, Source: Source{IPv4: netip.MustParseAddr("192.0.2.1")}}} {
		if missing := o.Probe(true, false, false); len(missing) > 0 {
			t.Errorf("%+v misses %v", o, missing)
		}
	}
	if missing := (&Options{Congestion: "none"}).Probe(false, false, false); len(missing) > 0 {
		t.Errorf("UDP misses %v", missing)
	}
}

func TestWhatAnOptionTakes(t *testing.T) {
	for _, c := range []struct {
		err  OptionError
		want string
	}{
		{OptionError{"mark", unix.EPERM}, "CAP_NET_ADMIN"},
		{OptionError{"source", unix.EPERM}, "CAP_NET_ADMIN"},
		{OptionError{"congestion", unix.EPERM}, "tcp_allowed_congestion_control"},
		{OptionError{"interface", unix.EPERM}, "CAP_NET_RAW"},
		{OptionError{"source_ports", unix.ENOPROTOOPT}, "Linux 6.3"},
		{OptionError{"send_buffer", errSmall{1000, "net.core.wmem_max"}}, "at most 1000 bytes"},
	} {
		if got := c.err.Why(); !strings.Contains(got, c.want) {
			t.Errorf("%v: %q, want %q", &c.err, got, c.want)
		}
		if got := Classify(&c.err); got != Resources {
			t.Errorf("%v is %d, which blames the peer", &c.err, got)
		}
	}
}

// A source address, its ports, and that the port is chosen at the connect: one may be used towards two peers at once.
func TestSourceAddressAndPorts(t *testing.T) {
	var peers []netip.AddrPort
	for range 2 {
		ln, err := ListenTCP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), Default)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		peers = append(peers, AddrPort(ln.Addr()))
	}
	from := &Options{Source: Source{IPv4: netip.MustParseAddr("127.0.0.9"), IPv6: netip.MustParseAddr("::1"), First: 40000, Last: 40000}}
	if missing := from.Probe(true, false, false); len(missing) > 0 {
		t.Skip(missing[0].Key, ": ", missing[0].Why())
	}
	first, err := DialTCP(t.Context(), peers[0], from, netip.Addr{})
	// A connect passes over a port that was bound by anyone, on any address, and that still has a socket, if only in TIME_WAIT.
	for Classify(err) == NoSourcePort && from.Source.First < 41000 {
		from.Source.First++
		from.Source.Last++
		first, err = DialTCP(t.Context(), peers[0], from, netip.Addr{})
	}
	if err != nil {
		t.Fatal(err)
	}
	defer Abort(first)
	second, err := DialTCP(t.Context(), peers[1], from, netip.Addr{})
	if err != nil {
		t.Fatal(err)
	}
	defer Abort(second)
	want := netip.AddrPortFrom(from.Source.IPv4, from.Source.First)
	for i, c := range []*net.TCPConn{first, second} {
		if got := AddrPort(c.LocalAddr()); got != want {
			t.Errorf("from %s, want %s", got, want)
		}
		// The only port is taken towards this peer.
		if _, err := DialTCP(t.Context(), peers[i], from, netip.Addr{}); Classify(err) != NoSourcePort {
			t.Errorf("again: %v", err)
		}
	}
}

func TestSourceIsTheClientOfTheSameFamily(t *testing.T) {
	four, six, client := netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("192.0.2.1")
	s := Source{IPv4: four, IPv6: six, Client: true}
	for _, c := range []struct{ peer, client, want netip.Addr }{
		{four, client, client}, {six, client, six}, {four, six, four}, {six, six, six}, {four, netip.Addr{}, four},
	} {
		if got := s.from(c.peer, c.client); got != c.want {
			t.Errorf("to %v for %v: %v, want %v", c.peer, c.client, got, c.want)
		}
	}
}

func TestV6OnlyLeavesIPv4ToOthers(t *testing.T) {
	var err error
	// A port that is free on IPv6 may be another's on IPv4, at one try.
	for range 10 {
		var ln, other *net.TCPListener
		if ln, err = ListenTCP(t.Context(), netip.MustParseAddrPort("[::]:0"), &Options{Listening: Listening{V6Only: true}}); err != nil {
			break
		}
		defer ln.Close()
		if other, err = ListenTCP(t.Context(), netip.AddrPortFrom(netip.IPv4Unspecified(), AddrPort(ln.Addr()).Port()), Default); err == nil {
			other.Close()
			return
		}
	}
	if errors.Is(err, syscall.EAFNOSUPPORT) {
		t.Skip("no IPv6 here")
	}
	t.Fatal(err)
}

// A buffer above the limit of the system is given whole, or refused; never cut silently.
func TestBuffersAreGivenWhole(t *testing.T) {
	const size = 64 << 20
	o := &Options{SendBuffer: size, ReceiveBuffer: size}
	missing := o.Probe(true, false, false)
	fd, err := Stream(netip.MustParseAddrPort("127.0.0.1:1"), o, netip.Addr{})
	if (err == nil) != (len(missing) == 0) {
		t.Fatalf("the probe misses %v, the socket %v", missing, err)
	}
	if err != nil {
		return
	}
	defer unix.Close(fd)
	for _, option := range []int{unix.SO_SNDBUF, unix.SO_RCVBUF} {
		if got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option); err != nil || got != 2*size {
			t.Errorf("option %d is %d, %v", option, got, err)
		}
	}
}

// What is retuned is what new clients have; what is asked for no more is as it was.
func TestRetune(t *testing.T) {
	was := &Options{UserTimeout: time.Second, Mark: 0, KeepAlive: Default.KeepAlive, Listening: Listening{DeferAccept: time.Second, FastOpen: 5}}
	ln, err := ListenTCP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), was)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	raw, err := ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	read := func(level, option int) (got int) {
		if e := raw.Control(func(fd uintptr) { got, err = unix.GetsockoptInt(int(fd), level, option) }); e != nil || err != nil {
			t.Fatal(e, err)
		}
		return got
	}
	check := func(when string, level, option, want int) {
		t.Helper()
		if got := read(level, option); got != want {
			t.Errorf("%s: option %d of level %d is %d, want %d", when, option, level, got, want)
		}
	}
	check("at first", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 1000)
	check("at first", unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 5)
	check("at first", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 1)
	now := &Options{UserTimeout: 2 * time.Second, Nagle: true}
	if err := raw.Control(func(fd uintptr) { was.Retune(int(fd), now) }); err != nil {
		t.Fatal(err)
	}
	check("then", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 2000)
	check("then", unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 0)
	check("then", unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 0)
	check("then", unix.IPPROTO_TCP, unix.TCP_NODELAY, 0)
	check("then", unix.SOL_SOCKET, unix.SO_KEEPALIVE, 0)
	if err := raw.Control(func(fd uintptr) { now.Retune(int(fd), Default) }); err != nil {
		t.Fatal(err)
	}
	check("at last", unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0)
	check("at last", unix.IPPROTO_TCP, unix.TCP_NODELAY, 1)
	check("at last", unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, 15)
}
