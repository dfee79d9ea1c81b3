package main

import (
	"bytes"
	"net"
	"net/netip"
	"strings"
	"testing"
)

func TestDemoAsks(t *testing.T) {
	echo := func(b []byte) [][]byte { return [][]byte{append([]byte("backend-a\n"), b...)} }
	for _, test := range []struct {
		name, want string // in the failure; "" is none
		answer     func([]byte) [][]byte
	}{
		{"honest", "", echo},
		{"late", "", func(b []byte) [][]byte {
			return append([][]byte{append([]byte("backend-a\n"), make([]byte, 8)...)}, echo(b)...)
		}},
		{"stranger", `a stranger answered: "backend-z"`, func(b []byte) [][]byte { return [][]byte{append([]byte("backend-z\n"), b...)} }},
		{"nameless", "a stranger answered: ", func(b []byte) [][]byte { return [][]byte{b} }},
		{"short", "backend-a: another datagram came back", func([]byte) [][]byte { return [][]byte{[]byte("backend-a\nx")} }},
		{"liar", "backend-a: another datagram came back", func(b []byte) [][]byte { return echo(append(bytes.Clone(b), 'x')) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			server, err := net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)})
			if err != nil {
				t.Fatal(err)
			}
			defer server.Close()
			go func() {
				b := make([]byte, 64<<10)
				for {
					n, from, err := server.ReadFromUDPAddrPort(b)
					if err != nil {
						return
					}
					for _, reply := range test.answer(b[:n]) {
						_, _ = server.WriteToUDPAddrPort(reply, from)
					}
				}
			}()
			c, err := net.Dial("udp", server.LocalAddr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			l := newDemoLoad(netip.AddrPort{}, netip.AddrPort{}, []string{"backend-a"})
			err = l.ask(c, 7)
			if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
				t.Errorf("%v, want %q in it", err, test.want)
			}
		})
	}
}

// A lost datagram is a failure of the demo.
func TestDemoLost(t *testing.T) {
	l := newDemoLoad(netip.AddrPort{}, netip.AddrPort{}, nil)
	l.sum.datagrams = 3
	l.lose(net.ErrClosed)
	if err := l.verdict(); err == nil || !strings.HasPrefix(err.Error(), "1 of 3 datagrams are lost, the first with: ") {
		t.Error(err)
	}
	if l.count().failed != 0 || len(l.failed()) != 1 {
		t.Errorf("%+v", l.count())
	}
}
