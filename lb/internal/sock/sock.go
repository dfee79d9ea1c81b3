// Package sock is the only place that makes sockets and sets their options, and that turns the kernel's refusals into
// the few kinds that a session acts upon.
//
// It has no opinions: no peers, no pools, no configuration, no logging.
package sock

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// ListenTCP opens a listening TCP socket. An IPv6 wildcard also takes IPv4 where the kernel allows it, unless V6Only says
// otherwise. Connections that it accepts want Settle, where there are no loops.
func ListenTCP(ctx context.Context, addr netip.AddrPort, o *Options) (*net.TCPListener, error) {
	lc := net.ListenConfig{KeepAlive: -1, Control: control(func(fd int) error { return o.listen(fd, addr.Addr(), true) })}
	lc.SetMultipathTCP(false) // has not the options of TCP
	ln, err := lc.Listen(ctx, o.network("tcp", addr), addr.String())
	if err != nil {
		return nil, err
	}
	return ln.(*net.TCPListener), nil
}

// control has a socket of net prepared before it is bound or connected.
func control(prepare func(fd int) error) func(string, string, syscall.RawConn) error {
	return func(_, _ string, c syscall.RawConn) (err error) {
		e := c.Control(func(fd uintptr) { err = prepare(int(fd)) })
		return errors.Join(err, e)
	}
}

// network is what net calls the family of a socket that listens.
func (o *Options) network(proto string, addr netip.AddrPort) string {
	if o.Listening.V6Only && addr.Addr().Is6() {
		return proto + "6"
	}
	return network(proto, addr)
}

// network names the family, so that 0.0.0.0 is IPv4 alone. [::] stays "tcp" or "udp": dual stack.
func network(proto string, addr netip.AddrPort) string {
	switch {
	case addr.Addr().Is4():
		return proto + "4"
	case addr.Addr().IsUnspecified():
		return proto
	default:
		return proto + "6"
	}
}

// Failure is what a failed connect says about the peer.
type Failure uint8

// The failures, from the peer's fault to ours.
const (
	Refused      Failure = iota // the peer, or something on the way, said no
	TimedOut                    // nothing answered in time
	NoSourcePort                // this host has no free source port towards that address
	Resources                   // this host is out of descriptors or memory, or does not give a socket what it is asked for
	Canceled                    // the caller gave up
)

// ErrSelf is returned by DialTCP when the kernel connected a socket to itself: it picked the destination as the source.
var ErrSelf = errors.New("connected to itself")

// DialTCP connects to a peer, on behalf of a client if one is given. The caller closes the connection. The deadline is that
// of ctx.
func DialTCP(ctx context.Context, addr netip.AddrPort, o *Options, client netip.Addr) (*net.TCPConn, error) {
	var c net.Conn
	if err := o.Source.eachWay(addr.Addr(), client, func(way int) (err error) {
		d := net.Dialer{KeepAlive: -1, Control: control(func(fd int) error { return o.dial(fd, addr.Addr(), client, way, true) })}
		c, err = d.DialContext(ctx, network("tcp", addr), addr.String())
		return err
	}); err != nil {
		return nil, err
	}
	tcp := c.(*net.TCPConn)
	if AddrPort(tcp.LocalAddr()) == addr {
		Abort(tcp)
		return nil, ErrSelf
	}
	o.Settle(tcp)
	return tcp, nil
}

// Classify says what a connect error means.
func Classify(err error) Failure {
	var option *OptionError
	switch {
	case errors.Is(err, context.Canceled):
		return Canceled
	case errors.Is(err, syscall.EADDRNOTAVAIL), errors.Is(err, syscall.EAGAIN): // of TCP, and of UDP (inet_autobind)
		return NoSourcePort
	case Shortage(err) != "", errors.As(err, &option):
		return Resources
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.Is(err, syscall.ETIMEDOUT):
		return TimedOut
	default:
		return Refused
	}
}

// Shortage names what this host or this process has too few of, as errno(3) does in lower case; "" is none.
func Shortage(err error) string {
	switch {
	case errors.Is(err, syscall.EMFILE):
		return "emfile"
	case errors.Is(err, syscall.ENFILE):
		return "enfile"
	case errors.Is(err, syscall.ENOBUFS):
		return "enobufs"
	case errors.Is(err, syscall.ENOMEM):
		return "enomem"
	}
	return ""
}

// AcceptReason names why accept failed when more of the same is to be expected, so that the caller backs off; "" means
// that the next accept may well succeed.
func AcceptReason(err error) string {
	if short := Shortage(err); short != "" {
		return short
	}
	switch {
	case errors.Is(err, syscall.ECONNABORTED), errors.Is(err, syscall.EPROTO), errors.Is(err, syscall.EINTR):
		return ""
	default:
		return "error"
	}
}

// Abort closes a connection with RST: what is queued is thrown away and the other side learns that the stream was cut.
// At a path there is no RST: the other side sees the end of the stream, or a reset where it has sent what was not read.
func Abort(c Conn) {
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // fails only on a closed socket
	}
	_ = c.Close()
}

// AddrPort gives the unmapped ip:port of a TCP or UDP address; the zero value for anything else.
func AddrPort(a net.Addr) netip.AddrPort {
	switch a := a.(type) {
	case *net.TCPAddr:
		return Unmap(a.AddrPort())
	case *net.UDPAddr:
		return Unmap(a.AddrPort())
	}
	return netip.AddrPort{}
}

// Unmap turns ::ffff:a.b.c.d into a.b.c.d, so that one client has one address in every comparison.
func Unmap(a netip.AddrPort) netip.AddrPort {
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port())
}
