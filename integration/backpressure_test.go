//go:build linux

package integration

import (
	"errors"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"
)

// The row says 60 s; what it is about, a relay that spins on a socket nobody reads, shows in the first second.
func TestBP4(t *testing.T) {
	const readers, seconds, page = 500, 5, 2 << 20
	b := serve(t, at(2, freePort(t)), func(c peerConn) {
		_ = c.SetWriteBuffer(16 << 10)
		_, _ = c.Write(make([]byte, page))
	})
	e := start(t, setup{plain: true, hosts: []string{host(2)}, port: b.addr.Port()})
	var live []client
	for range readers {
		c := dialNarrow(t, e.addr)
		c.recv(t, 1)
		live = append(live, c)
	}
	e.standstill(t, b)
	moved := e.metrics(t).sum("ebb_bytes_total", label("direction", "out"))
	t.Logf("%.0f KiB for each reader before all stood still", moved/readers/1024)
	if moved >= readers*page {
		t.Fatal("all was read: nothing pushed back")
	}
	used := e.load(t, func() {
		tick := time.NewTicker(time.Second)
		defer tick.Stop()
		for range seconds {
			for _, c := range live {
				if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
					t.Fatal(err)
				}
				c.recv(t, 1)
			}
			<-tick.C
		}
	})
	t.Logf("%.2f %% of a core", 100*used)
	if used > 0.05 {
		t.Errorf("%d readers at 1 byte/s cost %.1f %% of a core", readers, 100*used)
	}
	var wg sync.WaitGroup
	for _, c := range live {
		wg.Go(c.abort)
	}
	wg.Wait()
	oracle(t, e, b)
}

// dialNarrow connects with a small receive buffer and the segments of Ethernet. With those of the loopback interface, 64
// KiB, the other end's send buffer alone is 2 MiB, and what stands still must fit into the memory that the kernel has for
// all of TCP, or the whole machine suffers.
func dialNarrow(t *testing.T, to netip.AddrPort) client {
	t.Helper()
	d := net.Dialer{Timeout: patience, KeepAlive: -1, Control: narrow}
	c, err := d.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return client{c.(*net.TCPConn)}
}

// narrow prepares a socket as dialNarrow wants it.
func narrow(_, _ string, raw syscall.RawConn) (err error) {
	cerr := raw.Control(func(fd uintptr) {
		err = errors.Join(
			syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096),
			syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, syscall.TCP_MAXSEG, 1448))
	})
	return errors.Join(cerr, err)
}
