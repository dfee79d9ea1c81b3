package admin

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// socketPath is short enough for every system, which t.TempDir need not be.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ebb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "admin.sock")
}

func TestSocketAtAPath(t *testing.T) {
	path := socketPath(t)
	s, err := NewServer(Settings{Listen: "unix:" + path, Mode: 0o640, Group: os.Getgid()}, example(), NewMetrics(nothing), NewEvents(), quiet)
	if err != nil {
		t.Fatal(err)
	}
	go s.Serve()
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o640 {
		t.Fatalf("%v, %v", info, err)
	}
	got, err := NewClient("unix:"+path, "").Status(context.Background())
	if err != nil || got.Version != "1" {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := NewServer(Settings{Listen: "unix:" + path, Mode: 0o600, Group: -1}, example(), NewMetrics(nothing), NewEvents(), quiet); err == nil ||
		err.Error() != "admin: listen unix "+path+": address already in use" {
		t.Errorf("a path that is served: %v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o640 {
		t.Errorf("the other one's socket: %v, %v", info, err)
	}
	s.Shutdown(context.Background())
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
	if _, err := NewClient("unix:"+path, "").Status(context.Background()); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("nobody there: %v", err)
	}
}

// Tokens hold for a path too.
func TestSocketWithToken(t *testing.T) {
	path := socketPath(t)
	start(t, Settings{Listen: "unix:" + path, Mode: 0o600, Group: -1, Access: Access{Token: fullToken}}, example())
	if _, err := NewClient("unix:"+path, "").Status(context.Background()); err == nil || !strings.Contains(err.Error(), "a token is missing or wrong") {
		t.Errorf("without: %v", err)
	}
	if _, err := NewClient("unix:"+path, fullToken).Status(context.Background()); err != nil {
		t.Errorf("with: %v", err)
	}
}

// What a dead process left is taken over; what is something else is not touched.
func TestWhatIsAtThePath(t *testing.T) {
	path := socketPath(t)
	left, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	left.SetUnlinkOnClose(false)
	left.Close()
	start(t, Settings{Listen: "unix:" + path, Mode: 0o600, Group: -1}, example())
	if _, err := NewClient("unix:"+path, "").Status(context.Background()); err != nil {
		t.Error(err)
	}

	file := socketPath(t)
	if err := os.WriteFile(file, []byte("mine"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, at := range []string{file, filepath.Dir(file), file + "/under", filepath.Dir(file) + "/none/admin.sock"} {
		s, err := NewServer(Settings{Listen: "unix:" + at, Mode: 0o600, Group: -1}, example(), NewMetrics(nothing), NewEvents(), quiet)
		if err == nil {
			t.Errorf("%s: listens", at)
			s.Close()
		} else if !strings.HasPrefix(err.Error(), "admin: ") || !strings.Contains(err.Error(), at) {
			t.Errorf("%s: %v", at, err)
		}
	}
	if b, err := os.ReadFile(file); err != nil || string(b) != "mine" {
		t.Errorf("%q, %v", b, err)
	}
}

// A socket that cannot be what it should be is not left behind.
func TestSocketWithAGroupThatIsNotOurs(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may give files to every group")
	}
	path := socketPath(t)
	if s, err := NewServer(Settings{Listen: "unix:" + path, Mode: 0o660, Group: 0}, example(), NewMetrics(nothing), NewEvents(), quiet); err == nil {
		t.Error("took a group that is not its own")
		s.Close()
	}
	if _, err := os.Stat(path); !os.IsNotExist(err) {
		t.Errorf("left behind: %v", err)
	}
}
