package check

import (
	"bytes"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

func TestRH12SendExpectProbe(t *testing.T) {
	talk := []Step{{Expect: "220 "}, {Send: "EHLO ebb\r\n"}, {ExpectRegex: `(?m)^250[ -]\w+`}, {SendHex: "515549540d0a"}, {ExpectHex: "323231"}}
	target, end := script(t, "hello\r\n220 mail\r\n", []byte("EHLO ebb\r\n"), "250-SIZE\r\n250 OK\r\n", []byte("QUIT\r\n"), "22", "1 bye\r\n")
	wantReason(t, probeOnce(t, Options{Kind: "send_expect", Steps: talk}, target), OK)
	if err := end(); err != nil {
		t.Error(err)
	}
	target, _ = script(t, "+PONG\r\n+PONG\r\n")
	twice := []Step{{Expect: "PONG"}, {Expect: "PONG"}}
	wantReason(t, probeOnce(t, Options{Kind: "send_expect", Steps: twice}, target), OK)
	target, _ = script(t, "+PONG\r\n")
	wantReason(t, probeOnce(t, Options{Kind: "send_expect", Steps: twice, Timeout: 300 * time.Millisecond}, target), Unexpected, "step 2", `"PONG"`, `"\r\n"`)
	target, _ = script(t, "-NOAUTH\r\n", func(c net.Conn) { _ = c.Close() })
	wantReason(t, probeOnce(t, Options{Kind: "send_expect", Steps: twice}, target), Unexpected, "step 1", "NOAUTH")
	wrongs(t, Options{Kind: "send_expect", Steps: []Step{{Send: "x"}, {ExpectRegex: "^never$"}}})
}

func TestSendExpectProbeOverUDP(t *testing.T) {
	server, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 100)
		for {
			n, from, err := server.ReadFrom(b)
			if err != nil {
				return
			}
			_, _ = server.WriteTo(append([]byte("re: "), b[:n]...), from)
		}
	}()
	target := netip.MustParseAddrPort(server.LocalAddr().String())
	o := Options{Kind: "send_expect", Protocol: "udp", Steps: []Step{{Send: "ping"}, {Expect: "re: ping"}}}
	wantReason(t, probeOnce(t, o, target), OK)
	server.Close()
	<-done
	wantReason(t, probeOnce(t, o, target), Refused)
}

func TestSendExpectRefusesWhatCannotBe(t *testing.T) {
	for _, steps := range [][]Step{nil, {{}}, {{Send: "a", Expect: "b"}}, {{SendHex: "0"}}, {{ExpectHex: "zz"}}, {{ExpectRegex: "("}}} {
		if _, err := newSendExpect(Options{Steps: steps}); err == nil {
			t.Errorf("%+v is taken", steps)
		}
	}
}

// played is a server that has said all it says.
type played struct {
	net.Conn
	r io.Reader
}

func (p played) Read(b []byte) (int, error)  { return p.r.Read(b) }
func (p played) Write(b []byte) (int, error) { return len(b), nil }

func FuzzSendExpect(f *testing.F) {
	f.Add("PONG", "P(O|N)+G", []byte("+PONG\r\n+PONG\r\n"))
	f.Add("\x00", "^$", []byte{0, 1, 2})
	f.Fuzz(func(t *testing.T, text, regex string, said []byte) {
		var steps []step
		for _, s := range []Step{{Send: "x"}, {Expect: text}, {ExpectRegex: regex}} {
			if r, err := s.ready(); err == nil {
				steps = append(steps, r)
			}
		}
		err := converse(played{r: bytes.NewReader(said)}, steps)
		if err == nil && text != "" && !strings.Contains(string(said), text) {
			t.Errorf("%q was found in %q", text, said)
		}
		if err != nil && len(failed(err).Detail) > 400 {
			t.Errorf("a long detail: %v", err)
		}
	})
}
