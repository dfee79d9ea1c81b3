package lb

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// newPathRig is a rig whose listener is at a path, with one backend.
func newPathRig(t *testing.T) (*rig, string, *backendServer) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "front.sock")
	list, port := backends(t, "127.0.0.1")
	r := newRig(t)
	r.pool().Backends = []config.Backend{named("127.0.0.1", port)}
	r.listener().Listen = []config.Endpoint{{Network: "unix", Path: path}}
	return r, path, list[0]
}

func dialPath(t *testing.T, path string) *net.UnixConn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(patience))
	return c.(*net.UnixConn)
}

// Clients at a path are served like others: bytes both ways, ends passed on, one line that says where they came from.
func TestPathListener(t *testing.T) {
	r, path, b := newPathRig(t)
	r.listener().Allow = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} // which is about addresses
	r.listener().Socket.Mode = 0o660
	r.serve()
	info, err := os.Lstat(path)
	if err != nil || info.Mode() != fs.ModeSocket|0o660 {
		t.Fatalf("%v, %v", info, err)
	}
	if l := r.server.Status().Listeners[0]; l.Address != path || l.Protocol != "unix" {
		t.Errorf("listener %+v", l)
	}
	c := dialPath(t, path)
	if who := greeting(t, c); who != b.addr {
		t.Errorf("served by %v", who)
	}
	conns, _ := r.server.Conns(admin.ConnFilter{})
	if len(conns) != 1 || conns[0].Client != "unix" || conns[0].Local != path || conns[0].Protocol != "unix" {
		t.Errorf("%+v", conns)
	}
	sent := bytes.Repeat([]byte("0123456789abcdef"), 4<<16) // 4 MiB: bulk, beyond every buffer
	go func() {
		c.Write(sent)
		c.CloseWrite()
	}()
	got, err := io.ReadAll(c)
	if err != nil || !bytes.Equal(got, sent) {
		t.Errorf("%d bytes came back of %d, %v", len(got), len(sent), err)
	}
	if ends := r.awaitEnds(1); ends[0] != "client_fin" {
		t.Errorf("ended %v", ends)
	}
	line := r.logs.find("session")[0]
	if line["client"] != "unix" || line["local"] != path || line["proto"] != "unix" || line["in"] != float64(len(sent)) {
		t.Errorf("%v", line)
	}
	r.closed()
}

// A client that leaves with what it was sent unread has aborted, and the peer learns that.
func TestPathClientAborts(t *testing.T) {
	r, path, _ := newPathRig(t)
	r.serve()
	for range 5 {
		c := dialPath(t, path)
		if _, err := c.Write([]byte("x")); err != nil {
			t.Fatal(err)
		}
		for b := make([]byte, 1); b[0] != '\n'; { // the greeting; the echo is left
			if _, err := io.ReadFull(c, b); err != nil {
				t.Fatal(err)
			}
		}
		c.Close()
	}
	for _, word := range r.awaitEnds(5) {
		if word != "client_reset" && word != "client_fin" { // by whether the echo was there when it left
			t.Errorf("ended %s", word)
		}
	}
	r.closed()
}

// Limits hold, and who is turned away is told in the words of the pool.
func TestPathClientIsTurnedAway(t *testing.T) {
	r, path, _ := newPathRig(t)
	r.listener().MaxConns = 1
	r.pool().RefuseWith = "redis"
	r.serve()
	held := dialPath(t, path)
	greeting(t, held)
	c := dialPath(t, path)
	if _, err := c.Write([]byte("*1\r\n$4\r\nPING\r\n")); err != nil {
		t.Fatal(err)
	}
	told := make([]byte, 1)
	if _, err := io.ReadFull(c, told); err != nil || told[0] != '-' {
		t.Errorf("got %q, %v", told, err)
	}
	if ends := r.awaitEnds(1); ends[0] != "limit" {
		t.Errorf("ended %v", ends)
	}
}

