package lb

import (
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// A token comes, changes and goes without another socket; a connection that was there before asks under the new rules.
func TestReloadOfATokenKeepsTheSocket(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.serve()
	addr := r.server.running().admin.Addr()
	asked := func(token string) error {
		_, err := admin.NewClient(addr, token).Status(context.Background())
		return err
	}
	for _, step := range []struct {
		token   config.Secret
		answers []string
		refuses []string
	}{
		{"first-0123456789", []string{"first-0123456789"}, []string{"", "second-0123456789"}},
		{"second-0123456789", []string{"second-0123456789"}, []string{"", "first-0123456789"}},
		{"", []string{"", "anything"}, nil},
	} {
		r.reloads(func(c *config.Config) { c.Admin.Token = step.token }, "admin: changed token_file")
		for _, token := range step.answers {
			if err := asked(token); err != nil {
				t.Errorf("token %q of %q: %v", token, string(step.token), err)
			}
		}
		for _, token := range step.refuses {
			if err := asked(token); err == nil || !strings.Contains(err.Error(), "a token is missing or wrong") {
				t.Errorf("token %q of %q: %v", token, string(step.token), err)
			}
		}
	}
	if got := r.server.running().admin.Addr(); got != addr {
		t.Errorf("the API moved to %s", got)
	}
}

// The API moves to a path and back; its mode is that of the socket, which is not made again.
func TestReloadMovesTheAPIToAPath(t *testing.T) {
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.serve()
	dir, err := os.MkdirTemp("", "ebb") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "admin.sock")
	was := r.server.running().admin.Addr()
	r.reloads(func(c *config.Config) { c.Admin = config.Admin{Listen: "unix:" + path, Mode: 0o600, Group: -1} }, "admin: changed listen, mode, group")
	if _, err := admin.NewClient("unix:"+path, "").Status(context.Background()); err != nil {
		t.Error(err)
	}
	eventually(t, "the old address is free", func() bool {
		ln, err := net.Listen("tcp", was)
		if err == nil {
			ln.Close()
		}
		return err == nil
	})
	if _, err := r.reload(func(c *config.Config) { c.Admin.Mode = 0o666 }); err == nil || !strings.Contains(err.Error(), "admin.mode: changed, which takes a restart, or another path") {
		t.Errorf("%v", err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
	taken := filepath.Join(dir, "taken")
	if err := os.WriteFile(taken, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := r.reload(func(c *config.Config) { c.Admin.Listen = "unix:" + taken }); err == nil || !strings.Contains(err.Error(), "is no socket") {
		t.Errorf("%v", err)
	}
	r.reloads(func(c *config.Config) { c.Admin = config.Admin{Listen: "127.0.0.1:0"} }, "admin: changed listen, mode, group")
	eventually(t, "the path is free", func() bool { _, err := os.Stat(path); return os.IsNotExist(err) })
	if _, err := admin.NewClient(r.server.running().admin.Addr(), "").Status(context.Background()); err != nil {
		t.Error(err)
	}
}
