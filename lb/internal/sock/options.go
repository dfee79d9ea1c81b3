package sock

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"syscall"
	"time"
)

// Options are what a socket is asked for beyond its address. Values are equal if they ask for the same. What a kind of socket
// has no use for is not looked at: a UDP socket has no keepalive.
type Options struct {
	Nagle       bool          // TCP: small writes may wait for an acknowledgement
	KeepAlive   KeepAlive     // TCP
	UserTimeout time.Duration // TCP: what was sent and is not acknowledged for so long ends the connection; 0 is the kernel's choice
	Congestion  string        // TCP: an algorithm of the kernel; "" is its choice

	SendBuffer    int    // bytes of payload; 0 is the kernel's choice, which changes with need
	ReceiveBuffer int    //
	Mark          uint32 // of every packet; 0 is none
	Interface     string // packets go out and come in there alone: an interface or a VRF; "" is any
	Freebind      bool   // bind to an address that no interface has yet
	Transparent   bool   // bind to addresses of others

	Listening Listening
	Source    Source
}

// KeepAlive says when a silent TCP peer is asked whether it is there. The zero value is never. Times are whole seconds.
type KeepAlive struct {
	Idle     time.Duration // of silence before the first probe
	Interval time.Duration // between two
	Count    int           // probes without an answer that end the connection
}

// Listening is for sockets that listen.
type Listening struct {
	DeferAccept time.Duration // TCP: clients that have sent nothing are not accepted before; whole seconds
	FastOpen    int           // TCP: clients that may wait with data in their SYN; 0 is none
	V6Only      bool          // a wildcard of IPv6 does not take IPv4
	ReusePort   bool          // others may bind the address too, and share its clients
	Class       bool          // UDP: datagrams tell their traffic class
}

// Source is where connections to peers come from.
type Source struct {
	IPv4, IPv6  Addresses // towards peers of the family
	First, Last uint16    // ports; 0 is the kernel's choice
	Client      bool      // the address of the client, of its family
}

// MaxSources is how many addresses of one family connections may come from.
const MaxSources = 8

// Addresses are those of one family, and zero values behind them; none is the kernel's choice.
type Addresses [MaxSources]netip.Addr

func (a *Addresses) count() int {
	for i := range a {
		if !a[i].IsValid() {
			return i
		}
	}
	return len(a)
}

// Default is what a socket has that nothing was said about: a peer that vanished without a word is noticed after
// 15 s + 8 * 15 s.
var Default = &Options{KeepAlive: KeepAlive{Idle: 15 * time.Second, Interval: 15 * time.Second, Count: 8}}

// of gives the addresses towards peers of the family of one.
func (s *Source) of(peer netip.Addr) *Addresses {
	if peer.Is4() {
		return &s.IPv4
	}
	return &s.IPv6
}

// asClient tells whether a peer is to see the client's address.
func (s *Source) asClient(peer, client netip.Addr) bool {
	return s.Client && client.IsValid() && client.Is4() == peer.Is4()
}

// Ways is from how many addresses a peer may be connected to on behalf of a client, each with ports of its own: at least 1.
func (s *Source) Ways(peer, client netip.Addr) int {
	if s.asClient(peer, client) {
		return 1
	}
	return max(1, s.of(peer).count())
}

// from is the address to connect to a peer from, on behalf of a client, by the number of the way.
func (s *Source) from(peer, client netip.Addr, way int) netip.Addr {
	if s.asClient(peer, client) {
		return client
	}
	return s.of(peer)[way]
}

// eachWay calls connect with the number of one way after the other, from any of them on, until it did not fail for want of a
// source port.
func (s *Source) eachWay(peer, client netip.Addr, connect func(way int) error) (err error) {
	n := s.Ways(peer, client)
	first := rand.IntN(n)
	for i := range n {
		if err = connect((first + i) % n); Classify(err) != NoSourcePort {
			break
		}
	}
	return err
}

// config is a keepalive as the portable twins ask for it.
func (k KeepAlive) config() net.KeepAliveConfig {
	return net.KeepAliveConfig{Enable: k.Idle > 0, Idle: k.Idle, Interval: k.Interval, Count: k.Count}
}

// Settle gives an accepted or connected TCP connection what net has set its own way.
func (o *Options) Settle(c Conn) {
	tcp, ok := c.(*net.TCPConn)
	if !ok {
		return
	}
	if o.Nagle {
		_ = tcp.SetNoDelay(false)
	}
	_ = tcp.SetKeepAliveConfig(o.KeepAlive.config()) // fails only on a socket that is gone
}

// An OptionError is an option that a socket did not get. It says nothing about a peer.
type OptionError struct {
	Key string // as the configuration has it
	Err error
}

func (e *OptionError) Error() string { return fmt.Sprintf("socket option %s: %v", e.Key, e.Err) }

func (e *OptionError) Unwrap() error { return e.Err }

// Why says what an option lacks, to who has asked for it.
func (e *OptionError) Why() string {
	switch {
	case errors.Is(e.Err, syscall.EPERM), errors.Is(e.Err, syscall.EACCES):
		return "this process may not: it needs " + needs[e.Key]
	case errors.Is(e.Err, syscall.ENOPROTOOPT), errors.Is(e.Err, errors.ErrUnsupported):
		return "this kernel has no such option: it needs " + kernels[e.Key]
	case errors.Is(e.Err, syscall.ENODEV):
		return "there is no such interface"
	case errors.Is(e.Err, syscall.ENOENT):
		return "the kernel does not have it: see sysctl net.ipv4.tcp_available_congestion_control"
	case errors.Is(e.Err, syscall.EADDRNOTAVAIL):
		return e.Err.Error() + ": no interface of this host has the address; freebind = true lets it come later"
	}
	return e.Err.Error()
}

// needs names the capability that an option takes.
var needs = map[string]string{
	"mark": "CAP_NET_ADMIN", "transparent": "CAP_NET_ADMIN", "source": "CAP_NET_ADMIN", "interface": "CAP_NET_RAW",
	"congestion": "CAP_NET_ADMIN, or the name in sysctl net.ipv4.tcp_allowed_congestion_control",
}

// kernels names the kernel that an option takes; "" is any Linux.
var kernels = map[string]string{"source_ports": "Linux 6.3"}

// errSmall is a buffer that the kernel does not give.
type errSmall struct {
	most   int
	sysctl string
}

func (e errSmall) Error() string {
	return fmt.Sprintf("the kernel gives at most %d bytes: it needs CAP_NET_ADMIN, or sysctl %s", e.most, e.sysctl)
}

// errPorts are ports that the kernel would not choose.
type errPorts struct{ low, high uint16 }

func (e errPorts) Error() string {
	return fmt.Sprintf("the kernel chooses from sysctl net.ipv4.ip_local_port_range, which is %d to %d", e.low, e.high)
}
