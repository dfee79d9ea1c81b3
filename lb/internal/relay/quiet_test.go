package relay

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
)

// A conversation is written as what is said, with > before what the client says and < before what the peer says.
func TestAtRest(t *testing.T) {
	const ready = "Z\x00\x00\x00\x05"
	for _, c := range []struct {
		name string
		said []string
		rest bool
	}{
		{"nobody has spoken", nil, true},
		{"a greeting", []string{"<hello"}, true},
		{"a question", []string{"<hello", ">who?"}, false},
		{"an answer", []string{">who?", "<me"}, true},
		{"PostgreSQL is idle", []string{">Q", "<C", "<" + ready + "I"}, true},
		{"PostgreSQL is in a transaction", []string{">Q", "<C" + ready + "T"}, false},
		{"PostgreSQL is in a failed transaction", []string{">Q", "<E" + ready + "E"}, false},
		{"PostgreSQL has ended a transaction", []string{">Q", "<" + ready + "T", ">Q", "<C" + ready + "I"}, true},
		{"PostgreSQL has sent a part of a result", []string{"<" + ready + "I", ">Q", "<row row row"}, false},
		{"PostgreSQL has notified", []string{"<" + ready + "I", "<A notification"}, true},
		{"PostgreSQL in pieces", []string{"<" + ready + "I", ">Q", "<row" + ready[:1], "<" + ready[1:3], "<" + ready[3:], "<I"}, true},
		{"PostgreSQL in pieces and a transaction", []string{">Q", "<Z\x00\x00", "<\x00\x05T"}, false},
		{"not quite PostgreSQL", []string{">Q", "<Z\x00\x00\x00\x06T"}, true},
		{"PostgreSQL's bytes from the client", []string{">" + ready + "T", "<ok"}, true},
		{"Redis has queued", []string{">INCR x", "<+QUEUED\r\n"}, false},
		{"Redis has executed", []string{">INCR x", "<+QUEUED\r\n", ">EXEC", "<*1\r\n:1\r\n"}, true},
		{"Redis has begun a transaction", []string{">*1\r\n$5\r\nMULTI\r\n", "<+OK\r\n"}, false},
		{"and in small letters", []string{">*1\r\n$5\r\nmulti\r\n", "<+OK\r\n"}, false},
		{"Redis has given one up", []string{">*1\r\n$5\r\nMULTI\r\n", "<+OK\r\n", ">*1\r\n$7\r\nDISCARD\r\n", "<+OK\r\n"}, true},
		{"Redis has refused one", []string{">*1\r\n$5\r\nMULTI\r\n", "<-ERR no\r\n"}, true},
	} {
		var k talk
		for _, s := range c.said {
			k.hear(map[byte]side{'>': client, '<': server}[s[0]], []byte(s[1:]))
		}
		if k.atRest() != c.rest {
			t.Errorf("%s: at rest is %v", c.name, !c.rest)
		}
	}
}

func TestUnreadBytesAreUnknown(t *testing.T) {
	var k talk
	k.hear(server, []byte("Z\x00\x00\x00\x05T"))
	k.pass(server)
	if !k.atRest() {
		t.Error("what was not read is taken for a transaction")
	}
	k.pass(client)
	if k.atRest() {
		t.Error("the client has spoken last")
	}
}

// say has one side say something, and waits until the other has it.
func (r *rig) say(from, to io.ReadWriter, what string) {
	r.t.Helper()
	if _, err := io.WriteString(from, what); err != nil {
		r.t.Fatal(err)
	}
	if b := make([]byte, len(what)); func() error { _, err := io.ReadFull(to, b); return err }() != nil || string(b) != what {
		r.t.Fatalf("got %q, want %q", b, what)
	}
}

func (r *rig) lives() {
	r.t.Helper()
	select {
	case w := <-r.director.done:
		r.t.Fatalf("it has ended: %v", w)
	default:
	}
}

func (r *rig) ends(want end.Word) {
	r.t.Helper()
	select {
	case w := <-r.director.done:
		if w != want {
			r.t.Fatalf("end = %v, want %v", w, want)
		}
	case <-time.After(20 * time.Second):
		r.t.Fatal("it lives on")
	}
}

const briefly = 5 * time.Millisecond

// A session ends when it is quiet, however the wish and what is said follow each other, and both sides see an end.
func TestQuietEnds(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		for name, talk := range map[string]func(*rig, func()){
			"nothing is ever said": func(_ *rig, wish func()) { wish() },
			"the peer was last":    func(r *rig, wish func()) { r.say(r.client, r.backend, "q"); r.say(r.backend, r.client, "a"); wish() },
			"a question is open": func(r *rig, wish func()) {
				r.say(r.client, r.backend, "q")
				wish()
				time.Sleep(10 * briefly) // that it would have ended by now makes the test sharp, and nothing depends on it
				r.lives()
				r.say(r.backend, r.client, "a")
			},
			"a transaction is open": func(r *rig, wish func()) {
				r.say(r.client, r.backend, "q")
				r.say(r.backend, r.client, "Z\x00\x00\x00\x05T")
				wish()
				time.Sleep(10 * briefly)
				r.lives()
				r.say(r.client, r.backend, "commit")
				r.say(r.backend, r.client, "Z\x00\x00\x00\x05I")
			},
			"most of an answer is carried": func(r *rig, wish func()) {
				r.say(r.client, r.backend, "q")
				r.say(r.backend, r.client, "Z\x00\x00\x00\x05I")
				r.say(r.client, r.backend, "q")
				answer := strings.Repeat("d", 8<<20) + "Z\x00\x00\x00\x05I"
				go io.WriteString(r.backend, answer)
				if b, err := io.ReadAll(io.LimitReader(r.client, int64(len(answer)))); err != nil || string(b) != answer {
					r.t.Fatalf("%d bytes, %v", len(b), err)
				}
				wish()
			},
		} {
			t.Run(name, func(t *testing.T) {
				r := newRig(t, c, Options{})
				for !r.session.Upstream().IsValid() {
					time.Sleep(time.Millisecond)
				}
				talk(r, func() { r.session.EndWhenQuiet(NewQuiet(briefly)) })
				for _, side := range []*net.TCPConn{r.client, r.backend} {
					side.SetReadDeadline(time.Now().Add(20 * time.Second))
					if b, err := io.ReadAll(side); err != nil || len(b) != 0 {
						t.Errorf("%q, %v; want an end", b, err)
					}
				}
				r.ends(end.Drained)
			})
		}
	})
}

