package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// TestTO3IdleEndsABlockedSession has both directions full, and nobody who reads.
func TestTO3IdleEndsABlockedSession(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{IdleTimeout: 300 * time.Millisecond})
		var writers sync.WaitGroup
		for _, c := range []*net.TCPConn{r.client, r.backend} {
			writers.Go(func() { // until the session ends
				for err := error(nil); err == nil; {
					_, err = c.Write(make([]byte, 1<<20))
				}
			})
		}
		r.ends(end.Idle)
		writers.Wait()
	})
}

// What the kernel does not take for the client is passed on before the session is quiet, though all of it has come from the peer.
func TestQuietWaitsForWhatIsQueued(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		o := *sock.Default
		o.SendBuffer = 4096 // towards the client
		front, err := sock.ListenTCP(t.Context(), netip.MustParseAddrPort("127.0.0.1:0"), &o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { front.Close() })
		back := listen(t)
		d := &director{addrs: []netip.AddrPort{sock.AddrPort(back.Addr())}, done: make(chan end.Word, 1)}
		narrow := net.Dialer{Control: func(_, _ string, raw syscall.RawConn) (err error) {
			cerr := raw.Control(func(fd uintptr) {
				err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4096)
			})
			return errors.Join(cerr, err)
		}}
		conn, err := narrow.Dial("tcp", front.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		r := &rig{t: t, session: new(Session), director: d, client: conn.(*net.TCPConn)}
		c.serve(t, front, func() (*Session, Director) { return r.session, d })
		r.backend = accept(t, back)
		r.say(r.client, r.backend, "q")
		answer := random(64 << 10) // less than one queue holds
		if _, err := r.backend.Write(answer); err != nil {
			t.Fatal(err)
		}
		r.session.EndWhenQuiet(NewQuiet(briefly))
		time.Sleep(20 * briefly) // that it would have ended by now makes the test sharp, and nothing depends on it
		r.lives()
		r.client.SetReadBuffer(1 << 20)
		r.client.SetReadDeadline(time.Now().Add(20 * time.Second))
		if b, err := io.ReadAll(r.client); err != nil || !bytes.Equal(b, answer) {
			t.Errorf("%d of %d bytes, then %v", len(b), len(answer), err)
		}
		r.ends(end.Drained)
	})
}
