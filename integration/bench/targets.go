package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// targets are the servers behind the proxies. Those in Go run in this process: their CPU is not the proxies'.
type targets struct {
	echo, source     string
	mixed            string // an echo, or a source, as the first message says
	redis, postgres  string
	udpEcho, udpSink string
	dns, asked       string        // and the file of what is asked there
	arrived          atomic.Int64  // datagrams at either
	more             chan struct{} // holds one when some have arrived
	closers          []func()
}

func (t *targets) close() {
	for _, c := range t.closers {
		c()
	}
}

// startTargets starts what the loads need whose names begin with only.
func startTargets(ctx context.Context, dir, only string) (*targets, error) {
	t := &targets{more: make(chan struct{}, 1)}
	var err error
	if t.echo, err = t.listen("127.0.0.1:0", echo); err != nil {
		return nil, err
	}
	if t.source, err = t.listen("127.0.0.1:0", func(c net.Conn) {
		b := make([]byte, 256<<10)
		for {
			if _, err := c.Write(b); err != nil {
				return
			}
		}
	}); err != nil {
		return nil, err
	}
	if t.mixed, err = t.listen("127.0.0.1:0", mixed); err != nil {
		return nil, err
	}
	if t.udpEcho, err = t.listenUDP(true); err != nil {
		return nil, err
	}
	if t.udpSink, err = t.listenUDP(false); err != nil {
		return nil, err
	}
	if wanted(only, &targets{redis: "wanted"}) {
		if err := t.startRedis(ctx, dir); err != nil {
			return nil, err
		}
	}
	if wanted(only, &targets{dns: "wanted"}) {
		if err := t.startKnot(ctx, dir); err != nil {
			return nil, err
		}
	}
	if wanted(only, &targets{postgres: "wanted"}) {
		addr, closes, err := startPostgres(ctx)
		if err != nil {
			return nil, err
		}
		t.postgres, t.closers = addr, append(t.closers, closes)
	}
	return t, nil
}

// wanted tells whether a load whose name begins with only goes to the target whose address is set.
func wanted(only string, set *targets) bool {
	return slices.ContainsFunc(loads, func(l load) bool { return strings.HasPrefix(l.name, only) && l.target(set) != "" })
}

func (t *targets) startRedis(ctx context.Context, dir string) error {
	port := freePort()
	p, err := start(ctx, nil, "redis-server", "--port", port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir", dir)
	if err != nil {
		return err
	}
	t.closers = append(t.closers, p.stop)
	t.redis = "127.0.0.1:" + port
	return awaitTCP(t.redis)
}

// echo sends back what comes.
func echo(c net.Conn) {
	b := make([]byte, 4096)
	for {
		n, err := c.Read(b)
		if n > 0 {
			if _, werr := c.Write(b[:n]); werr != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (t *targets) listen(addr string, serve func(net.Conn)) (string, error) {
	var plain net.ListenConfig
	plain.SetMultipathTCP(false) // which Go turns on by itself: hardly a server speaks it, and each connection costs more
	ln, err := plain.Listen(context.Background(), "tcp4", addr)
	if err != nil {
		return "", err
	}
	t.closers = append(t.closers, func() { ln.Close() })
	go func() {
		for {
			c, err := ln.Accept()
			if err != nil {
				return
			}
			go func() { defer c.Close(); serve(c) }()
		}
	}()
	return ln.Addr().String(), nil
}

// freePort is the number of a port that nobody has now, neither for TCP nor for UDP.
func freePort() string {
	for {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			panic(err) // no loopback
		}
		c, err := net.ListenPacket("udp", ln.Addr().String())
		_ = ln.Close()
		if err != nil {
			continue
		}
		_ = c.Close()
		_, port, _ := net.SplitHostPort(ln.Addr().String())
		return port
	}
}

// await returns when addr leads to a target.
func (t *targets) await(network, addr string) error {
	switch network {
	case "tcp":
		return awaitTCP(addr)
	case questions:
		return awaitDNS(addr)
	}
	return t.awaitUDP(addr)
}

// awaitTCP returns when something listens, which it asks for up to 10 s.
func awaitTCP(addr string) error {
	var err error
	for range 1000 {
		var c net.Conn
		if c, err = net.Dial("tcp", addr); err == nil {
			_, _ = io.WriteString(c, "")
			c.Close()
			return nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return fmt.Errorf("nothing listens on %s: %w", addr, err)
}
