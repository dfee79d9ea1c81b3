package dnswatch

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// maxMismatches is how many datagrams that are not the reply are borne before the question goes to TCP, where nobody can
// guess an id.
const maxMismatches = 10

// server is one DNS server and its transport.
type server struct {
	addr netip.AddrPort
	tcp  bool // TCP from the start
}

func (s server) String() string {
	if s.tcp {
		return "tcp://" + s.addr.String()
	}
	return "udp://" + s.addr.String()
}

// parseServer reads "udp://ADDRESS[:PORT]".
func parseServer(s string) (server, error) {
	rest, ok := strings.CutPrefix(s, "udp://")
	if !ok {
		return server{}, fmt.Errorf("server %q, expected system or udp://ADDRESS[:PORT]", s)
	}
	if at, err := netip.ParseAddrPort(rest); err == nil && at.Port() != 0 {
		return server{addr: at}, nil
	}
	if a, err := netip.ParseAddr(strings.Trim(rest, "[]")); err == nil {
		return server{addr: netip.AddrPortFrom(a, 53)}, nil
	}
	return server{}, fmt.Errorf("server %q, expected an IP address with or without a port after udp://", s)
}

var buffers = sync.Pool{New: func() any { b := make([]byte, 65535); return &b }}

// wire puts questions to servers over the network.
type wire struct {
	ednsSize int
	discard  func(reason string)
}

// exchange asks one server once. The reply is verified and whole: if the UDP one is truncated, the TCP one is returned.
func (w wire) exchange(ctx context.Context, s server, q question) (*dns.Msg, error) {
	m, err := w.once(ctx, s, q, w.ednsSize)
	if err == nil && m.Rcode == dns.RcodeFormatError && w.ednsSize > 0 {
		m, err = w.once(ctx, s, q, 0) // it may be the EDNS that it does not understand (RFC 6891 section 6.2.2)
	}
	return m, err
}

func (w wire) once(ctx context.Context, s server, q question, ednsSize int) (*dns.Msg, error) {
	if !s.tcp {
		m, err := w.udp(ctx, s, q, ednsSize)
		if err != nil && !errors.Is(err, errMismatches) || err == nil && !m.Truncated {
			return m, err
		}
	}
	return w.tcp(ctx, s, q, ednsSize)
}

var errMismatches = errors.New("too many replies to other questions")

// udp asks with a socket, a port and an id of this question's own. What is not the reply is counted, and waiting goes on.
func (w wire) udp(ctx context.Context, s server, q question, ednsSize int) (*dns.Msg, error) {
	id, packet, err := q.query(ednsSize)
	if err != nil {
		return nil, err
	}
	conn, done, err := dial(ctx, "udp", s.addr)
	if err != nil {
		return nil, err
	}
	defer done()
	if _, err := conn.Write(packet); err != nil {
		return nil, err
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for range maxMismatches {
		n, err := conn.Read(*buffer)
		if err != nil {
			return nil, err
		}
		m, discard, err := q.verify((*buffer)[:n], id)
		if discard == "" {
			return m, err
		}
		w.discard(discard)
	}
	return nil, errMismatches
}

func (w wire) tcp(ctx context.Context, s server, q question, ednsSize int) (*dns.Msg, error) {
	id, packet, err := q.query(ednsSize)
	if err != nil {
		return nil, err
	}
	conn, done, err := dial(ctx, "tcp", s.addr)
	if err != nil {
		return nil, err
	}
	defer done()
	if _, err := conn.Write(append(binary.BigEndian.AppendUint16(nil, uint16(len(packet))), packet...)); err != nil {
		return nil, err
	}
	var size [2]byte
	if _, err := io.ReadFull(conn, size[:]); err != nil {
		return nil, err
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	reply := (*buffer)[:binary.BigEndian.Uint16(size[:])]
	if _, err := io.ReadFull(conn, reply); err != nil {
		return nil, err
	}
	m, discard, err := q.verify(reply, id)
	switch {
	case discard != "":
		w.discard(discard)
		return nil, fmt.Errorf("%w: %s over TCP", errMalformed, discard)
	case err == nil && m.Truncated:
		return nil, fmt.Errorf("%w: truncated over TCP", errMalformed)
	}
	return m, err
}

// dial connects a socket that dies with ctx.
func dial(ctx context.Context, network string, to netip.AddrPort) (conn net.Conn, done func(), err error) {
	conn, err = new(net.Dialer).DialContext(ctx, network, to.String())
	if err != nil {
		return nil, nil, err
	}
	stop := context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })
	return conn, func() { stop(); conn.Close() }, nil
}
