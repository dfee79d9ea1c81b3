//go:build amd64 || arm64

package sock

import (
	"errors"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
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
		{"source", Options{Source: Source{IPv4: Addresses{netip.MustParseAddr("192.0.2.1")}}}, "no interface of this host has the address"},
		{"source", Options{Source: Source{IPv4: Addresses{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("192.0.2.1")}}}, "192.0.2.1: "},
		{"source_ports", Options{Source: Source{First: 1, Last: 65535}}, "net.ipv4.ip_local_port_range"},
		{"source", Options{Source: Source{IPv6: Addresses{netip.MustParseAddr("2001:db8::1")}}}, "no interface of this host has the address"},
	} {
		missing := c.o.Probe(true, false, c.o.Source.IPv6.count() > 0)
		if len(missing) != 1 || missing[0].Key != c.key || !strings.Contains(missing[0].Why(), c.want) {
			t.Errorf("%+v misses %v, want %s: %s", c.o, missing, c.key, c.want)
		}
	}
	for _, o := range []Options{{}, *Default, {Freebind: true, Source: Source{IPv4: Addresses{netip.MustParseAddr("192.0.2.1")}}}} {
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
	from := &Options{Source: Source{IPv4: Addresses{netip.MustParseAddr("127.0.0.9")}, IPv6: Addresses{netip.MustParseAddr("::1")}, First: 40000, Last: 40000}}
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
	want := netip.AddrPortFrom(from.Source.IPv4[0], from.Source.First)
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
	s := Source{IPv4: Addresses{four}, IPv6: Addresses{six}, Client: true}
	for _, c := range []struct{ peer, client, want netip.Addr }{
		{four, client, client}, {six, client, six}, {four, six, four}, {six, six, six}, {four, netip.Addr{}, four},
	} {
		if got := s.from(c.peer, c.client, 0); got != c.want {
			t.Errorf("to %v for %v: %v, want %v", c.peer, c.client, got, c.want)
		}
	}
}

// Of several source addresses, one with a free port is taken, whichever is looked at first, of TCP and of UDP; that none has one is
// told as such.
func TestLI6SourceAddressesTakeOverFromEachOther(t *testing.T) {
	ln, err := ListenTCP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), Default)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	pc, err := ListenUDP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), Default)
	if err != nil {
		t.Fatal(err)
	}
	defer pc.Close()
	a, b := netip.MustParseAddr("127.0.0.9"), netip.MustParseAddr("127.0.0.10")
	for name, dial := range map[string]func(*Options) (net.Conn, error){
		"tcp": func(o *Options) (net.Conn, error) {
			c, err := DialTCP(t.Context(), AddrPort(ln.Addr()), o, netip.Addr{})
			if err == nil {
				err = c.SetLinger(0)
			}
			return c, err
		},
		"udp": func(o *Options) (net.Conn, error) { return DialUDP(pc.Bound(), o, netip.Addr{}) },
		"udp of loops": func(o *Options) (net.Conn, error) {
			fd, err := Datagram(pc.Bound(), o, netip.Addr{})
			if err != nil {
				return nil, err
			}
			f := os.NewFile(uintptr(fd), "")
			defer f.Close()
			return net.FileConn(f)
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := &Options{Source: Source{IPv4: Addresses{a, b}}}
			low, high := localPorts()
			var held []net.Conn
			for range 200 { // until both have had the port: others use ports too
				for _, c := range held {
					c.Close()
				}
				held = nil
				o.Source.First = low + uint16(rand.IntN(int(high-low)))
				o.Source.Last = o.Source.First
				if missing := o.Probe(true, false, false); len(missing) > 0 {
					t.Skip(missing[0].Key, ": ", missing[0].Why())
				}
				for range 2 {
					c, err := dial(o)
					if Classify(err) == NoSourcePort {
						break
					}
					if err != nil {
						t.Fatal(err)
					}
					held = append(held, c)
				}
				if len(held) == 2 {
					break
				}
			}
			if len(held) < 2 {
				t.Fatal("no port was free on both addresses")
			}
			if one, other := AddrPort(held[0].LocalAddr()).Addr(), AddrPort(held[1].LocalAddr()).Addr(); one == other || one != a && one != b || other != a && other != b {
				t.Errorf("from %s and %s", one, other)
			}
			if _, err := dial(o); Classify(err) != NoSourcePort {
				t.Errorf("the third: %v", err)
			}
			for _, c := range held {
				c.Close()
			}
		})
	}
}

func TestV6OnlyLeavesIPv4ToOthers(t *testing.T) {
	var err error
	// A port that is free on IPv6 may be another's on IPv4, also in TIME_WAIT, at one try.
	for range 100 {
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
	fd, err := Stream(netip.MustParseAddrPort("127.0.0.1:1"), o, netip.Addr{}, 0)
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
