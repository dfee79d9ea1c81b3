//go:build amd64 || arm64

package sock

import (
	"fmt"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// option is one of Options as the kernel has it.
type option struct {
	key    string // of the configuration
	stream bool   // of TCP alone
	asked  func(o *Options) bool
	set    func(fd, family int, o *Options) error
}

// common are those of every socket that binds or connects.
var common = []option{
	{"congestion", true, func(o *Options) bool { return o.Congestion != "" }, func(fd, _ int, o *Options) error {
		return unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, o.Congestion)
	}},
	{"user_timeout", true, func(o *Options) bool { return o.UserTimeout > 0 }, func(fd, _ int, o *Options) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(o.UserTimeout.Milliseconds()))
	}},
	{"send_buffer", false, func(o *Options) bool { return o.SendBuffer > 0 }, func(fd, _ int, o *Options) error {
		return setBuffer(fd, unix.SO_SNDBUFFORCE, unix.SO_SNDBUF, o.SendBuffer, "net.core.wmem_max")
	}},
	{"receive_buffer", false, func(o *Options) bool { return o.ReceiveBuffer > 0 }, func(fd, _ int, o *Options) error {
		return setBuffer(fd, unix.SO_RCVBUFFORCE, unix.SO_RCVBUF, o.ReceiveBuffer, "net.core.rmem_max")
	}},
	{"mark", false, func(o *Options) bool { return o.Mark != 0 }, func(fd, _ int, o *Options) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_MARK, int(o.Mark))
	}},
}

// binding are those that decide where a socket is bound, or may be.
var binding = []option{
	{"interface", false, func(o *Options) bool { return o.Interface != "" }, func(fd, _ int, o *Options) error {
		return unix.BindToDevice(fd, o.Interface)
	}},
	{"freebind", false, func(o *Options) bool { return o.Freebind }, func(fd, family int, _ *Options) error {
		if family == unix.AF_INET6 {
			return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_FREEBIND, 1)
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_FREEBIND, 1)
	}},
	{"transparent", false, func(o *Options) bool { return o.Transparent }, setTransparent},
}

func setTransparent(fd, family int, _ *Options) error {
	if family == unix.AF_INET6 {
		return unix.SetsockoptInt(fd, unix.IPPROTO_IPV6, unix.IPV6_TRANSPARENT, 1)
	}
	return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_TRANSPARENT, 1)
}

// setBuffer sets the size of a buffer, beyond the limit of the system where this process may.
func setBuffer(fd, force, option, size int, sysctl string) error {
	if unix.SetsockoptInt(fd, unix.SOL_SOCKET, force, size) == nil {
		return nil
	}
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, option, size); err != nil {
		return err
	}
	got, err := unix.GetsockoptInt(fd, unix.SOL_SOCKET, option)
	if err == nil && got < 2*size { // the kernel counts its own bookkeeping too, and doubles what it is asked for
		err = errSmall{got / 2, sysctl}
	}
	return err
}

// listening are those of sockets that listen. They may be set again while clients come.
var listening = []option{
	{"defer_accept", true, func(o *Options) bool { return o.Listening.DeferAccept > 0 }, func(fd, _ int, o *Options) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, int(o.Listening.DeferAccept/time.Second))
	}},
	{"fast_open", true, func(o *Options) bool { return o.Listening.FastOpen > 0 }, func(fd, _ int, o *Options) error {
		return unix.SetsockoptInt(fd, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, o.Listening.FastOpen)
	}},
	{"reuse_port", false, func(o *Options) bool { return o.Listening.ReusePort }, func(fd, _ int, _ *Options) error {
		return unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	}},
}

// localPorts are those that this host takes for connections; all of them if it does not say.
var localPorts = sync.OnceValues(func() (low, high uint16) {
	text, err := os.ReadFile("/proc/sys/net/ipv4/ip_local_port_range")
	if err != nil {
		return 1, 65535
	}
	if _, err := fmt.Sscan(string(text), &low, &high); err != nil {
		return 1, 65535
	}
	return low, high
})

