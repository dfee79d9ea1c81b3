//go:build linux

package integration

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
)

const quicProtocol = "ebb-test"

// quicServer says on each stream who it is and then sends back what it gets. Its connection ids have its number behind the
// first byte.
type quicServer struct {
	addr    netip.AddrPort
	number  byte
	accepts atomic.Int64
}

// GenerateConnectionID implements quic.ConnectionIDGenerator.
func (s *quicServer) GenerateConnectionID() (quic.ConnectionID, error) {
	id := make([]byte, s.ConnectionIDLen())
	_, err := rand.Read(id)
	id[1], id[2] = 0, s.number
	return quic.ConnectionIDFromBytes(id), err
}

func (s *quicServer) ConnectionIDLen() int { return 10 }

func startQUIC(t *testing.T, addr netip.AddrPort, number byte) *quicServer {
	t.Helper()
	s := &quicServer{addr: addr, number: number}
	transport := &quic.Transport{Conn: listenUDP(t, addr).UDPConn, ConnectionIDGenerator: s}
	ln, err := transport.Listen(selfSigned(t), &quic.Config{MaxIdleTimeout: patience, HandshakeIdleTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			c, err := ln.Accept(context.Background())
			if err != nil {
				return
			}
			s.accepts.Add(1)
			serving.Go(func() { s.serve(c) })
		}
	})
	t.Cleanup(func() {
		_ = ln.Close()
		_ = transport.Close()
		serving.Wait()
	})
	return s
}

func (s *quicServer) serve(c *quic.Conn) {
	for {
		stream, err := c.AcceptStream(context.Background())
		if err != nil {
			return
		}
		if _, err := stream.Write([]byte{s.number}); err == nil {
			_, _ = io.Copy(stream, stream)
		}
		stream.Close()
	}
}

func selfSigned(t *testing.T) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(24 * time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, NextProtos: []string{quicProtocol}}
}

// quicClient is one connection.
type quicClient struct{ *quic.Conn }

// quicTransport is a socket on an address, for connections or for paths of them.
func quicTransport(t *testing.T, addr netip.AddrPort) *quic.Transport {
	t.Helper()
	transport := &quic.Transport{Conn: listenUDP(t, addr).UDPConn}
	t.Cleanup(func() { _ = transport.Close() })
	return transport
}

func dialQUIC(t *testing.T, from *quic.Transport, to netip.AddrPort) quicClient {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	c, err := from.Dial(ctx, net.UDPAddrFromAddrPort(to), &tls.Config{InsecureSkipVerify: true, NextProtos: []string{quicProtocol}},
		&quic.Config{MaxIdleTimeout: patience, HandshakeIdleTimeout: patience})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.CloseWithError(0, "") })
	return quicClient{c}
}

// exchange sends bytes and gets them back on a stream of its own, and says which server that was.
func (c quicClient) exchange(n int) (server byte, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	stream, err := c.OpenStreamSync(ctx)
	if err != nil {
		return 0, err
	}
	_ = stream.SetDeadline(time.Now().Add(patience))
	want := noise(uint64(n), n)
	sent := make(chan error, 1)
	go func() {
		_, err := stream.Write(want)
		sent <- errors.Join(err, stream.Close())
	}()
	got, err := io.ReadAll(stream)
	if err = errors.Join(err, <-sent); err != nil {
		return 0, err
	}
	if len(got) != n+1 || string(got[1:]) != string(want) {
		return 0, fmt.Errorf("%d bytes came back of %d", len(got)-1, n)
	}
	return got[0], nil
}

// quicRig is two servers behind ebb, and clients of both.
func quicRig(t *testing.T, listener string) (e *ebb, servers [2]*quicServer) {
	t.Helper()
	port := freePort(t)
	for i := range servers {
		servers[i] = startQUIC(t, at(byte(2+i), port), byte(1+i))
	}
	e = start(t, setup{network: "udp", hosts: []string{host(2), host(3)}, port: port, listener: "idle_timeout = \"1s\"\n" + listener})
	return e, servers
}

