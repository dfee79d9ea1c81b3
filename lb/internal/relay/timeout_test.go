package relay

import (
	"errors"
	"io"
	"net/netip"
	"os"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

func TestLimitsThatHold(t *testing.T) {
	all := Options{ConnectDeadline: 5, FirstByteTimeout: 3, MaxAge: 100, IdleTimeout: 20, HalfCloseTimeout: 10}
	const forever = time.Duration(1<<63 - 1)
	for _, c := range []struct {
		name                   string
		o                      Options
		age, still             time.Duration
		reached, firstByte     int64
		clientDone, serverDone bool
		left                   time.Duration
		word                   end.Word
	}{
		{name: "nothing is limited", age: 9, still: 9, reached: 1, left: forever},
		{name: "not even a connect", age: 9, still: 9, left: forever},
		{name: "connecting", o: all, age: 2, still: 2, left: 3, word: end.ConnectTimeout},
		{name: "connecting for too long", o: all, age: 7, still: 1, left: -2, word: end.ConnectTimeout},
		{name: "connecting as old as it may be", o: Options{ConnectDeadline: 9, MaxAge: 5}, age: 5, word: end.MaxAge},
		{name: "no first byte", o: all, age: 6, still: 1, reached: 5, left: 2, word: end.FirstByteTimeout},
		{name: "a first byte", o: all, age: 30, still: 4, reached: 5, firstByte: 6, left: 16, word: end.Idle},
		{name: "the peer has finished without a byte", o: all, age: 6, still: 1, reached: 5, serverDone: true, left: 9, word: end.HalfCloseTimeout},
		{name: "the client has finished", o: all, age: 30, still: 4, reached: 5, firstByte: 6, clientDone: true, left: 6, word: end.HalfCloseTimeout},
		{name: "idle before half-closed", o: Options{IdleTimeout: 5, HalfCloseTimeout: 10}, reached: 1, firstByte: 1, clientDone: true, left: 5, word: end.Idle},
		{name: "old and busy", o: all, age: 101, still: 0, reached: 5, firstByte: 6, left: -1, word: end.MaxAge},
	} {
		s := Session{Options: c.o}
		s.reached.Store(c.reached)
		s.firstByte.Store(c.firstByte)
		if left, w := s.left(c.age, c.still, c.clientDone, c.serverDone); left != c.left || w != c.word {
			t.Errorf("%s: %d left, then %v; want %d, %v", c.name, left, w, c.left, c.word)
		}
	}
}

// TestTO5MaxAgeEndsABusySession keeps both directions moving until the session is cut.
func TestTO5MaxAgeEndsABusySession(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		front, back := listen(t), listen(t)
		go func() {
			if c, err := back.AcceptTCP(); err == nil {
				_, _ = io.Copy(struct{ io.Writer }{c}, c)
				c.Close()
			}
		}()
		client := dialTo(t, front)
		d := &director{addrs: []netip.AddrPort{sock.AddrPort(back.Addr())}, done: make(chan end.Word, 1)}
		s := &Session{Options: Options{MaxAge: 100 * time.Millisecond, IdleTimeout: time.Hour}}
		c.serve(t, front, func() (*Session, Director) { return s, d })
		for b, err := make([]byte, 1), error(nil); err == nil; {
			client.SetDeadline(time.Now().Add(10 * time.Second))
			if _, err = client.Write(b); err == nil {
				_, err = client.Read(b)
			}
			if errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatal("it lives on")
			}
		}
		if w := <-d.done; w != end.MaxAge {
			t.Fatalf("end = %v", w)
		}
	})
}

func TestFirstByteTimeout(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{FirstByteTimeout: 50 * time.Millisecond, IdleTimeout: time.Hour})
		r.client.Write([]byte("anybody there?"))
		r.end(end.FirstByteTimeout)
		if r.session.FirstByte() != 0 {
			t.Errorf("first byte after %v", r.session.FirstByte())
		}
	})
}

// parker makes its session wait for a peer, for ever.
type parker struct{ *director }

func (*parker) Next() (netip.AddrPort, end.Word) { return netip.AddrPort{}, end.None }

func TestConnectDeadlineAndMaxAgeEndTheWaiting(t *testing.T) {
	for word, o := range map[end.Word]Options{
		end.ConnectTimeout: {ConnectDeadline: 50 * time.Millisecond, MaxAge: time.Hour},
		end.MaxAge:         {ConnectDeadline: time.Hour, MaxAge: 50 * time.Millisecond},
	} {
		eachEngine(t, func(t *testing.T, c carrier) {
			front := listen(t)
			dialTo(t, front)
			d := &director{done: make(chan end.Word, 1)}
			s := &Session{Options: o}
			c.serve(t, front, func() (*Session, Director) { return s, &parker{d} })
			if w := <-d.done; w != word {
				t.Fatalf("end = %v, want %v", w, word)
			}
		})
	}
}
