package dnswatch

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// maxMismatches is how many datagrams that are not the reply are borne before the question is doubtful.
const maxMismatches = 10

var buffers = sync.Pool{New: func() any { b := make([]byte, 65535); return &b }}

// datagrams asks each question with a socket, a port and an id of its own (RFC 5452). What is not the reply is counted,
// and waiting goes on.
type datagrams struct {
	addr    netip.AddrPort
	discard func(reason string)
}

func (d datagrams) close() {}

func (d datagrams) exchange(ctx context.Context, q query) (*dns.Msg, error) {
	id := randomID()
	packet, err := q.pack(id)
	if err != nil {
		return nil, err
	}
	conn, err := new(net.Dialer).DialUDP(ctx, "udp", netip.AddrPort{}, d.addr)
	if err != nil {
		return nil, err
	}
	defer func() { _ = conn.Close() }()
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
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
			if err != nil { // with the right id, but perhaps not from the server
				return nil, fmt.Errorf("%w: %w", errDoubtful, err)
			}
			return m, nil
		}
		d.discard(discard)
	}
	return nil, fmt.Errorf("%w: %d datagrams that were not the reply", errDoubtful, maxMismatches)
}
