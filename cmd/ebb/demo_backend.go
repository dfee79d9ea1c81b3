package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync"
	"syscall"
)

// demoBackend is a server that says its name on one line and then sends back what it gets, by TCP and by UDP.
type demoBackend struct {
	name      string
	host      string // the DNS name that may lead here
	addr      netip.AddrPort
	listener  *net.TCPListener
	datagrams *net.UDPConn
}

type demoBackends []*demoBackend

// listenBackends binds three backends. They stand behind one name, on 127.0.0.2 to 127.0.0.4 and the same port. Where
// the loopback has only 127.0.0.1, as on macOS, each has a name and a port of its own, and these names come and go.
func listenBackends() (demoBackends, error) {
	list, err := bindBackends(true)
	if errors.Is(err, syscall.EADDRNOTAVAIL) {
		return bindBackends(false)
	}
	return list, err
}

// bindBackends tries again where the port that one gets is taken for another, or for UDP.
func bindBackends(oneName bool) (list demoBackends, err error) {
	for range 20 {
		if list, err = bindOnce(oneName); !errors.Is(err, syscall.EADDRINUSE) {
			break
		}
	}
	return list, err
}

func bindOnce(oneName bool) (demoBackends, error) {
	var list demoBackends
	var port uint16
	for i := range 3 {
		letter := string(rune('a' + i))
		b := &demoBackend{name: "backend-" + letter, host: letter + ".db.demo"}
		at := netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, 1}), 0)
		if oneName {
			b.host = "db.demo"
			at = netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, byte(2 + i)}), port)
		}
		if err := b.bind(at); err != nil {
			for _, b := range list {
				b.close()
			}
			return nil, err
		}
		port = b.addr.Port()
		list = append(list, b)
	}
	return list, nil
}

// bind takes one port of both protocols.
func (b *demoBackend) bind(at netip.AddrPort) (err error) {
	if b.listener, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at)); err != nil {
		return err
	}
	b.addr = netip.AddrPortFrom(at.Addr(), b.listener.Addr().(*net.TCPAddr).AddrPort().Port())
	if b.datagrams, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(b.addr)); err != nil {
		_ = b.listener.Close()
	}
	return err
}

func (b *demoBackend) close() {
	_ = b.listener.Close()
	_ = b.datagrams.Close()
}

// serve answers clients until the function that it returns is called, which closes everything and waits.
func (list demoBackends) serve() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var serving sync.WaitGroup
	for _, b := range list {
		serving.Go(func() { b.accept(ctx, &serving) })
		serving.Go(func() { b.answer(ctx) })
	}
	return func() {
		cancel()
		serving.Wait()
	}
}

func (b *demoBackend) accept(ctx context.Context, serving *sync.WaitGroup) {
	defer context.AfterFunc(ctx, func() { _ = b.listener.Close() })()
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return // the client tells if that was too early
		}
		serving.Go(func() {
			defer c.Close()
			defer context.AfterFunc(ctx, func() { c.Close() })()
			b.echo(c)
		})
	}
}

// echo is one session. What goes wrong in it, the client sees.
func (b *demoBackend) echo(c net.Conn) {
	if _, err := fmt.Fprintln(c, b.name); err == nil {
		_, _ = io.Copy(c, c)
	}
}

func (list demoBackends) names() []string {
	var names []string
	for _, b := range list {
		names = append(names, b.name)
	}
	return names
}

// targets lists host:port of each, once.
func (list demoBackends) targets() []string {
	var targets []string
	for _, b := range list {
		targets = append(targets, fmt.Sprintf("%s:%d", b.host, b.addr.Port()))
	}
	slices.Sort(targets)
	return slices.Compact(targets)
}

// at names the backend of an address.
func (list demoBackends) at(addr string) string {
	for _, b := range list {
		if b.addr.String() == addr {
			return b.name
		}
	}
	return addr
}