// outgoing are those of sockets that connect.
var outgoing = []option{
	{"source", false, func(o *Options) bool { return o.Source.Client }, setTransparent},
	{"source_ports", false, func(o *Options) bool { return o.Source.First > 0 }, func(fd, _ int, o *Options) error {
		// Of both families (ip(7), since Linux 6.3): the lower half is the first port, the upper half the last one. What is
		// beyond the ports of the system is not looked at.
		if low, high := localPorts(); o.Source.First < low || o.Source.Last > high {
			return errPorts{low, high}
		}
		return unix.SetsockoptInt(fd, unix.IPPROTO_IP, unix.IP_LOCAL_PORT_RANGE, int(int32(uint32(o.Source.Last)<<16|uint32(o.Source.First))))
	}},
}

// give sets on a socket what is asked for of some tables.
func give(fd, family int, stream bool, o *Options, tables ...[]option) error {
	for _, table := range tables {
		for i := range table {
			if p := &table[i]; p.asked(o) && (stream || !p.stream) {
				if err := p.set(fd, family, o); err != nil {
					return &OptionError{p.key, err}
				}
			}
		}
	}
	return nil
}

// familyOf is the kernel's number for the family of an address.
func familyOf(a netip.Addr) int {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// listen prepares a socket that is to be bound to addr. What clients' sockets are to have, they take over from it (Linux
// copies it for each accept), so that an accept costs no further call.
func (o *Options) listen(fd int, addr netip.Addr, stream bool) error {
	if stream {
		o.inherit(fd)
	}
	return give(fd, familyOf(addr), stream, o, common, binding, listening)
}

// inherit sets what costs nothing to set again.
func (o *Options) inherit(fd int) {
	set(fd, unix.IPPROTO_TCP, unix.TCP_NODELAY, flag(!o.Nagle))
	o.KeepAlive.Set(fd)
}

// Set makes the kernel notice a peer that vanished without a word, or never ask.
func (k KeepAlive) Set(fd int) {
	set(fd, unix.SOL_SOCKET, unix.SO_KEEPALIVE, flag(k.Idle > 0))
	if k.Idle > 0 {
		set(fd, unix.IPPROTO_TCP, unix.TCP_KEEPIDLE, int32(k.Idle/time.Second))
		set(fd, unix.IPPROTO_TCP, unix.TCP_KEEPINTVL, int32(k.Interval/time.Second))
		set(fd, unix.IPPROTO_TCP, unix.TCP_KEEPCNT, int32(k.Count))
	}
}

func flag(on bool) int32 {
	if on {
		return 1
	}
	return 0
}

// Retune changes a TCP socket that listens from what it was asked for to now. Clients that come from then on have it; what
// decides where a socket is bound stays as it is. Buffers that are to be the kernel's choice again stay as they are, too.
func (o *Options) Retune(fd int, now *Options) {
	now.inherit(fd)
	for _, table := range [][]option{common, listening} {
		_ = give(fd, unix.AF_UNSPEC, true, now, table) // what could fail has been tried by Probe
	}
	reset := func(was bool, level, option int, value int32) {
		if was {
			set(fd, level, option, value)
		}
	}
	reset(o.UserTimeout > 0 && now.UserTimeout == 0, unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, 0)
	reset(o.Mark != 0 && now.Mark == 0, unix.SOL_SOCKET, unix.SO_MARK, 0)
	reset(o.Listening.DeferAccept > 0 && now.Listening.DeferAccept == 0, unix.IPPROTO_TCP, unix.TCP_DEFER_ACCEPT, 0)
	reset(o.Listening.FastOpen > 0 && now.Listening.FastOpen == 0, unix.IPPROTO_TCP, unix.TCP_FASTOPEN, 0)
}

// dial prepares a socket that is to connect to peer, on behalf of a client, by one of the ways from which it may.
func (o *Options) dial(fd int, peer, client netip.Addr, way int, stream bool) error {
	if o.plain() {
		return nil
	}
	family := familyOf(peer)
	if err := give(fd, family, stream, o, common, binding, outgoing); err != nil {
		return err
	}
	from := o.Source.from(peer, client, way)
	if !from.IsValid() {
		return nil
	}
	// The port is chosen at the connect, so that one may be used towards many peers at a time (ip(7), Linux 4.2).
	set(fd, unix.IPPROTO_IP, unix.IP_BIND_ADDRESS_NO_PORT, 1)
	if err := unix.Bind(fd, sockaddr(from)); err != nil {
		return &OptionError{"source", fmt.Errorf("%s: %w", from, err)}
	}
	return nil
}

func sockaddr(a netip.Addr) unix.Sockaddr {
	if a.Is4() {
		return &unix.SockaddrInet4{Addr: a.As4()}
	}
	return &unix.SockaddrInet6{Addr: a.As16(), ZoneId: scope(a.Zone())}
}

// plain tells that nothing has to be done before a socket connects.
func (o *Options) plain() bool {
	return o.Source == Source{} && o.UserTimeout == 0 && o.Congestion == "" && o.SendBuffer == 0 && o.ReceiveBuffer == 0 &&
		o.Mark == 0 && o.Interface == "" && !o.Freebind && !o.Transparent
}

// Control prepares sockets of net for peers as those of sessions are, on behalf of nobody.
func (o *Options) Control(network, address string, c syscall.RawConn) error {
	peer, err := netip.ParseAddrPort(address)
	if err != nil {
		return err
	}
	return control(func(fd int) error { return o.dial(fd, peer.Addr().Unmap(), netip.Addr{}, 0, network[0] == 't') })(network, address, c)
}

// Probe tries the options on sockets of their own, which go nowhere, and gives what they did not get, each option once. stream
// is TCP, else UDP; listen is for sockets that listen, and v6 for IPv6.
func (o *Options) Probe(stream, listen, v6 bool) (missing []*OptionError) {
	family, kind := unix.AF_INET, unix.SOCK_DGRAM
	if v6 {
		family = unix.AF_INET6
	}
	if stream {
		kind = unix.SOCK_STREAM
	}
	tables := [][]option{common, binding, outgoing}
	if listen {
		tables[2] = listening
	}
	for _, table := range tables {
		for _, p := range table {
			if !p.asked(o) || p.stream && !stream {
				continue
			}
			if err := o.try(p, family, kind); err != nil {
				missing = append(missing, &OptionError{p.key, err})
			}
		}
	}
	from := &o.Source.IPv4
	if v6 {
		from = &o.Source.IPv6
	}
	for _, a := range from[:from.count()] {
		if listen {
			break
		}
		if err := o.try(option{set: func(fd, family int, o *Options) error {
			_ = give(fd, family, stream, o, binding) // which has been said
			return unix.Bind(fd, sockaddr(a))
		}}, family, kind); err != nil {
			missing = append(missing, &OptionError{"source", fmt.Errorf("%s: %w", a, err)})
		}
	}
	return missing
}

// try sets one option on a new socket. That this host has no such family is no fault of the option.
func (o *Options) try(p option, family, kind int) error {
	if fd, absent := unix.Socket(family, kind|unix.SOCK_CLOEXEC, 0); absent == nil {
		defer func() { _ = unix.Close(fd) }()
		return p.set(fd, family, o)
	}
	return nil
}

// set sets an option whose failure changes nothing that a session could act upon.
func set(fd, level, option int, value int32) {
	_, _, _ = unix.RawSyscall6(unix.SYS_SETSOCKOPT, uintptr(fd), uintptr(level), uintptr(option), uintptr(unsafe.Pointer(&value)), 4, 0)
}
