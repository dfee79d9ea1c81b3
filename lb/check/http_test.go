package check

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
)

func TestHTTPProbe(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/primary":
			if r.URL.RawQuery != "lag=1" || r.Host != "db.test" || r.Method != "OPTIONS" || r.Header.Get("User-Agent") != "ebb" {
				w.WriteHeader(400)
			}
		case "/busy":
			w.WriteHeader(503)
		case "/moved":
			http.Redirect(w, r, "/busy", http.StatusFound)
		case "/long":
			_, _ = w.Write([]byte(strings.Repeat("x", 1<<20) + "needle"))
		default:
			fmt.Fprintf(w, "role: master\n")
		}
	})
	plain := httptest.NewServer(handler)
	defer plain.Close()
	secure := httptest.NewTLSServer(handler)
	defer secure.Close()
	addr := func(s *httptest.Server) netip.AddrPort { return netip.MustParseAddrPort(s.Listener.Addr().String()) }
	for _, c := range []struct {
		name  string
		http  HTTP
		want  string
		words []string
	}{
		{"defaults", HTTP{}, OK, nil},
		{"all keys", HTTP{Method: "OPTIONS", Path: "/primary?lag=1", Host: "db.test", Expect: "200"}, OK, nil},
		{"a code that is not expected", HTTP{Path: "/busy"}, Unexpected, []string{"status 503", "200-399"}},
		{"a code that is", HTTP{Path: "/busy", Expect: "200,5xx"}, OK, nil},
		{"a redirect is an answer", HTTP{Path: "/moved"}, OK, nil},
		{"a body", HTTP{Body: "(?m)^role: (master|primary)$"}, OK, nil},
		{"another body", HTTP{Body: "replica"}, Unexpected, []string{"status 200", "replica", "role: master"}},
		{"too far into a body", HTTP{Path: "/long", Body: "needle"}, Unexpected, []string{"xxx..."}},
		{"a long body that nobody reads", HTTP{Path: "/long"}, OK, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			wantReason(t, probeOnce(t, Options{Kind: "http", HTTP: c.http}, addr(plain)), c.want, c.words...)
		})
	}
	wantReason(t, probeOnce(t, Options{Kind: "http", TLS: TLS{Mode: "require"}}, addr(secure)), OK)
	wantReason(t, probeOnce(t, Options{Kind: "http", TLS: TLS{Mode: "verify"}}, addr(secure)), BadTLS)
	wantReason(t, probeOnce(t, Options{Kind: "http", TLS: TLS{Mode: "require"}}, addr(plain)), BadTLS)
	wantReason(t, probeOnce(t, Options{Kind: "http"}, addr(secure)), Unexpected, "status 400")
	wrongs(t, Options{Kind: "http"})
	half, _ := script(t, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf of it", func(c net.Conn) { c.Close() })
	wantReason(t, probeOnce(t, Options{Kind: "http", HTTP: HTTP{Body: "half"}}, half), Closed)
}

func TestHTTPRefusesWhatCannotBe(t *testing.T) {
	for _, h := range []HTTP{{Expect: "99"}, {Expect: "2xx,"}, {Expect: "300-200"}, {Body: "("}, {Path: "x"}, {Path: "/%zz"}} {
		if _, err := newHTTP(Options{HTTP: h}); err == nil {
			t.Errorf("%+v is taken", h)
		}
	}
}
