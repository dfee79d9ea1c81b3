package admin

import (
	"io/fs"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

func TestDashboardIsServed(t *testing.T) {
	s := start(t, Settings{Listen: "127.0.0.1:0", Access: Access{Token: fullToken, ReadToken: readToken}}, new(fake))
	ask := func(method, path, token string) *http.Response {
		t.Helper()
		req, err := http.NewRequest(method, "http://"+s.Addr()+path, nil)
		if err != nil {
			t.Fatal(err)
		}
		if token != "" {
			req.SetBasicAuth("anyone", token) // as a browser does
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		return resp
	}
	for path, kind := range map[string]string{
		"/": "text/html; charset=utf-8", "/dashboard/app.js": "text/javascript; charset=utf-8", "/dashboard/style.css": "text/css; charset=utf-8",
	} {
		for token, allowed := range map[string]string{fullToken: "all", readToken: "read"} {
			resp := ask(http.MethodGet, path, token)
			h := resp.Header
			if resp.StatusCode != http.StatusOK || h.Get("Content-Type") != kind || h.Get(may) != allowed || h.Get("Content-Security-Policy") != pagePolicy ||
				h.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("%s with %s: %d %v", path, token, resp.StatusCode, h)
			}
		}
		if resp := ask(http.MethodGet, path, ""); resp.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s without a token: %d", path, resp.StatusCode)
		}
		if resp := ask(http.MethodPost, path, fullToken); resp.StatusCode != http.StatusMethodNotAllowed || resp.Header.Get("Allow") != "GET, HEAD" {
			t.Errorf("POST %s: %d", path, resp.StatusCode)
		}
	}
	for _, path := range []string{"/dashboard/", "/dashboard/index.html", "/dashboard/../status.go", "/index.html"} {
		if resp := ask(http.MethodGet, path, fullToken); resp.StatusCode != http.StatusNotFound {
			t.Errorf("%s: %d", path, resp.StatusCode)
		}
	}
}

// The page needs nobody else, and makes no elements of text.
func TestDashboardStandsAlone(t *testing.T) {
	foreign := regexp.MustCompile(`https?://|//[a-z]+\.|@import|url\(`)
	asHTML := regexp.MustCompile(`innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|new Function|\sstyle=|\son[a-z]+=`)
	err := fs.WalkDir(dashboardFiles, ".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := fs.ReadFile(dashboardFiles, path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(strings.ReplaceAll(string(text), "http://www.w3.org/2000/svg", ""), "\n") {
			if foreign.MatchString(line) || asHTML.MatchString(line) {
				t.Errorf("%s:%d: %s", path, i+1, line)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}
