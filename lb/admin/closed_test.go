package admin

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Nothing of the process, and nothing of the file, is served.
func TestSE10NoProfilesAndNoConfig(t *testing.T) {
	s := start(t, Settings{Listen: "127.0.0.1:0"}, example())
	for _, path := range []string{"/debug/pprof/", "/debug/pprof/heap", "/debug/vars", "/config", "/v1/config", "/v1/status/../config"} {
		if code, _, body := ask(t, s, "GET", path); code != http.StatusNotFound && code != http.StatusTemporaryRedirect && code != http.StatusMovedPermanently {
			t.Errorf("%s: %d %s", path, code, body)
		}
	}
}

// Clients that open connections and say nothing, or half of a request, are let go, and meanwhile cost no more than their places.
func TestSE4SlowClientsAreLetGo(t *testing.T) {
	t.Parallel() // it waits for the API's patience
	s := start(t, Settings{Listen: "127.0.0.1:0"}, example())
	var slow []net.Conn
	for i := range maxConns {
		c, err := net.Dial("tcp", s.Addr())
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		_ = c.SetDeadline(time.Now().Add(patience))
		switch i % 3 {
		case 1:
			fmt.Fprint(c, "GET /v1/status HTTP/1.1\r\nHost: localhost\r\n")
		case 2:
			fmt.Fprint(c, "POST /v1/dns/refresh HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{")
		}
		slow = append(slow, c)
	}
	// All places are taken: this one is served when the others have been let go.
	c, err := net.Dial("tcp", s.Addr())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	fmt.Fprint(c, "GET /livez HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
	reply, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil || reply.StatusCode != http.StatusOK {
		t.Errorf("%v %v", reply, err)
	}
	for i, c := range slow {
		said, err := io.ReadAll(c)
		if err != nil && !strings.Contains(err.Error(), "reset") {
			t.Errorf("client %d: %v", i, err)
		}
		if i%3 == 2 && !strings.HasPrefix(string(said), "HTTP/1.1 400 ") {
			t.Errorf("client %d is told %q", i, said)
		}
	}
}
