package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// post sends a body with headers and gives code and body of the answer.
func post(t *testing.T, s *Server, path, body string, header map[string]string) (int, string) {
	t.Helper()
	return send(t, s, http.MethodPost, path, body, header)
}

func send(t *testing.T, s *Server, method, path, body string, header map[string]string) (int, string) {
	t.Helper()
	req, err := http.NewRequest(method, "http://"+s.Addr()+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range header {
		if k == "Host" {
			req.Host = v
		}
		req.Header.Set(k, v)
	}
	c := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: patience}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func TestSE3NoWebPageCanRefresh(t *testing.T) {
	f := example()
	s := serve(t, f, nothing)
	const path, js = "/v1/dns/refresh", "application/json"
	for _, tc := range []struct {
		name, body string
		header     map[string]string
		code       int
		say        string
	}{
		{"one name", `{"name": "db.test"}`, map[string]string{"Content-Type": js}, 200, `"questions": 1`},
		{"all, with a charset", `{}`, map[string]string{"Content-Type": js + "; charset=utf-8"}, 200, `"questions": 1`},
		{"all, by no body", ``, map[string]string{"Content-Type": js}, 200, `"questions": 1`},
		{"its own origin", `{}`, map[string]string{"Content-Type": js, "Origin": "http://" + s.Addr()}, 200, `"questions": 1`},
		{"a name that is not there", `{"name": "none.test"}`, map[string]string{"Content-Type": js}, 404, "is not watched"},
		{"a foreign origin", `{}`, map[string]string{"Content-Type": js, "Origin": "http://evil.example"}, 403, "evil.example"},
		{"an origin on another port", `{}`, map[string]string{"Content-Type": js, "Origin": "http://127.0.0.1:1"}, 403, "web page"},
		{"an opaque origin", `{}`, map[string]string{"Content-Type": js, "Origin": "null"}, 403, "web page"},
		{"what a browser says of itself", `{}`, map[string]string{"Content-Type": js, "Sec-Fetch-Site": "cross-site"}, 403, "web page"},
		{"a foreign host", `{}`, map[string]string{"Content-Type": js, "Host": "evil.example"}, 403, "evil.example"},
		{"a form", `name=db.test`, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"},
		{"a form of text", `{"name": ""}`, map[string]string{"Content-Type": "text/plain"}, 415, "application/json"},
		{"no content type", `{}`, nil, 415, "application/json"},
		{"no JSON", `{`, map[string]string{"Content-Type": js}, 400, "the body"},
		{"an unknown key", `{"Xname": "db.test"}`, map[string]string{"Content-Type": js}, 400, "Xname"},
		{"another type", `{"name": 1}`, map[string]string{"Content-Type": js}, 400, "name"},
		{"two documents", `{} {}`, map[string]string{"Content-Type": js}, 400, "the body"},
		{"too much", `{"name": "` + strings.Repeat("a", maxBody) + `"}`, map[string]string{"Content-Type": js}, 413, "16384"},
		{"too much behind it", `{}` + strings.Repeat(" ", maxBody), map[string]string{"Content-Type": js}, 413, "16384"},
	} {
		f.mu.Lock()
		f.refreshed = nil
		f.mu.Unlock()
		code, body := post(t, s, path, tc.body, tc.header)
		if code != tc.code || !strings.Contains(body, tc.say) || !json.Valid([]byte(body)) {
			t.Errorf("%s: %d %s, want %d with %s", tc.name, code, body, tc.code, tc.say)
		}
		f.mu.Lock()
		if asked := len(f.refreshed) > 0; asked != (code == 200 || code == 404) {
			t.Errorf("%s: %d, refreshed %q", tc.name, code, f.refreshed)
		}
		f.mu.Unlock()
	}
	code, header, body := request(t, s, http.MethodGet, "", path)
	if code != 405 || header.Get("Allow") != "POST" || !strings.Contains(body, "wants POST") {
		t.Errorf("GET: %d %s %s", code, header.Get("Allow"), body)
	}
}

func TestClientRefreshes(t *testing.T) {
	f := example()
	s := serve(t, f, nothing)
	c := NewClient(s.Addr(), "")
	if n, err := c.RefreshNames(context.Background(), "db.test"); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if n, err := c.RefreshNames(context.Background(), ""); n != 1 || err != nil {
		t.Errorf("%d, %v", n, err)
	}
	if _, err := c.RefreshNames(context.Background(), "none.test"); err == nil || err.Error() != `the name "none.test" is not watched` {
		t.Errorf("%v", err)
	}
	if !slices.Equal(f.refreshed, []string{"db.test", "", "none.test"}) {
		t.Errorf("%q", f.refreshed)
	}
}