// Clients that move on purpose, to another address and another connection id, stay with their servers.
func TestServersQUICMigration(t *testing.T) {
	e, servers := quicRig(t, "quic_id_length = 10\nquic_server_length = 2")
	const clients = 4
	old := quicTransport(t, at(1, 0))
	paths := make([]*quic.Path, clients)
	for i := range clients {
		c := dialQUIC(t, quicTransport(t, at(1, 0)), e.addr)
		before, err := c.exchange(100_000)
		if err != nil {
			t.Fatal(err)
		}
		if paths[i], err = c.AddPath(quicTransport(t, at(byte(20+i), 0))); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := paths[i].Probe(ctx); err != nil {
			t.Fatalf("client %d of server %d: no way by the new path: %v", i, before, err)
		}
		cancel()
		if err := paths[i].Switch(); err != nil {
			t.Fatal(err)
		}
		if after, err := c.exchange(100_000); err != nil || after != before {
			t.Errorf("client %d: server %d, then %d: %v", i, before, after, err)
		}
		if from := c.LocalAddr().(*net.UDPAddr).AddrPort().Addr(); from != at(byte(20+i), 0).Addr() {
			t.Errorf("client %d is at %v", i, from)
		}
		_ = c.CloseWithError(0, "")
	}
	// Two connections of one socket, with servers of their own.
	one, two := dialQUIC(t, old, e.addr), dialQUIC(t, old, e.addr)
	for _, c := range []quicClient{one, two} {
		if _, err := c.exchange(1000); err != nil {
			t.Error(err)
		}
		_ = c.CloseWithError(0, "")
	}
	for _, s := range servers {
		if s.accepts.Load() == 0 {
			t.Errorf("server %d has seen nobody", s.number)
		}
	}
	e.allEnded(t)
	moved := make(map[netip.Addr]bool)
	for _, s := range e.logs.ended() {
		if client := netip.MustParseAddrPort(s.Client).Addr(); client.As4()[3] >= 20 {
			moved[client] = true
		}
	}
	if len(moved) != clients {
		t.Errorf("flows from new addresses %v", moved)
	}
	oracle(t, e)
}

// A NAT gives a client another port, of which the client knows nothing: its datagrams go to its server.
func TestServersQUICBehindNAT(t *testing.T) {
	e, _ := quicRig(t, "quic_id_length = 10\nquic_server_length = 2")
	n := startNAT(t, e.addr)
	for i := range 4 {
		c := dialQUIC(t, quicTransport(t, at(1, 0)), n.inside.LocalAddr().(*net.UDPAddr).AddrPort())
		before, err := c.exchange(10_000)
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			n.rebind(t)
			if after, err := c.exchange(10_000); err != nil || after != before {
				t.Errorf("client %d: server %d, then %d: %v", i, before, after, err)
			}
		}
		_ = c.CloseWithError(0, "")
	}
	oracle(t, e)
}

// nat passes the datagrams of one client at a time on, from a port that may change.
type nat struct {
	inside  *net.UDPConn
	to      netip.AddrPort
	client  atomic.Pointer[netip.AddrPort]
	outside atomic.Pointer[net.UDPConn]
	running sync.WaitGroup
}

func startNAT(t *testing.T, to netip.AddrPort) *nat {
	t.Helper()
	n := &nat{inside: listenUDP(t, at(1, 0)).UDPConn, to: to}
	n.rebind(t)
	n.running.Go(func() {
		b := make([]byte, 64<<10)
		for {
			size, from, err := n.inside.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			n.client.Store(&from)
			_, _ = n.outside.Load().WriteToUDPAddrPort(b[:size], n.to)
		}
	})
	t.Cleanup(func() {
		n.inside.Close()
		n.outside.Load().Close()
		n.running.Wait()
	})
	return n
}

// rebind takes another port towards ebb, and forgets the one before.
func (n *nat) rebind(t *testing.T) {
	t.Helper()
	c := listenUDP(t, at(1, 0)).UDPConn
	if old := n.outside.Swap(c); old != nil {
		old.Close()
	}
	n.running.Go(func() {
		b := make([]byte, 64<<10)
		for {
			size, _, err := c.ReadFromUDPAddrPort(b)
			if err != nil {
				return
			}
			if client := n.client.Load(); client != nil {
				_, _ = n.inside.WriteToUDPAddrPort(b[:size], *client)
			}
		}
	})
}
