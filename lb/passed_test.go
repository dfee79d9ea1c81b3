package lb

import (
	"context"
	"log/slog"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/ebb-lb/ebb/lb/admin"
	"github.com/ebb-lb/ebb/lb/config"
)

// manager is what a service manager does: it makes sockets, names them and holds them open.
type manager struct {
	t     *testing.T
	files []*os.File
}

// passes adds a socket, which it has from a listener or a connection, under a name.
func (m *manager) passes(name string, s interface{ File() (*os.File, error) }) {
	m.t.Helper()
	f, err := s.File()
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	m.names(name, f)
}

// names adds a copy of a file.
func (m *manager) names(name string, f *os.File) {
	m.t.Helper()
	fd, err := unix.Dup(int(f.Fd()))
	if err != nil {
		m.t.Fatal(err)
	}
	named := os.NewFile(uintptr(fd), name)
	m.t.Cleanup(func() { named.Close() })
	m.files = append(m.files, named)
}

// tcp passes a listening socket, and tells its address.
func (m *manager) tcp(name, at string) string {
	m.t.Helper()
	ln, err := net.Listen("tcp", at)
	if err != nil {
		m.t.Fatal(err)
	}
	defer ln.Close()
	m.passes(name, ln.(*net.TCPListener))
	return ln.Addr().String()
}

func (m *manager) udp(name, at string) string {
	m.t.Helper()
	pc, err := net.ListenPacket("udp", at)
	if err != nil {
		m.t.Fatal(err)
	}
	defer pc.Close()
	m.passes(name, pc.(*net.UDPConn))
	return pc.LocalAddr().String()
}

func passedEndpoint(network, name string) []config.Endpoint {
	return []config.Endpoint{{Network: network, Passed: name}}
}

// A socket of the service manager serves, stays through reloads that touch its listener, and waits, still open, while no
// listener has it.
func TestPassedSocketsOutliveTheirListeners(t *testing.T) {
	r := newRig(t)
	m := &manager{t: t}
	addr := m.tcp("pg", "127.0.0.1:0")
	m.tcp("spare", "127.0.0.1:0")
	list, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.listener().Listen = passedEndpoint("tcp", "pg")
	r.sockets = m.files
	early, err := net.Dial("tcp", addr) // before there is an ebb
	if err != nil {
		t.Fatal(err)
	}
	defer early.Close()
	r.serve()
	early.SetDeadline(time.Now().Add(patience))
	greeting(t, early)
	if at := r.addr(); at != addr {
		t.Errorf("it listens on %s, not %s", at, addr)
	}
	if unused := r.logs.find("socket not used"); len(unused) != 1 || unused[0]["name"] != "spare" {
		t.Errorf("%v", unused)
	}
	port := r.server.running().listeners[0].port
	r.reloads(func(c *config.Config) { c.Listeners[0].Name, c.Listeners[0].MaxConns = "other", 7 }, "listener front: removed", "listener other: added")
	if r.server.running().listeners[0].port != port {
		t.Error("the socket was taken anew")
	}
	greeting(t, r.dial())

	elsewhere := []config.Endpoint{{Network: "tcp", Addr: netip.MustParseAddrPort("127.0.0.1:0")}}
	r.reloads(func(c *config.Config) { c.Listeners[0].Listen = elsewhere }, "listener other: changed listen")
	waits, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal("the socket is closed: ", err)
	}
	defer waits.Close()
	r.reloads(func(c *config.Config) { c.Listeners[0].Listen = passedEndpoint("tcp", "pg") }, "listener other: changed listen")
	waits.SetDeadline(time.Now().Add(patience))
	greeting(t, waits)

	if _, err := r.reload(func(c *config.Config) { c.Listeners[0].Listen = passedEndpoint("tcp", "no") }); err == nil || !strings.Contains(err.Error(), `listener other: the service manager has passed no socket of tcp named "no", but "pg" (tcp), "spare" (tcp)`) {
		t.Errorf("%v", err)
	}
	greeting(t, r.dial())
	waits.Close()
	early.Close()
}

