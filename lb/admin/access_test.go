package admin

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

const (
	fullToken = "full-0123456789abcdef"
	readToken = "read-0123456789abcdef"
)

// start serves with settings until the test ends.
func start(t *testing.T, c Settings, source Source) *Server {
	t.Helper()
	s, err := NewServer(c, source, NewMetrics(nothing), NewEvents(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		s.Shutdown(ctx)
	})
	return s
}

// ask sends a request with a path as it stands, and headers, which are pairs.
func ask(t *testing.T, s *Server, method, path string, headers ...string) (int, http.Header, string) {
	t.Helper()
	host, body, more := "localhost", "", ""
	if method == "POST" {
		body, more = "{}", "Content-Type: application/json\r\n"
	}
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Host" {
			host = headers[i+1]
		} else {
			more += headers[i] + ": " + headers[i+1] + "\r\n"
		}
	}
	c := dial(t, s)
	fmt.Fprintf(c, "%s %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n%s", method, path, host, len(body), more, body)
	resp, err := http.ReadResponse(bufio.NewReader(c), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, string(b)
}

func basic(user, password string) string {
	r := http.Request{Header: http.Header{}}
	r.SetBasicAuth(user, password)
	return r.Header.Get("Authorization")
}

func TestSE1TokensDecide(t *testing.T) {
	s := start(t, Settings{Listen: "127.0.0.1:0", Access: Access{Token: fullToken, ReadToken: readToken}}, example())
	const drain = "/v1/pools/db/peers/192.0.2.1:5432/drain"
	for _, tc := range []struct {
		authorization     string
		get, post, remove int
	}{
		{"", 401, 401, 401},
		{"Bearer", 401, 401, 401},
		{"Bearer ", 401, 401, 401},
		{"Bearer " + fullToken, 200, 200, 200},
		{"Bearer " + fullToken + " ", 200, 200, 200}, // a header's value is trimmed
		{"Bearer  " + fullToken, 401, 401, 401},
		{"Bearer " + fullToken + "x", 401, 401, 401},
		{"Bearer " + fullToken[:20], 401, 401, 401},
		{"Bearer " + strings.ToUpper(fullToken), 401, 401, 401},
		{"Bearer " + readToken, 200, 403, 403},
		{fullToken, 401, 401, 401},
		{basic("anyone", fullToken), 200, 200, 200},
		{basic("", readToken), 200, 403, 403},
		{basic(fullToken, ""), 401, 401, 401},
		{"Basic !!!", 401, 401, 401},
	} {
		headers := []string{}
		if tc.authorization != "" {
			headers = append(headers, "Authorization", tc.authorization)
		}
		for _, try := range []struct {
			method, path string
			want         int
		}{
			{"GET", "/v1/status", tc.get}, {"GET", "/metrics", tc.get}, {"HEAD", "/v1/status", tc.get},
			{"POST", drain, tc.post}, {"DELETE", "/v1/conns?pool=db", tc.remove},
		} {
			code, header, body := ask(t, s, try.method, try.path, headers...)
			if code != try.want {
				t.Errorf("%q %s %s: %d, want %d", tc.authorization, try.method, try.path, code, try.want)
			}
			if code == 401 && len(header.Values("WWW-Authenticate")) != 2 {
				t.Errorf("%v", header)
			}
			if code >= 400 && (strings.Contains(body, "0123456789") || strings.Contains(body, "192.0.2.1")) {
				t.Errorf("%q %s %s tells: %s", tc.authorization, try.method, try.path, body)
			}
		}
	}
}

// What has no token learns two words, and not why.
func TestProbesNeedNoToken(t *testing.T) {
	f := &fake{status: Status{Reasons: []string{"pool secret has no peer"}}}
	s := start(t, Settings{Listen: "127.0.0.1:0", Access: Access{Token: fullToken}}, f)
	for _, tc := range []struct {
		method, path, authorization string
		code                        int
		body                        string
	}{
		{"GET", "/livez", "", 200, "ok\n"},
		{"HEAD", "/livez", "", 200, ""},
		{"GET", "/readyz", "", 503, "not ready\n"},
		{"GET", "/readyz", "Bearer " + fullToken, 503, "pool secret has no peer\n"},
		{"GET", "/readyz/secret", "", 401, "token"},
		{"GET", "/livez/", "", 401, "token"},
		{"POST", "/livez", "", 401, "token"},
		{"GET", "/nothing", "", 401, "token"},
	} {
		headers := []string{}
		if tc.authorization != "" {
			headers = []string{"Authorization", tc.authorization}
		}
		if code, _, body := ask(t, s, tc.method, tc.path, headers...); code != tc.code || !strings.Contains(body, tc.body) {
			t.Errorf("%+v: %d %q", tc, code, body)
		}
	}
	f.mu.Lock()
	f.status.Ready = true
	f.mu.Unlock()
	if code, _, body := ask(t, s, "GET", "/readyz"); code != 200 || body != "ok\n" {
		t.Errorf("%d %q", code, body)
	}
}

