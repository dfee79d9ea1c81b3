package main

import (
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestDemoClient(t *testing.T) {
	defer goleak.VerifyNone(t, goleak.IgnoreCurrent())
	echo := func(c net.Conn) { io.Copy(c, c) }
	abort := func(c net.Conn) { c.(*net.TCPConn).SetLinger(0) }
	for _, test := range []struct {
		name, want string // in the failure; "" is none
		serve      func(net.Conn)
	}{
		{"honest", "", func(c net.Conn) { fmt.Fprintln(c, "backend-a"); echo(c) }},
		{"stranger", `a stranger answered: "backend-z"`, func(c net.Conn) { fmt.Fprintln(c, "backend-z"); echo(c) }},
		{"silent", "no backend said its name: EOF", func(net.Conn) {}},
		{"reset", "reset by peer", abort},
		{"reset_late", "backend-a: ", func(c net.Conn) { fmt.Fprintln(c, "backend-a"); io.ReadFull(c, make([]byte, 1)); abort(c) }},
		{"short", "backend-a: 0 of ", func(c net.Conn) {
			fmt.Fprintln(c, "backend-a")
			c.(*net.TCPConn).CloseWrite()
			io.Copy(io.Discard, c)
		}},
		{"more", "backend-a: 4 bytes came that nobody sent", func(c net.Conn) { fmt.Fprintln(c, "backend-a"); echo(c); fmt.Fprint(c, "more") }},
	} {
		t.Run(test.name, func(t *testing.T) {
			at := freeAddr(t)
			defer serveTest(t, at, test.serve)()
			load := newDemoLoad(netip.MustParseAddrPort(at), netip.AddrPort{}, []string{"backend-a"})
			load.connection((*demoDialog).exchange)
			n := load.count()
			if n.connections != 1 || n.failed != len(load.failed()) || (n.failed == 0) != (test.want == "") || n.long != 0 {
				t.Fatalf("count %+v, %v", n, load.failed())
			}
			if err := load.verdict(); test.want != "" && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q in it", err, test.want)
			}
			if test.want == "" && (n.bytes == 0 || n.met["backend-a"] != 1 || load.verdict() != nil) {
				t.Errorf("count %+v, verdict %v", n, load.verdict())
			}
		})
	}
}