// Bytes that the client does not take are passed on before the session is quiet.
func TestQuietWaitsForASlowClient(t *testing.T) {
	const after = 200 * time.Millisecond // the kernel may take a while to move what it holds
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{})
		r.say(r.client, r.backend, "q")
		answer, n := bytes.Repeat([]byte("answer. "), 4<<20), 0
		for n == 0 { // the deadline may be over before the first byte
			r.backend.SetWriteDeadline(time.Now().Add(100 * time.Millisecond))
			var err error
			if n, err = r.backend.Write(answer); !errors.Is(err, os.ErrDeadlineExceeded) {
				t.Fatalf("%d of %d bytes, %v; want a client that does not take them", n, len(answer), err)
			}
		}
		r.session.EndWhenQuiet(NewQuiet(after))
		time.Sleep(after + 10*briefly)
		r.lives()
		r.client.SetReadDeadline(time.Now().Add(20 * time.Second))
		if b, err := io.ReadAll(r.client); err != nil || !bytes.Equal(b, answer[:n]) {
			t.Errorf("%d of %d bytes, then %v", len(b), n, err)
		}
		r.ends(end.Drained)
	})
}

// A wish that is taken back holds for nobody, and another may follow it.
func TestAWishIsTakenBack(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{})
		r.say(r.client, r.backend, "q")
		q, late := NewQuiet(briefly), NewQuiet(briefly)
		late.TakeBack()
		r.session.EndWhenQuiet(q)
		q.TakeBack()
		r.session.EndWhenQuiet(late)
		r.say(r.backend, r.client, "a")
		time.Sleep(10 * briefly)
		r.lives()
		second := NewQuiet(time.Hour)
		r.session.EndWhenQuiet(second)
		r.session.EndWhenQuiet(NewQuiet(briefly)) // it has a wish
		r.session.EndWhenQuiet(q)
		time.Sleep(10 * briefly)
		r.lives()
		second.TakeBack()
		r.session.EndWhenQuiet(NewQuiet(briefly))
		r.ends(end.Drained)
		r.session.EndWhenQuiet(NewQuiet(briefly)) // to whom has ended: no harm
	})
}

func TestQuietBesideLimits(t *testing.T) {
	for _, c := range []struct {
		name      string
		left      time.Duration
		word      end.Word
		still     time.Duration
		rest, off bool
		wantLeft  time.Duration
		wantWord  end.Word
	}{
		{"at rest for long", 100, end.Idle, 9, true, false, -4, end.Drained},
		{"at rest for a moment", 100, end.None, 2, true, false, 3, end.Drained},
		{"not at rest: it is looked at again", 100, end.Idle, 90, false, false, 5, end.Drained},
		{"another limit is nearer", 1, end.Idle, 2, true, false, 1, end.Idle},
		{"another limit is over", -7, end.MaxAge, 9, true, false, -7, end.MaxAge},
		{"taken back", 100, end.Idle, 9, true, true, 100, end.Idle},
	} {
		var s Session
		q := NewQuiet(5)
		s.quiet.Store(q)
		q.off.Store(c.off)
		left, w := s.untilQuiet(c.left, c.word, c.still, func() bool { return c.rest })
		if left != c.wantLeft || w != c.wantWord {
			t.Errorf("%s: %d left, then %v; want %d, %v", c.name, left, w, c.wantLeft, c.wantWord)
		}
	}
}

// Who has finished is under the half-close timeout, and no longer looked at for quiet.
func TestQuietLeavesHalfClosedSessions(t *testing.T) {
	eachEngine(t, func(t *testing.T, c carrier) {
		r := newRig(t, c, Options{})
		r.say(r.client, r.backend, "q")
		r.say(r.backend, r.client, "a")
		r.client.CloseWrite()
		if b, err := io.ReadAll(r.backend); err != nil || len(b) != 0 {
			t.Fatalf("%q, %v", b, err)
		}
		r.session.EndWhenQuiet(NewQuiet(briefly))
		time.Sleep(10 * briefly)
		r.lives()
		r.say(r.backend, r.client, strings.Repeat("more", 100))
		r.backend.Close()
		r.ends(end.ClientFIN)
	})
}

func BenchmarkHear(b *testing.B) {
	var k talk
	said := []byte("C\x00\x00\x00\x0dSELECT 1\x00Z\x00\x00\x00\x05I")
	for b.Loop() {
		k.hear(client, said)
		k.hear(server, said)
	}
	if !k.atRest() {
		b.Error("not at rest")
	}
}
