package relay

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/internal/end"
	"github.com/ebb-lb/ebb/lb/internal/preface"
	"github.com/ebb-lb/ebb/lb/internal/sock"
)

// clientHello is what a client of TLS sends first.
func clientHello(t *testing.T, name string) []byte {
	t.Helper()
	client, server := net.Pipe()
	defer server.Close()
	go func() {
		defer client.Close()
		_ = tls.Client(client, &tls.Config{ServerName: name, NextProtos: slices.Repeat([]string{"padding"}, 200)}).Handshake()
	}()
	b := make([]byte, preface.MaxHello)
	n, err := server.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	return b[:n]
}

// A ClientHello is looked at in whatever parts it comes, alone or behind a header, and all of it reaches the peer.
func TestHelloInPartsReachesThePeer(t *testing.T) {
	whole := append(clientHello(t, "db.example.com"), "payload"...)
	for _, o := range []Options{{HelloTimeout: time.Hour}, {HelloTimeout: time.Hour, HeaderTimeout: time.Hour}} {
		all := whole
		if o.HeaderTimeout > 0 {
			all = append(preface.Format(2, theClient, theLocal), whole...)
		}
		eachEngine(t, func(t *testing.T, c carrier) {
			for _, i := range []int{0, 1, 4, 5, 20, 40, 100, 1000, len(all) - 8, len(all) - 7, len(all)} {
				back := listen(t)
				client, s, d := hears(t, c, o, back)
				client.Write(all[:i])
				if i%4 == 0 {
					time.Sleep(time.Millisecond) // that parts come apart is to be likely, not certain
				}
				client.Write(all[i:])
				client.CloseWrite()
				backend := accept(t, back)
				if b := readAll(t, backend); !bytes.Equal(b, whole) {
					t.Fatalf("split at %d: the peer got %d of %d bytes, or others", i, len(b), len(whole))
				}
				backend.Close()
				if w := <-d.done; w != end.ClientFIN {
					t.Fatalf("split at %d: end = %v", i, w)
				}
				if !slices.Equal(d.names, []string{"db.example.com"}) || (len(d.heard) == 1) != (o.HeaderTimeout > 0) {
					t.Fatalf("split at %d: names %q, headers %v", i, d.names, d.heard)
				}
				if n := s.In.Load(); n != int64(len(whole)) {
					t.Fatalf("split at %d: %d bytes are counted as the client's", i, n)
				}
			}
		})
	}
}

// A retry finds the ClientHello where it was (R1).
func TestHelloIsThereForTheNextPeer(t *testing.T) {
	whole := clientHello(t, "db.example.com")
	eachEngine(t, func(t *testing.T, c carrier) {
		back := listen(t)
		client, _, d := hears(t, c, Options{HelloTimeout: time.Hour}, back)
		d.mu.Lock()
		d.addrs = append([]netip.AddrPort{refused(t)}, d.addrs...)
		d.mu.Unlock()
		client.Write(whole)
		client.CloseWrite()
		backend := accept(t, back)
		if b := readAll(t, backend); !bytes.Equal(b, whole) {
			t.Fatalf("the peer got %d of %d bytes, or others", len(b), len(whole))
		}
		backend.Close()
		<-d.done
		if len(d.failed) != 1 || len(d.names) != 1 {
			t.Errorf("%d failures, names %q", len(d.failed), d.names)
		}
	})
}

// Who names nobody is served all the same, and with all it has said.
func TestClientsThatNameNobody(t *testing.T) {
	whole := clientHello(t, "db.example.com")
	for what, said := range map[string]string{
		"nothing and an end":      "",
		"another protocol":        "GET / HTTP/1.1\r\n\r\n",
		"a part and an end":       string(whole[:len(whole)/2]),
		"a byte and an end":       string(whole[:1]),
		"no name":                 string(clientHello(t, "192.0.2.1")),
		"more than is looked at":  "\x16\x03\x01\x40\x00\x01\x00\xff\xff" + strings.Repeat("x", preface.MaxHello),
		"a hello that is damaged": string(whole[:43]) + "\xff" + string(whole[44:]),
	} {
		t.Run(what, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, c carrier) {
				back := listen(t)
				client, _, d := hears(t, c, Options{HelloTimeout: time.Hour}, back)
				client.Write([]byte(said))
				client.CloseWrite()
				backend := accept(t, back)
				if b := readAll(t, backend); string(b) != said {
					t.Errorf("the peer got %d of %d bytes, or others", len(b), len(said))
				}
				backend.Close()
				if w := <-d.done; w != end.ClientFIN || !slices.Equal(d.names, []string{""}) {
					t.Errorf("end = %v, names %q", w, d.names)
				}
			})
		})
	}
}

func TestTO6ClientsWhoseHelloDoesNotCome(t *testing.T) {
	whole := clientHello(t, "db.example.com")
	const soon = 30 * time.Millisecond
	for _, test := range []struct {
		name string
		o    Options
		do   func(client *net.TCPConn, s *Session)
		word end.Word
	}{
		{"silence", Options{HelloTimeout: soon}, func(*net.TCPConn, *Session) {}, end.PrereadTimeout},
		{"a part", Options{HelloTimeout: soon, IdleTimeout: time.Hour}, func(c *net.TCPConn, _ *Session) { c.Write(whole[:50]) }, end.PrereadTimeout},
		{"a header and silence", Options{HelloTimeout: soon, HeaderTimeout: soon}, func(c *net.TCPConn, _ *Session) {
			c.Write(preface.Format(1, theClient, theLocal))
		}, end.PrereadTimeout},
		{"an abort after a part", Options{HelloTimeout: time.Hour}, func(c *net.TCPConn, _ *Session) {
			c.Write(whole[:50])
			sock.Abort(c)
		}, end.ClientReset},
		{"a kill after a part", Options{HelloTimeout: time.Hour}, func(c *net.TCPConn, s *Session) {
			c.Write(whole[:50])
			s.Kill(end.Shutdown)
		}, end.Shutdown},
	} {
		t.Run(test.name, func(t *testing.T) {
			eachEngine(t, func(t *testing.T, c carrier) {
				client, s, d := hears(t, c, test.o)
				test.do(client, s)
				if w := <-d.done; w != test.word || len(d.names) != 0 {
					t.Errorf("end = %v, want %v; names %q", w, test.word, d.names)
				}
			})
		})
	}
}
