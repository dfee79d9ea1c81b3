package main

import (
	"fmt"
	"io"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// Every verb that asks reaches an API at a path, and brings the token, by flags or as the environment has it.
func TestAskAtAPathWithAToken(t *testing.T) {
	dir, err := os.MkdirTemp("", "ebb") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	at, token := "unix:"+filepath.Join(dir, "admin.sock"), filepath.Join(dir, "token")
	wrong, public := filepath.Join(dir, "wrong"), filepath.Join(dir, "public")
	for file, text := range map[string]string{token: "0123456789abcdef\n", wrong: "0123456789abcdeX\n", public: "0123456789abcdef\n"} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chmod(public, 0o644); err != nil {
		t.Fatal(err)
	}
	backend := echo(t)
	ready, fd := inherited(t)
	c := begin(t, "run", "--listen", "tcp://"+freeAddr(t), "--to", backend, "--admin", at, "--admin-token-file", token, "--ready-fd", strconv.Itoa(fd))
	if said, err := io.ReadAll(ready); err != nil || string(said) != "\n" {
		t.Fatalf("ready: %q, %v\n%s", said, err, c.stderr.String())
	}
	with := []string{"--admin", at, "--admin-token-file", token}
	for _, verb := range []string{
		"status", "conns", "events", "explain default", "dns", "dns refresh", "hold default", "release default", "drain default " + backend,
		"ready default " + backend, "weight default " + backend + " 3",
	} {
		if code, _, stderr := runAll(t, append(strings.Fields(verb), with...)...); code != exitDone {
			t.Errorf("%s: %d %s", verb, code, stderr)
		}
		code, stdout, stderr := runAll(t, append(strings.Fields(verb), "--admin", at)...)
		if code != exitFailed || stdout != "" || !strings.Contains(stderr, "a token is missing or wrong") || !strings.Contains(stderr, "--admin-token-file") {
			t.Errorf("%s without a token: %d %s%s", verb, code, stdout, stderr)
		}
	}
	if code, _, stderr := runAll(t, "kill", "--pool", "default", "--admin", at, "--admin-token-file", wrong); code != exitFailed || !strings.Contains(stderr, "a token is missing or wrong") {
		t.Errorf("the wrong token: %d %s", code, stderr)
	}
	for file, want := range map[string]string{
		filepath.Join(dir, "none"): "open: no such file or directory\n", dir: "read: is a directory\n",
	} {
		if code, _, stderr := runAll(t, "status", "--admin", at, "--admin-token-file", file); code != exitUsage || stderr != "ebb: status: --admin-token-file "+file+": "+want {
			t.Errorf("%s: %d %s", file, code, stderr)
		}
	}
	for _, c := range []struct{ typed, want string }{
		{"hold [ADMIN] ", "default"},
		{"release [ADMIN] default ", ""},
		{"switch [ADMIN] ", "default"},
		{"switch [ADMIN] default --to ", backend},
		{"drain [ADMIN] ", "default"},
		{"maint [ADMIN] default ", backend},
		{"ready [ADMIN] default " + backend + " ", ""},
		{"weight [ADMIN] none ", ""},
		{"explain [ADMIN] ", "default"},
		{"conns [ADMIN] --peer ", backend},
		{"kill [ADMIN] --listener ", "default"},
		{"dns refresh [ADMIN] ", "127.0.0.1"},
		{"hold ", ""}, // of nobody
	} {
		line := strings.Fields(strings.ReplaceAll(c.typed, "[ADMIN]", strings.Join(with, " ")))
		if len(line) == 1 {
			line = append(line, "--admin", "unix:"+filepath.Join(dir, "none"))
		}
		code, stdout, _ := runAll(t, append(append([]string{"__complete"}, line...), "")...)
		want := c.want
		if want != "" {
			want += "\n"
		}
		if code != exitDone || stdout != want+":4\n" { // 4: no files
			t.Errorf("%s: %d %q, want %q", c.typed, code, stdout, want)
		}
	}
	t.Setenv(adminVariable, at)
	t.Setenv(tokenVariable, token)
	if code, _, stderr := runAll(t, "status"); code != exitDone {
		t.Errorf("by the environment: %d %s", code, stderr)
	}
	c.stop()
	if code := c.wait(t); code != exitDone {
		t.Errorf("exit %d", code)
	}
	for _, file := range []string{public, filepath.Join(dir, "none")} { // SE-9
		code, _, stderr := runAll(t, "run", "--listen", "tcp://"+freeAddr(t), "--to", backend, "--admin", at, "--admin-token-file", file)
		if code != exitUsage || !strings.Contains(stderr, "--admin-token-file: found") {
			t.Errorf("run with %s: %d %s", file, code, stderr)
		}
	}
}

// Who may not ask is told so, and not that nobody is there.
func TestRemedy(t *testing.T) {
	for _, test := range []struct {
		err  error
		want string
	}{
		{syscall.EACCES, fmt.Sprintf("user %d may not; ", os.Getuid())},
		{syscall.ECONNREFUSED, "is ebb running?"},
		{syscall.ENOENT, "is ebb running?"},
	} {
		err := &url.Error{Op: "Get", URL: "http://x", Err: &net.OpError{Op: "dial", Net: "unix", Err: os.NewSyscallError("connect", test.err)}}
		if got := remedy(err); !strings.HasPrefix(got, test.want) {
			t.Errorf("%v: %q", test.err, got)
		}
	}
}
