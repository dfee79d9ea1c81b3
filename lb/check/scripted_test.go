package check

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
)

// probe asks a target once by options, within a time that is long unless the options say one.
func probeOnce(t *testing.T, o Options, target netip.AddrPort) Result {
	t.Helper()
	new, ok := kinds[o.Kind]
	if !ok {
		t.Fatalf("no kind %q", o.Kind)
	}
	ask, err := new(o)
	if err != nil {
		t.Fatal(err)
	}
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Second
	}
	ctx, cancel := context.WithTimeout(t.Context(), o.Timeout)
	defer cancel()
	return ask(ctx, target)
}

// wantReason fails unless a result has the reason, a detail with the words, and life only if the reason is ok.
func wantReason(t *testing.T, r Result, want string, words ...string) {
	t.Helper()
	if r.Reason != want || r.Alive != (want == OK) || !r.Alive && r.Detail == "" {
		t.Errorf("%+v, want reason %q", r, want)
	}
	for _, w := range words {
		if !strings.Contains(r.Detail, w) {
			t.Errorf("detail %q, want %q in it", r.Detail, w)
		}
	}
	if len(r.Detail) > 600 || strings.ContainsAny(r.Detail, "\n\r\x00") {
		t.Errorf("detail is not one short line: %q", r.Detail)
	}
}

// halves are beginnings of what a sound server says first.
var halves = map[string]string{
	"tls": "\x16\x03\x03\x00\x50\x02\x00", "http": "HTTP/1.1 200 O", "send_expect": "nev", "dns": "\x00\x40\x12", "agent": "u",
	"postgres": "R\x00\x00\x00\x08\x00", "mysql": "\x50\x00\x00\x00\x0a5.5", "redis": "*3\r\n$6\r\nmas",
}

// wrongs are servers that are none, for every kind that connects: what the probe must find within its timeout.
func wrongs(t *testing.T, o Options) {
	t.Helper()
	for _, c := range []struct {
		name  string
		serve func(net.Conn)
		want  string // words that are fine
	}{
		{"it accepts and closes", func(net.Conn) {}, "closed tls"},
		{"it never answers", func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }, "timeout"},
		{"it resets", func(c net.Conn) { _ = c.(*net.TCPConn).SetLinger(0) }, "closed tls"},
		{"it says rubbish", func(c net.Conn) {
			_, _ = c.Write(bytes.Repeat([]byte("\xff\x00rubbish\r\n\x7f"), 40))
			_, _ = io.Copy(io.Discard, c)
		}, "protocol tls unexpected timeout closed"},
		{"it floods", func(c net.Conn) {
			for b := bytes.Repeat([]byte("0123456789abcdef"), 4096); ; {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}, "protocol tls unexpected timeout closed"},
		{"it floods with lines", func(c net.Conn) {
			for b := bytes.Repeat([]byte("a: b\r\n"), 4096); ; {
				if _, err := c.Write(b); err != nil {
					return
				}
			}
		}, "protocol tls unexpected timeout closed"},
		{"it sends a byte at a time, for ever", func(c net.Conn) {
			for {
				if _, err := c.Write([]byte{'1'}); err != nil {
					return
				}
				time.Sleep(time.Millisecond)
			}
		}, "timeout protocol tls unexpected"},
		{"it says half of an answer", func(c net.Conn) {
			_, _ = io.WriteString(c, halves[o.Kind])
			_, _ = io.Copy(io.Discard, c)
		}, "timeout unexpected protocol tls"}, // the last two, where TLS comes first
		{"it says half of an answer and closes", func(c net.Conn) {
			_, _ = io.WriteString(c, halves[o.Kind])
		}, "closed tls unexpected protocol"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := o
			if o.Timeout = 10 * time.Second; strings.Contains(c.want, "timeout") {
				o.Timeout = 300 * time.Millisecond
			}
			start := time.Now()
			r := probeOnce(t, o, listen(t, c.serve))
			if r.Alive || !strings.Contains(" "+c.want+" ", " "+r.Reason+" ") || r.Detail == "" || len(r.Detail) > 600 {
				t.Errorf("%+v, want one of %s", r, c.want)
			}
			if took := time.Since(start); took > 20*time.Second {
				t.Errorf("took %v", took)
			}
		})
	}
}

// script serves each connection by a conversation: a string is sent, a []byte must come, a func is called.
func script(t *testing.T, steps ...any) (netip.AddrPort, func() error) {
	t.Helper()
	var mu sync.Mutex
	var last error
	target := listen(t, func(c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		var err error
		for _, s := range steps {
			switch s := s.(type) {
			case string:
				_, err = io.WriteString(c, s)
			case []byte:
				got := make([]byte, len(s))
				if _, err = io.ReadFull(c, got); err == nil && !bytes.Equal(got, s) {
					err = &unlike{got, s}
				}
			case func(net.Conn):
				s(c)
			}
			if err != nil {
				break
			}
		}
		if err == nil {
			if rest, e := io.ReadAll(c); e != nil || len(rest) > 0 {
				err = &unlike{rest, nil}
				if e != nil {
					err = e
				}
			}
		}
		mu.Lock()
		defer mu.Unlock()
		last = err
	})
	return target, func() error {
		mu.Lock()
		defer mu.Unlock()
		return last
	}
}

type unlike struct{ got, want []byte }

func (u *unlike) Error() string { return "got " + quote(u.got) + ", want " + quote(u.want) }

// authority is a CA of a test with one certificate, good for names and addresses.
type authority struct {
	caFile, certFile, keyFile string
	server                    *tls.Config
}

func newAuthority(t *testing.T, names ...string) *authority {
	t.Helper()
	dir := t.TempDir()
	key := func() *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	caKey, leafKey := key(), key()
	ca := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test CA"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign,
	}
	leaf := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "test"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), KeyUsage: x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	for _, n := range names {
		if ip := net.ParseIP(n); ip != nil {
			leaf.IPAddresses = append(leaf.IPAddresses, ip)
		} else {
			leaf.DNSNames = append(leaf.DNSNames, n)
		}
	}
	caDER, err := x509.CreateCertificate(rand.Reader, ca, ca, &caKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	leafDER, err := x509.CreateCertificate(rand.Reader, leaf, ca, &leafKey.PublicKey, caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	write := func(name, typ string, der []byte) string {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	a := &authority{caFile: write("ca.pem", "CERTIFICATE", caDER), certFile: write("cert.pem", "CERTIFICATE", leafDER), keyFile: write("key.pem", "PRIVATE KEY", keyDER)}
	pair, err := tls.LoadX509KeyPair(a.certFile, a.keyFile)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	caCert, err := x509.ParseCertificate(caDER)
	if err != nil {
		t.Fatal(err)
	}
	pool.AddCert(caCert)
	a.server = &tls.Config{Certificates: []tls.Certificate{pair}, ClientCAs: pool}
	return a
}
