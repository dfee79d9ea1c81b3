package check

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// way is how probes with the same options reach a target: which port, what goes first, and TLS.
type way struct {
	port   uint16
	socket *sock.Options
	dialer net.Dialer                                // that asks for them
	header func(local, remote netip.AddrPort) []byte // nil: none
	certs  *certs                                    // nil: no TLS
}

func newWay(o Options) (*way, error) {
	w := &way{port: o.Port, socket: &o.Socket, dialer: net.Dialer{KeepAlive: -1, Control: o.Socket.Control}}
	switch o.Proxy {
	case "", "off":
	case "v1":
		w.header = headerV1
	case "v2":
		w.header = headerV2
	default:
		return nil, fmt.Errorf("proxy %q: unknown version", o.Proxy)
	}
	var err error
	w.certs, err = newCerts(o.TLS)
	return w, err
}

// to is where the target is asked.
func (w *way) to(target netip.AddrPort) netip.AddrPort {
	if w.port != 0 {
		return netip.AddrPortFrom(target.Addr(), w.port)
	}
	return target
}

// dial connects to the target, without TLS. The caller closes the connection, or leaves it.
func (w *way) dial(ctx context.Context, target netip.AddrPort) (*conn, error) {
	target = w.to(target)
	raw, err := w.dialer.DialContext(ctx, "tcp", target.String())
	if err != nil {
		return nil, err
	}
	c := bound(ctx, raw)
	// Where nobody listens on a local port of the ephemeral range, the kernel may pick that very port as the source and
	// connect the socket to itself. Dial tries again when it sees that, but only twice.
	if raw.LocalAddr().String() == raw.RemoteAddr().String() {
		_ = c.Close()
		return nil, errSelf(target)
	}
	if w.header != nil {
		local := raw.LocalAddr().(*net.TCPAddr).AddrPort()
		if _, err := c.Write(w.header(local, target)); err != nil {
			_ = c.Close()
			return nil, err
		}
	}
	return c, nil
}

func errSelf(target netip.AddrPort) error {
	return &failure{Refused, fmt.Errorf("connected to itself: nothing listens on %v", target)}
}

// secure begins TLS on a connection to the target. That is closed if it fails.
func (w *way) secure(ctx context.Context, c *conn, target netip.AddrPort) (*tls.Conn, error) {
	conf, err := w.certs.config(target.Addr())
	if err != nil {
		_ = c.Close()
		return nil, err
	}
	secured := tls.Client(c, conf)
	if err := secured.HandshakeContext(ctx); err != nil {
		_ = c.Close()
		if r := reason(err); r == Error || r == Closed { // a server without TLS answers rubbish, or hangs up
			return nil, &failure{BadTLS, fmt.Errorf("no TLS: %w", err)}
		}
		return nil, fmt.Errorf("no TLS: %w", err)
	}
	return secured, nil
}

// link is a connection as it is spoken over, with TLS or without.
type link interface {
	net.Conn
	CloseWrite() error
}

// open connects to the target, with TLS if that is asked for. The caller closes the connection, or leaves it.
func (w *way) open(ctx context.Context, target netip.AddrPort) (link, error) {
	c, err := w.dial(ctx, target)
	if err != nil {
		return nil, err
	}
	if w.certs == nil {
		return c, nil
	}
	return w.secure(ctx, c, target)
}

// openBy is open, or for "udp" a socket that hears the target alone.
func (w *way) openBy(ctx context.Context, protocol string, target netip.AddrPort) (link, error) {
	if protocol != "udp" {
		return w.open(ctx, target)
	}
	c, err := w.dialer.DialContext(ctx, "udp", w.to(target).String())
	if err != nil {
		return nil, err
	}
	return datagrams{bound(ctx, c)}, nil
}

// datagrams is a socket without an end to say: to leave it is to close it.
type datagrams struct{ *conn }

func (d datagrams) CloseWrite() error { return d.SetDeadline(time.Unix(1, 0)) }

// headerV1 is the text form of the PROXY protocol's header, with the addresses of the connection itself.
func headerV1(local, remote netip.AddrPort) []byte {
	family, from, to := "TCP6", local.Addr().Unmap(), remote.Addr().Unmap()
	if from.Is4() && to.Is4() {
		family = "TCP4"
	}
	return fmt.Appendf(nil, "PROXY %s %s %s %d %d\r\n", family, from.WithZone(""), to.WithZone(""), local.Port(), remote.Port())
}

// headerV2 is the binary form for a connection that stands for nobody else (LOCAL), as the protocol wants it of checks.
func headerV2(netip.AddrPort, netip.AddrPort) []byte {
	return []byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
}