// With proxy_in, who may write to the path is believed.
func TestPathClientSaysWhoItIs(t *testing.T) {
	r, path, _ := newPathRig(t)
	r.listener().ProxyIn = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
	r.listener().PrereadTimeout = patience
	r.serve()
	c := dialPath(t, path)
	if _, err := c.Write([]byte("PROXY TCP4 198.51.100.7 198.51.100.1 1234 5432\r\n")); err != nil {
		t.Fatal(err)
	}
	greeting(t, c)
	if conns, _ := r.server.Conns(admin.ConnFilter{}); len(conns) != 1 || conns[0].Client != "198.51.100.7:1234" || conns[0].Local != "198.51.100.1:5432" {
		t.Errorf("%+v", conns)
	}
}

// A path that a dead process left is taken over; one that lives, or is something else, is an error that names it.
func TestPathThatIsTaken(t *testing.T) {
	r, path, _ := newPathRig(t)
	dead, err := net.ListenUnix("unix", &net.UnixAddr{Name: path, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	dead.SetUnlinkOnClose(false)
	dead.Close()
	r.serve()
	greeting(t, dialPath(t, path))

	next := *r.conf
	next.Listeners = slices.Clone(r.conf.Listeners)
	next.Listeners[0].Listen = slices.Clone(next.Listeners[0].Listen)
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	next.Listeners[0].Listen = append(next.Listeners[0].Listen, config.Endpoint{Network: "unix", Path: file})
	r.next.Store(&next)
	if _, err := r.server.Reload(); err == nil || !strings.Contains(err.Error(), file+" is there already, and is no socket") {
		t.Errorf("reload: %v", err)
	}
	greeting(t, dialPath(t, path))
	if _, err := os.Lstat(path); err != nil {
		t.Error(err)
	}
}

// A reload keeps the socket of a path that stays, gives it its new settings, and removes one that goes; those who live there
// live on.
func TestReloadOfPaths(t *testing.T) {
	r, path, _ := newPathRig(t)
	second := filepath.Join(t.TempDir(), "second.sock")
	r.listener().Listen = append(r.listener().Listen, config.Endpoint{Network: "unix", Path: second})
	r.serve()
	before, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	held := dialPath(t, second)
	greeting(t, held)

	next := *r.conf
	next.Listeners = slices.Clone(r.conf.Listeners)
	next.Listeners[0].Listen, next.Listeners[0].MaxConns = next.Listeners[0].Listen[:1], 7
	r.next.Store(&next)
	if _, err := r.server.Reload(); err != nil {
		t.Fatal(err)
	}
	if after, err := os.Lstat(path); err != nil || !os.SameFile(before, after) {
		t.Errorf("the path is another: %v", err)
	}
	if _, err := os.Lstat(second); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the path that goes: %v", err)
	}
	if _, err := held.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(held, make([]byte, 1)); err != nil {
		t.Error(err)
	}
	greeting(t, dialPath(t, path))

	mode := next
	mode.Listeners = slices.Clone(next.Listeners)
	mode.Listeners[0].Socket.Mode = 0o666
	r.next.Store(&mode)
	if _, err := r.server.Reload(); err == nil || !strings.Contains(err.Error(), "listener front socket.mode: changed, which takes a restart, or another address") {
		t.Errorf("reload: %v", err)
	}
}

// At the end the path is removed, unless another process has taken it over meanwhile.
func TestPathIsRemovedAtTheEnd(t *testing.T) {
	for _, replaced := range []bool{false, true} {
		r, path, _ := newPathRig(t)
		r.serve()
		if replaced {
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			heir, err := net.Listen("unix", path)
			if err != nil {
				t.Fatal(err)
			}
			defer heir.Close()
		}
		r.cancel()
		eventually(t, "the end", func() bool { return len(r.logs.find("stopped")) > 0 || len(r.done) > 0 })
		_, err := os.Lstat(path)
		if gone := errors.Is(err, fs.ErrNotExist); gone == replaced {
			t.Errorf("replaced %t: %v", replaced, err)
		}
		if !replaced {
			if _, err := net.Dial("unix", path); !errors.Is(err, syscall.ENOENT) {
				t.Errorf("dial: %v", err)
			}
		}
	}
}
