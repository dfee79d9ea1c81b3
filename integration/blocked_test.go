//go:build linux

package integration

import (
	"io"
	"slices"
	"sync"
	"testing"
	"time"
)

// obedient does what the first byte of a client says: 'r', it writes a page; 'w', it reads no more; 'e', it is an echo.
func obedient(t *testing.T, addr uint16, page int) *backend {
	t.Helper()
	b := serve(t, at(2, addr), func(c peerConn) {
		_ = c.SetWriteBuffer(16 << 10)
		var order [1]byte
		if _, err := io.ReadFull(c, order[:]); err != nil {
			return
		}
		switch order[0] {
		case 'r':
			_, _ = c.Write(make([]byte, page))
		case 'w':
			<-c.b.quit
		default:
			c.echo()
		}
	})
	raw, err := b.ln.SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	if err := narrow("", "", raw); err != nil { // what it accepts has it, too
		t.Fatal(err)
	}
	return b
}

// standstill waits until no byte is moved any more: neither by ebb nor by the backend.
func (e *ebb) standstill(t *testing.T, b *backend) {
	t.Helper()
	last, still := -1.0, 0
	eventually(t, "full buffers", func() bool {
		time.Sleep(100 * time.Millisecond) // three times: long enough for a relay that can move to have moved, be it held up once
		before := last
		if last = float64(b.sent.Load()) + e.metrics(t).sum("ebb_bytes_total"); last != before {
			still = 0
			return false
		}
		still++
		return still == 3
	})
}

// TestBP2 blocks 1000 sessions, half of them each way, in 256 MiB. A hundred others go on beside them; that they do not wait for
// longer than they did is measured and said. BP-6: each pause has ended when the sessions have.
func TestBP2(t *testing.T) {
	const blocked, active, rounds, page, limit = 1000, 100, 20, 2 << 20, 256 << 20
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			port := freePort(t)
			b := obedient(t, port, page)
			room := bounded(t, limit)
			e := start(t, setup{plain: true, place: place{under: room.under}, hosts: []string{host(2)}, port: port, top: onEngine(engine)})
			talks := func() (p99 time.Duration) {
				var took []time.Duration
				var live []client
				for range active {
					c := dial(t, e.addr)
					c.send(t, []byte("e"))
					live = append(live, c)
				}
				for range rounds {
					for _, c := range live {
						begin := time.Now()
						c.echoes(t, []byte("still here"))
						took = append(took, time.Since(begin))
					}
				}
				for _, c := range live {
					c.Close()
				}
				slices.Sort(took)
				return took[len(took)*99/100]
			}
			before := talks()
			var all []client
			var writers sync.WaitGroup
			for i := range blocked {
				c := dialNarrow(t, e.addr)
				all = append(all, c)
				if i%2 == 0 {
					c.send(t, []byte("r"))
					continue
				}
				c.send(t, []byte("w"))
				_ = c.SetWriteBuffer(16 << 10)
				writers.Go(func() { _, _ = c.Write(make([]byte, page)) })
			}
			e.standstill(t, b)
			if moved := e.metrics(t).sum("ebb_bytes_total"); moved >= blocked*page {
				t.Fatal("all was moved: nothing pushed back")
			}
			if engine != "portable" {
				agree(t, 20*time.Millisecond, func() (bad complaints) {
					m := e.metrics(t)
					if paused, resumed := m.sum("ebb_relay_paused_total"), m.sum("ebb_relay_resumed_total"); paused < resumed+blocked/2 {
						bad.add("%v pauses, %v of them over, while %d sessions are blocked", paused, resumed, blocked)
					}
					return bad
				})
			}
			after := talks()
			most, killed := room.taken(t, e)
			t.Logf("p99 of an exchange %v before and %v beside %d blocked sessions; %d MiB were taken at most", before, after, blocked, most>>20)
			if killed != 0 || most > limit {
				t.Errorf("%d MiB were taken, and %d processes killed for want of memory", most>>20, killed)
			}
			for _, c := range all {
				c.abort()
			}
			writers.Wait()
			if engine == "portable" { // it has a buffer for each direction that is blocked, which the collector gives back much later
				e.base.rss += 64 << 10 * 2 * blocked
			}
			b.close()
			oracle(t, e)
			agree(t, 20*time.Millisecond, func() (bad complaints) {
				if m := e.metrics(t); m.sum("ebb_relay_paused_total") != m.sum("ebb_relay_resumed_total") {
					bad.add("at rest: %v, %v", m.pick("ebb_relay_paused_total"), m.pick("ebb_relay_resumed_total"))
				}
				return bad
			})
		})
	}
}

// TestTO3 has sessions that are full in both directions end when nothing has moved for as long as an idle one may.
func TestTO3(t *testing.T) {
	for _, engine := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			b := serve(t, at(2, freePort(t)), func(c peerConn) {
				_ = c.SetReadBuffer(16 << 10)
				for err := error(nil); err == nil; {
					_, err = c.Write(make([]byte, 1<<20))
				}
			})
			e := start(t, setup{hosts: []string{host(2)}, port: b.addr.Port(), top: onEngine(engine), listener: `idle_timeout = "1s"`})
			c := dialNarrow(t, e.addr)
			begin := time.Now()
			for err := error(nil); err == nil; { // until ebb ends it
				_, err = c.Write(make([]byte, 1<<20))
			}
			atLeast(t, "the client's end", time.Since(begin), time.Second)
			if s := e.oneSession(t); s.End != "idle" || s.In == 0 || s.Out == 0 {
				t.Errorf("%+v", s)
			}
			c.abort()
			b.close()
			oracle(t, e)
		})
	}
}
