package sock

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"syscall"

	"golang.org/x/net/ipv4"
	"golang.org/x/net/ipv6"
	"golang.org/x/sys/unix"
)

// PacketConn is a listening UDP socket that knows which of its addresses a datagram was sent to, and replies from there.
type PacketConn struct {
	*net.UDPConn
	bound    netip.AddrPort
	wildcard bool
	v6       bool
	overflow Overflow
	lost     uint32
	class    uint8
}

// ListenUDP opens a listening UDP socket. An IPv6 wildcard also takes IPv4 where the kernel allows it, unless V6Only says
// otherwise.
func ListenUDP(ctx context.Context, addr netip.AddrPort, o *Options) (*PacketConn, error) {
	lc := net.ListenConfig{Control: control(func(fd int) error { return o.listen(fd, addr.Addr(), false) })}
	pc, err := lc.ListenPacket(ctx, o.network("udp", addr), addr.String())
	if err != nil {
		return nil, err
	}
	return newPacketConn(pc.(*net.UDPConn))
}

func newPacketConn(udp *net.UDPConn) (*PacketConn, error) {
	c := &PacketConn{UDPConn: udp, bound: AddrPort(udp.LocalAddr())}
	c.wildcard, c.v6 = c.bound.Addr().IsUnspecified(), c.bound.Addr().Is6()
	countOverflowOf(c)
	if !c.wildcard {
		return c, nil
	}
	// On a dual-stack socket the IPv6 option also reports IPv4 destinations, as mapped addresses (ipv6(7)).
	var err error
	if c.v6 {
		err = ipv6.NewPacketConn(c.UDPConn).SetControlMessage(ipv6.FlagDst|ipv6.FlagInterface, true)
	} else {
		err = ipv4.NewPacketConn(c.UDPConn).SetControlMessage(ipv4.FlagDst|ipv4.FlagInterface, true)
	}
	if err != nil {
		_ = c.Close()
		return nil, fmt.Errorf("packet info on %s: %w", c.bound, err)
	}
	return c, nil
}

// OOBSize is the room for control messages. It is enough for all that a socket of ours is asked to tell.
const OOBSize = 192

// ReadDatagram reads one datagram into b. local is the address it was sent to. truncated tells that b was too small.
func (c *PacketConn) ReadDatagram(b, oob []byte) (n int, client, local netip.AddrPort, truncated bool, err error) {
	n, oobn, flags, from, err := c.ReadMsgUDPAddrPort(b, oob)
	if err != nil {
		return 0, client, local, false, err
	}
	c.lost, c.class = c.overflow.Since(oob[:oobn]), Class(oob[:oobn])
	local = c.bound
	if c.wildcard {
		if dst, ok := c.destination(oob[:oobn]); ok {
			local = netip.AddrPortFrom(dst, c.bound.Port())
		}
	}
	return n, Unmap(from), local, flags&msgTrunc != 0, nil
}

// Lost is how many datagrams the kernel had no room for before the one that was read last.
func (c *PacketConn) Lost() uint32 { return c.lost }

// HearClass makes the socket tell with each datagram which traffic class it came with.
func (c *PacketConn) HearClass() {
	if raw, err := c.SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { HearClass(int(fd)) })
	}
}

// Class is the traffic class of the datagram that was read last, after HearClass.
func (c *PacketConn) Class() uint8 { return c.class }

func (c *PacketConn) destination(oob []byte) (netip.Addr, bool) {
	var dst net.IP
	if c.v6 {
		var cm ipv6.ControlMessage
		if cm.Parse(oob) != nil {
			return netip.Addr{}, false
		}
		dst = cm.Dst
	} else {
		var cm ipv4.ControlMessage
		if cm.Parse(oob) != nil {
			return netip.Addr{}, false
		}
		dst = cm.Dst
	}
	a, ok := netip.AddrFromSlice(dst)
	return a.Unmap(), ok
}

// ReplyControl is the control message that makes a reply leave from local: what WriteMsgUDPAddrPort takes as oob. It is
// nil where the socket can leave from one address only.
func (c *PacketConn) ReplyControl(local netip.AddrPort) []byte {
	if !c.wildcard {
		return nil
	}
	// An IPv4 client of a dual-stack socket is answered by the IPv4 half of the kernel, which takes its own option; the
	// IPv6 one cannot even be marshalled with a mapped address.
	if local.Addr().Is4() {
		a := local.Addr().As4()
		return (&ipv4.ControlMessage{Src: a[:]}).Marshal()
	}
	a := local.Addr().As16()
	return (&ipv6.ControlMessage{Src: a[:]}).Marshal()
}

// Reply sends one datagram to the client with a control message of ReplyControl.
func (c *PacketConn) Reply(b, control []byte, client netip.AddrPort) error {
	_, _, err := c.WriteMsgUDPAddrPort(b, control, c.mapped(client))
	return err
}

// mapped is the client's address as a socket of this family has it.
func (c *PacketConn) mapped(client netip.AddrPort) netip.AddrPort {
	if c.v6 && client.Addr().Is4() {
		return netip.AddrPortFrom(netip.AddrFrom16(client.Addr().As16()), client.Port())
	}
	return client
}

// IsWildcard tells whether datagrams to several addresses come here.
func (c *PacketConn) IsWildcard() bool { return c.wildcard }

// Bound is the address that the socket is bound to.
func (c *PacketConn) Bound() netip.AddrPort { return c.bound }

// DialUDP opens a connected UDP socket towards a peer, on behalf of a client if one is given, so that only the peer's
// datagrams and refusals arrive on it.
func DialUDP(addr netip.AddrPort, o *Options, client netip.Addr) (*net.UDPConn, error) {
	var c net.Conn
	if err := o.Source.eachWay(addr.Addr(), client, func(way int) (err error) {
		d := net.Dialer{Control: control(func(fd int) error { return o.dial(fd, addr.Addr(), client, way, false) })}
		c, err = d.Dial(network("udp", addr), addr.String())
		return err
	}); err != nil {
		return nil, err
	}
	udp := c.(*net.UDPConn)
	countOverflowOf(udp)
	return udp, nil
}

// Sender sends on a connected UDP socket and does not wait for room, as Write would. It belongs to one goroutine; to close the
// socket ends it.
type Sender struct {
	raw  syscall.RawConn
	send func(fd uintptr) bool
	b    []byte
	err  error
}

// NewSender makes one, whose Send allocates nothing.
func NewSender(c *net.UDPConn) (*Sender, error) {
	raw, err := c.SyscallConn()
	if err != nil {
		return nil, err
	}
	s := &Sender{raw: raw}
	s.send = func(fd uintptr) bool {
		s.err = unix.EINTR
		for s.err == unix.EINTR {
			s.err = unix.Send(int(fd), s.b, 0)
		}
		return true
	}
	return s, nil
}

// HearClass makes the socket tell with each datagram which traffic class it came with.
func (s *Sender) HearClass() {
	_ = s.raw.Control(func(fd uintptr) { HearClass(int(fd)) }) // fails only on a closed socket
}

// SetClass gives what is sent from now on a traffic class.
func (s *Sender) SetClass(v6 bool, class uint8) {
	_ = s.raw.Control(func(fd uintptr) { SetClass(int(fd), v6, class) }) // fails only on a closed socket
}

// Send sends one datagram whole. EAGAIN says that there is no room for it now.
func (s *Sender) Send(b []byte) error {
	s.b = b
	if err := s.raw.Write(s.send); err != nil {
		return err
	}
	return s.err
}
