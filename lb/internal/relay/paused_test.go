//go:build linux && (amd64 || arm64)

package relay

import (
	"bytes"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// TestBP6EveryPauseEnds blocks sessions both ways, and then has some of them read to the end, with every byte, and others cut.
// Afterwards there were as many resumes as pauses.
func TestBP6EveryPauseEnds(t *testing.T) {
	eachStrained(t, func(t *testing.T, c looped) {
		o := *sock.Default
		o.SendBuffer, o.ReceiveBuffer = 64<<10, 64<<10
		ln := listen(t)
		f := newFront(t, c, Options{Dial: &o}, sock.AddrPort(ln.Addr()))
		data := random(8 << 20)
		var writers sync.WaitGroup
		send := func(c *net.TCPConn) {
			writers.Go(func() {
				if _, err := c.Write(data); err == nil {
					c.CloseWrite()
				}
			})
		}
		var conns [][2]*net.TCPConn
		for range 4 {
			client, err := net.DialTCP("tcp4", nil, f.addr)
			if err != nil {
				t.Fatal(err)
			}
			defer client.Close()
			client.SetReadBuffer(64 << 10)
			client.SetWriteBuffer(64 << 10)
			server := accept(t, ln)
			server.SetReadBuffer(64 << 10)
			server.SetWriteBuffer(64 << 10)
			conns = append(conns, [2]*net.TCPConn{client, server})
			send(client)
			send(server)
		}
		f.settle()
		for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			n := c.Counts()
			if n.Paused != n.Resumed {
				break
			}
			if time.Now().After(deadline) {
				t.Fatalf("%+v while nobody reads: nothing is paused", n)
			}
		}
		var readers sync.WaitGroup
		for i, pair := range conns {
			if i%2 == 0 {
				sock.Abort(pair[i/2]) // the client of one, the server of another
				continue
			}
			for _, c := range pair {
				readers.Go(func() {
					if !bytes.Equal(readAll(t, c), data) {
						t.Error("bytes were lost")
					}
				})
			}
		}
		readers.Wait()
		for _, pair := range conns {
			pair[0].Close()
			pair[1].Close()
		}
		writers.Wait()
		for deadline := time.Now().Add(20 * time.Second); c.live() > 0; time.Sleep(time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("%d sessions are left", c.live())
			}
		}
		if n := c.Counts(); n.Paused == 0 || n.Paused != n.Resumed {
			t.Errorf("%+v at rest", n)
		}
	})
}