func TestPassedSocketOfUDP(t *testing.T) {
	for _, at := range []string{"127.0.0.1:0", "0.0.0.0:0", "[::]:0"} {
		t.Run(at, func(t *testing.T) {
			r := newRig(t)
			m := &manager{t: t}
			addr := m.udp("dns", at)
			peer := echoUDP(t, "127.0.0.2", 0).LocalAddr().(*net.UDPAddr).AddrPort()
			r.pool().Backends = []config.Backend{literal(peer)}
			r.listener().Listen = passedEndpoint("udp", "dns")
			r.sockets = m.files
			r.serve()
			_, port, _ := net.SplitHostPort(addr)
			c, err := net.Dial("udp", "127.0.0.1:"+port)
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			c.SetDeadline(time.Now().Add(patience))
			if _, err := c.Write([]byte("hello")); err != nil {
				t.Fatal(err)
			}
			b := make([]byte, 64)
			if n, err := c.Read(b); err != nil || string(b[:n]) != peer.String() {
				t.Errorf("%q %v", b[:n], err)
			}
		})
	}
}

// The API takes a path or an address that the service manager has bound. One that other hosts reach needs a token, here too.
func TestPassedSocketOfTheAPI(t *testing.T) {
	dir, err := os.MkdirTemp("", "ebb") // t.TempDir may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "api.sock")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	m := &manager{t: t}
	m.passes("path", ln.(*net.UnixListener))
	local := m.tcp("local", "127.0.0.1:0")
	open := m.tcp("open", "0.0.0.0:0")
	r := newRig(t)
	list, _ := backends(t, "127.0.0.2")
	r.pool().Backends = []config.Backend{literal(list[0].addr)}
	r.conf.Admin = config.Admin{Listen: "systemd:path", Group: -1}
	r.sockets = m.files
	r.serve()
	asks := func(addr, token string) {
		t.Helper()
		if _, err := admin.NewClient(addr, token).Status(context.Background()); err != nil {
			t.Error(err)
		}
	}
	asks("unix:"+path, "")
	r.reloads(func(c *config.Config) { c.Admin.Listen = "systemd:local" }, "admin: changed listen")
	asks(local, "")
	if _, err := r.reload(func(c *config.Config) { c.Admin.Listen = "systemd:open" }); err == nil || !strings.Contains(err.Error(), "other hosts may ask only with a token") {
		t.Errorf("%v", err)
	}
	asks(local, "")
	const token = "0123456789abcdef"
	r.reloads(func(c *config.Config) { c.Admin.Listen, c.Admin.Token = "systemd:open", token }, "admin: changed listen, token_file")
	_, port, _ := net.SplitHostPort(open)
	asks("127.0.0.1:"+port, token)
	r.reloads(func(c *config.Config) { c.Admin.Token = "" }, "admin: changed token_file")
	if _, err := admin.NewClient("127.0.0.1:"+port, "").Status(context.Background()); err == nil {
		t.Error("an address that other hosts reach answers without a token")
	}
	if _, err := os.Stat(path); err != nil {
		t.Errorf("the path of the service manager: %v", err)
	}
}

// What was passed on and is something else is named; nothing is served then.
func TestPassedSocketsThatAreNone(t *testing.T) {
	m := &manager{t: t}
	m.udp("a", "127.0.0.1:0")
	m.tcp("twice", "127.0.0.1:0")
	m.tcp("twice", "127.0.0.1:0")
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	c, err := net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	m.passes("accepted", c.(*net.TCPConn))
	file, err := os.CreateTemp(t.TempDir(), "")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m.names("file", file)
	for _, test := range []struct {
		files      []*os.File
		name, want string
	}{
		{nil, "a", `the service manager has passed no sockets, expected one of tcp named "a"`},
		{m.files[:1], "a", `the service manager has passed no socket of tcp named "a", but "a" (udp)`},
		{m.files, "twice", `the service manager has passed 2 sockets of tcp named "twice", expected one`},
		{m.files, "accepted", `the socket "accepted" of the service manager: it is one connection, and does not listen`},
		{m.files, "file", `the socket "file" of the service manager: socket operation on non-socket`},
	} {
		r := newRig(t)
		r.listener().Listen = passedEndpoint("tcp", test.name)
		err := Run(context.Background(), r.conf, RunOptions{Log: NewLogger(r.logs, NewLogForm("json"), slog.LevelInfo), Sockets: test.files})
		if err == nil || !strings.Contains(err.Error(), "listener front: "+test.want) {
			t.Errorf("%s: %v", test.name, err)
		}
	}
}