// What a stranger asks for in other words is not what is open, and what a reader asks for is nothing but reading.
func TestSE3PathsAreExact(t *testing.T) {
	f := example()
	s := start(t, Settings{Listen: "127.0.0.1:0", Access: Access{Token: fullToken, ReadToken: readToken}}, f)
	for _, path := range []string{
		"/livez/../v1/status", "//v1/status", "/livez%2f..%2fv1%2fstatus", "/livezX", "/livez%00", "/./livez/..//v1/status", "/readyz/../metrics",
	} {
		if code, _, body := ask(t, s, "GET", path); code != 401 || strings.Contains(body, `"pools"`) {
			t.Errorf("stranger %s: %d %s", path, code, body)
		}
	}
	for _, path := range []string{"/metrics/../v1/config", "//v1/config", "/metrics%2f..%2fv1%2fconfig", "/metricsX"} {
		code, header, body := ask(t, s, "GET", path, "Authorization", "Bearer "+readToken)
		if code == 200 || code >= 300 && code < 400 && header.Get("Location") != "/v1/config" {
			t.Errorf("reader %s: %d %s", path, code, body)
		}
	}
	for _, path := range []string{"/metrics/../v1/reload", "//v1/reload", "/v1/dns/../reload", "/v1/reload"} {
		if code, _, body := ask(t, s, "POST", path, "Authorization", "Bearer "+readToken); code != 403 {
			t.Errorf("reader %s: %d %s", path, code, body)
		}
	}
}

func TestSE2HostsThatAreNamed(t *testing.T) {
	token := []string{"Authorization", "Bearer " + fullToken}
	local := start(t, Settings{Listen: "127.0.0.1:0", Access: Access{Token: fullToken, Hosts: []string{"lb1.example.com"}}}, example())
	wide := start(t, Settings{Listen: "0.0.0.0:0", Access: Access{Token: fullToken, Hosts: []string{"lb1.example.com"}}}, example())
	for host, want := range map[string][2]int{
		"lb1.example.com": {200, 200}, "LB1.example.com:9321": {200, 200}, "lb1.example.com.:80": {200, 200},
		"192.0.2.1": {403, 200}, "[2001:db8::1]:80": {403, 200}, "127.0.0.1:1": {200, 200}, "localhost": {200, 200},
		"evil.example": {403, 403}, "lb1.example.com.evil.example": {403, 403}, "xlb1.example.com": {403, 403},
	} {
		for i, s := range []*Server{local, wide} {
			code, _, body := ask(t, s, "GET", "/v1/status", append(token, "Host", host)...)
			if code != want[i] {
				t.Errorf("Host %s at %s: %d %s, want %d", host, s.Addr(), code, body, want[i])
			}
		}
	}
	if code, _, _ := ask(t, wide, "POST", "/v1/reload", append(token, "Origin", "http://evil.example")...); code != 403 {
		t.Errorf("another origin: %d", code)
	}
}

// What other hosts reach never answers without a token, whatever it is told.
func TestSE9NoTokenIsNoAccess(t *testing.T) {
	s := start(t, Settings{Listen: "0.0.0.0:0", Access: Access{Token: fullToken}}, example())
	for _, a := range []Access{{}, {ReadToken: readToken}} {
		s.SetAccess(a)
		for _, authorization := range []string{"", "Bearer ", "Bearer " + fullToken, "Bearer " + readToken, basic("", "")} {
			if code, _, _ := ask(t, s, "GET", "/v1/status", "Authorization", authorization); code != 401 {
				t.Errorf("%+v %q: %d", a, authorization, code)
			}
		}
	}
	s.SetAccess(Access{Token: readToken})
	if code, _, _ := ask(t, s, "GET", "/v1/status", "Authorization", "Bearer "+fullToken); code != 401 {
		t.Errorf("the old token: %d", code)
	}
	if code, _, _ := ask(t, s, "GET", "/v1/status", "Authorization", "Bearer "+readToken); code != 200 {
		t.Errorf("the new token: %d", code)
	}
}

// A body that is too large or too slow costs its own connection.
func TestSE4BodiesAreBounded(t *testing.T) {
	const head = "POST /v1/dns/refresh HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
	large := dial(t, start(t, Settings{Listen: "127.0.0.1:0"}, example()))
	fmt.Fprintf(large, head, 10<<20)
	// The server stops reading at the bound, and may have closed by then.
	_, _ = fmt.Fprintf(large, `{"name":"%s`, strings.Repeat("x", maxBody))
	if b, _ := io.ReadAll(large); len(b) > 0 && !strings.Contains(string(b), " 413 ") {
		t.Errorf("a large body: %s", b)
	}

	var answer []byte
	for timeout := 50 * time.Millisecond; len(answer) == 0 && timeout < 5*time.Second; timeout *= 2 { // the head is to come within it
		s, err := NewServer(Settings{Listen: "127.0.0.1:0"}, example(), NewMetrics(nothing), NewEvents(), quiet)
		if err != nil {
			t.Fatal(err)
		}
		if s.http.ReadTimeout != 5*time.Second {
			t.Errorf("a request has %v", s.http.ReadTimeout)
		}
		s.http.ReadTimeout = timeout // as the test has no five seconds
		go s.Serve()
		defer s.Shutdown(context.Background())
		slow := dial(t, s)
		fmt.Fprintf(slow, head+"{", 10)
		answer, _ = io.ReadAll(slow)
	}
	if !strings.Contains(string(answer), " 400 ") {
		t.Errorf("a slow body: %q", answer)
	}
}

func dial(t *testing.T, s *Server) net.Conn {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c
}
