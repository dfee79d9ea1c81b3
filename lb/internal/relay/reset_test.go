package relay

import (
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// A reset whose error a write has taken looks like an end to read(2). The reader must know the difference.
func TestReaderTellsAResetFromAnEnd(t *testing.T) {
	for _, c := range []struct {
		name  string
		close func(sock.Conn)
		gone  bool
	}{
		{"end", func(c sock.Conn) { c.CloseWrite() }, false},
		{"reset", sock.Abort, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ln := listen(t)
			near := dialTo(t, ln)
			far := accept(t, ln)
			r, err := newReader(near)
			if err != nil {
				t.Fatal(err)
			}
			c.close(far)
			if c.gone { // writes until one has taken the error
				for deadline := time.Now().Add(5 * time.Second); ; {
					if _, err := near.Write([]byte{1}); errors.Is(err, syscall.ECONNRESET) {
						break
					}
					if time.Now().After(deadline) {
						t.Fatal("no write was refused")
					}
				}
			}
			if _, _, err := r.read(); err != io.EOF {
				t.Fatalf("read: %v, expected what looks like an end", err)
			}
			if r.gone != c.gone {
				t.Errorf("gone = %v", r.gone)
			}
		})
	}
}

// R3 under load: a peer, or a client, that aborts while both directions are busy is never taken for one that ends.
func TestBusySessionsPassAbortsOnAsAborts(t *testing.T) {
	eachEngine(t, func(t *testing.T, on carrier) {
		const sessions = 150
		for _, c := range []struct {
			name           string
			aborter, other func(*rig) *net.TCPConn
			want           end.Word
		}{
			{"peer", func(r *rig) *net.TCPConn { return r.backend }, func(r *rig) *net.TCPConn { return r.client }, end.ServerReset},
			{"client", func(r *rig) *net.TCPConn { return r.client }, func(r *rig) *net.TCPConn { return r.backend }, end.ClientReset},
		} {
			t.Run(c.name, func(t *testing.T) {
				var wg sync.WaitGroup
				for range sessions {
					r := newRig(t, on, Options{})
					aborter, other := c.aborter(r), c.other(r)
					wg.Go(func() { // an echo that aborts on the tenth message
						b := make([]byte, 64)
						for range 10 {
							n, err := aborter.Read(b)
							if err != nil {
								t.Errorf("read: %v", err)
								break
							}
							aborter.Write(b[:n])
						}
						sock.Abort(aborter)
					})
					wg.Go(func() { // asks again as soon as it has an answer, so that the abort meets a write
						b := make([]byte, 64)
						for {
							if _, err := other.Write([]byte("message")); err != nil {
								return
							}
							if _, err := other.Read(b); err == io.EOF {
								t.Error("an abort arrived as an end")
								return
							} else if err != nil {
								return
							}
						}
					})
					wg.Go(func() {
						if w := <-r.director.done; w != c.want {
							t.Errorf("end = %v, want %v", w, c.want)
						}
					})
				}
				wg.Wait()
			})
		}
	})
}
