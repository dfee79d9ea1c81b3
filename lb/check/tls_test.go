package check

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"testing"
	"time"
)

// serveTLS does the handshake, hands on how that and what follows ended, and waits for the client to leave.
func serveTLS(t *testing.T, conf *tls.Config) (netip.AddrPort, chan error) {
	t.Helper()
	saw := make(chan error, 100)
	return listen(t, func(c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		s := tls.Server(c, conf)
		err := s.Handshake()
		if err == nil {
			_, err = io.Copy(io.Discard, s)
		}
		saw <- err
	}), saw
}

func TestTLSProbe(t *testing.T) {
	good, other := newAuthority(t, "127.0.0.1", "db.test"), newAuthority(t, "127.0.0.1")
	asks := good.server.Clone()
	asks.ClientAuth, asks.MaxVersion = tls.RequireAndVerifyClientCert, tls.VersionTLS12 // 1.3 tells of it after the handshake
	for _, c := range []struct {
		name   string
		server *tls.Config
		tls    TLS
		want   string
	}{
		{"without TLS keys", good.server, TLS{}, OK},
		{"whatever the certificate", other.server, TLS{Mode: "require"}, OK},
		{"the address", good.server, TLS{Mode: "verify", CAFile: good.caFile}, OK},
		{"a name", good.server, TLS{Mode: "verify", CAFile: good.caFile, Name: "db.test"}, OK},
		{"another name", good.server, TLS{Mode: "verify", CAFile: good.caFile, Name: "web.test"}, BadTLS},
		{"another CA", other.server, TLS{Mode: "verify", CAFile: good.caFile}, BadTLS},
		{"the CAs of the host", good.server, TLS{Mode: "verify"}, BadTLS},
		{"a client certificate", asks, TLS{Mode: "verify", CAFile: good.caFile, CertFile: good.certFile, KeyFile: good.keyFile}, OK},
		{"no client certificate", asks, TLS{Mode: "verify", CAFile: good.caFile}, BadTLS},
		{"no such CA file", good.server, TLS{Mode: "verify", CAFile: good.caFile + "x"}, Local},
		{"a CA file without one", good.server, TLS{Mode: "verify", CAFile: good.keyFile}, Local},
	} {
		t.Run(c.name, func(t *testing.T) {
			target, saw := serveTLS(t, c.server)
			wantReason(t, probeOnce(t, Options{Kind: "tls", TLS: c.tls}, target), c.want)
			if err := <-saw; c.want == OK && err != nil {
				t.Errorf("the server saw %v, want a plain end", err)
			}
		})
	}
	wrongs(t, Options{Kind: "tls"})
}

// A CA that is replaced is believed without a restart.
func TestTLSProbeReadsChangedFiles(t *testing.T) {
	first, second := newAuthority(t, "127.0.0.1"), newAuthority(t, "127.0.0.1")
	target, saw := serveTLS(t, second.server)
	c, err := newCerts(TLS{Mode: "verify", CAFile: first.caFile})
	if err != nil {
		t.Fatal(err)
	}
	ask := func() error {
		conf, err := c.config(target.Addr())
		if err != nil {
			t.Fatal(err)
		}
		conn, err := tls.Dial("tcp", target.String(), conf)
		if err == nil {
			conn.Close()
		}
		<-saw
		return err
	}
	if ask() == nil {
		t.Fatal("a certificate of another CA is believed")
	}
	text, err := os.ReadFile(second.caFile)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(first.caFile, text, 0o600); err != nil {
		t.Fatal(err)
	}
	later := time.Now().Add(time.Minute)
	if err := os.Chtimes(first.caFile, later, later); err != nil {
		t.Fatal(err)
	}
	if err := ask(); err != nil {
		t.Error(err)
	}
}

func TestRH13ProbeOwnPortAndHeader(t *testing.T) {
	v2 := []byte("\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00")
	for way, ask := range ways {
		t.Run(way, func(t *testing.T) {
			saw := make(chan string, 1)
			target := listen(t, func(c net.Conn) {
				b, _ := io.ReadAll(c)
				saw <- string(b) + "|" + c.RemoteAddr().String()
			})
			elsewhere := netip.AddrPortFrom(target.Addr(), 1)
			wantReason(t, ask(t, Options{Kind: "tcp", Port: target.Port(), Proxy: "v2"}, elsewhere), OK)
			if got := <-saw; !strings.HasPrefix(got, string(v2)+"|") {
				t.Errorf("the server got %q, want %q", got, v2)
			}
			wantReason(t, ask(t, Options{Kind: "tcp", Proxy: "v1"}, target), OK)
			got := <-saw
			header, from, _ := strings.Cut(got, "\r\n|")
			client := netip.MustParseAddrPort(from)
			if want := fmt.Sprintf("PROXY TCP4 127.0.0.1 127.0.0.1 %d %d", client.Port(), target.Port()); header != want {
				t.Errorf("the server got %q, want %q", header, want)
			}
		})
	}
}
