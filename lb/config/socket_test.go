package config

import (
	"net/netip"
	"reflect"
	"strconv"
	"strings"
	"testing"
	"time"
)

// in gives the whole config with lines in the socket table of the listener or of the pool.
func in(table, listen, lines string) string {
	text := strings.Replace(whole, "tcp://127.0.0.1:5432", listen, 1)
	return text + "\n" + "[" + table + ".socket]\n" + lines + "\n"
}

func TestSocketOptionsAreRead(t *testing.T) {
	both := `nodelay = false
keepalive_idle = "20s"
keepalive_interval = "30s"
keepalive_count = 4
user_timeout = "1500ms"
congestion = "reno"
send_buffer = 4096
receive_buffer = 1073741824
mark = 4294967295
interface = "eth0"
freebind = true
transparent = true
`
	want := Socket{
		KeepaliveIdle: 20 * time.Second, KeepaliveInterval: 30 * time.Second, KeepaliveCount: 4, UserTimeout: 1500 * time.Millisecond,
		Congestion: "reno", SendBuffer: 4096, ReceiveBuffer: 1 << 30, Mark: 1<<32 - 1, Interface: "eth0", Freebind: true, Transparent: true,
	}
	c, err := Parse("f", in("listener", "tcp://[::]:5432", both+"defer_accept = \"1s\"\nfast_open = 65535\nv6only = true\nreuse_port = true"), nil)
	if err != nil {
		t.Fatal(err)
	}
	if got := c.Listeners[0].Socket; got != (ClientSocket{Socket: want, DeferAccept: time.Second, FastOpen: 65535, V6Only: true, ReusePort: true, Mode: 0o600, Group: -1}) {
		t.Errorf("%+v", got)
	}
	if got := c.Pools[0].Socket; !reflect.DeepEqual(got, defaults().Pools[0].Socket) {
		t.Errorf("the pool has %+v", got)
	}
	c, err = Parse("f", in("pool.p", "tcp://[::]:5432", both+"source = [\"10.0.0.1\", \"2001:db8::1\", \"10.0.0.2\"]\nsource_ports = \"40000-40009\""), nil)
	if err != nil {
		t.Fatal(err)
	}
	peers := PeerSocket{Socket: want, Source: []netip.Addr{netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("10.0.0.2")}, SourcePorts: [2]uint16{40000, 40009}}
	if got := c.Pools[0].Socket; !reflect.DeepEqual(got, peers) {
		t.Errorf("%+v", got)
	}
	for text, client := range map[string]bool{`source = "auto"`: false, `source = "client"`: true} {
		if c, err = Parse("f", in("pool.p", "tcp://[::]:5432", text), nil); err != nil || c.Pools[0].Socket.FromClient != client {
			t.Errorf("%s: %v", text, err)
		}
	}
}

func TestSocketOptionsThatCannotBe(t *testing.T) {
	for _, test := range []struct{ table, listen, line, problem string }{
		{"listener", "tcp://:1", `keepalive_idle = "1500ms"`, `keepalive_idle: found "1500ms", expected whole seconds, from 1s to 32767s, or "off"`},
		{"listener", "tcp://:1", `keepalive_idle = "0s"`, `keepalive_idle: found "0s", expected whole seconds, from 1s to 32767s, or "off"`},
		{"listener", "tcp://:1", `keepalive_interval = "off"`, `keepalive_interval: found "off", expected a duration with its unit (ms, s, m, h), such as "30s"`},
		{"listener", "tcp://:1", `keepalive_count = 128`, `keepalive_count: found 128, expected a whole number from 1 to 127`},
		{"listener", "tcp://:1", `user_timeout = 5`, `user_timeout: found 5, expected a duration with its unit (ms, s, m, h), such as "30s", or "off"`},
		{"listener", "tcp://:1", `congestion = "a b"`, `congestion: found "a b", expected the name of a congestion control of the kernel, such as "bbr", or "auto"`},
		{"listener", "tcp://:1", `send_buffer = 0`, `send_buffer: found 0, expected a whole number from 4096 to 1073741824, or "auto"`},
		{"listener", "tcp://:1", `mark = 4294967296`, `mark: found 4294967296, expected a whole number from 1 to 4294967295, or "off"`},
		{"listener", "tcp://:1", `interface = "a/b"`, `interface: found "a/b", expected the name of an interface or VRF, of at most 15 bytes, or "any"`},
		{"listener", "tcp://:1", `interface = "0123456789abcdef"`, `interface: found "0123456789abcdef", expected the name of an interface or VRF, of at most 15 bytes, or "any"`},
		{"listener", "tcp://:1", `defer_accept = "2h"`, `defer_accept: found "2h", expected whole seconds, from 1s to 3600s, or "off"`},
		{"listener", "tcp://:1", `source = "10.0.0.1"`, `source: unknown key here, it belongs to [pool.NAME.socket]`},
		{"listener", "tcp://0.0.0.0:1", `v6only = true`, `v6only: found without an address that is all of IPv6, expected one such as "tcp://[::]:1"`},
		{"listener", "udp://:1", `user_timeout = "1s"`, `user_timeout: found on a listener without TCP, expected an address of that: nothing else has user_timeout`},
		{"listener", "udp://:1", `defer_accept = "1s"`, `defer_accept: found on a listener without TCP, expected an address of that: nothing else has defer_accept`},
		{"listener", "tcp://:1", `mode = "0666"`, `mode: found on a listener without a path, expected an address such as "unix:/run/ebb/a.sock"`},
		{"listener", "unix:/run/a.sock", `mode = "666"`, `mode: found "666", expected four octal digits, such as "0660"`},
		{"listener", "unix:/run/a.sock", `mark = 1`, `mark: found on a listener that is a path, expected TCP or UDP`},
		{"listener", "unix:/run/a.sock", `nodelay = true`, `nodelay: found on a listener without TCP, expected an address of that: nothing else has nodelay`},
		{"pool.p", "tcp://:1", `v6only = true`, `v6only: unknown key here, it belongs to [listener.socket]`},
		{"pool.p", "tcp://:1", `source = "db.test"`, `source: found "db.test", expected "auto", "client" or an address`},
		{"pool.p", "tcp://:1", `source = ["10.0.0.1", "10.0.0.2", "10.0.0.1"]`, `source: found "10.0.0.1" twice, expected each address once`},
		{"pool.p", "tcp://:1", `source = ["::1", "::2", "::3", "::4", "::5", "::6", "::7", "::8", "10.0.0.1", "::9"]`, `source: found "::9", expected at most 8 addresses of each family`},
		{"pool.p", "tcp://:1", `source = []`, `source: found an empty list, expected "auto", "client" or an address`},
		{"pool.p", "tcp://:1", `source_ports = "9-8"`, `source_ports: found "9-8", expected "auto", or a range of ports such as "20000-29999"`},
		{"pool.p", "tcp://:1", `source_ports = "40000"`, `source_ports: found "40000", expected "auto", or a range of ports such as "20000-29999"`},
	} {
		_, err := Parse("f", in(test.table, test.listen, test.line), nil)
		line := strings.Count(whole, "\n") + 3
		problems(t, err, "f:"+strconv.Itoa(line)+": "+test.table+".socket."+test.problem)
	}
	_, err := Parse("f", in("listener", "tcp://:1", "keepalive_idle = \"off\"\nkeepalive_count = 3"), nil)
	problems(t, err, "f:"+strconv.Itoa(strings.Count(whole, "\n")+4)+`: listener.socket.keepalive_count: found with keepalive_idle "off", which has no use for it, expected a duration there`)
}

// A wildcard of IPv6 alone leaves the port of IPv4 to another listener.
func TestV6OnlyLeavesRoom(t *testing.T) {
	text := func(v6only string) string {
		return in("listener", "tcp://[::]:5432", v6only) + "[[listener]]\nname = \"four\"\nlisten = \"tcp://0.0.0.0:5432\"\npool = \"p\"\n"
	}
	if _, err := Parse("f", text("v6only = true"), nil); err != nil {
		t.Error(err)
	}
	_, err := Parse("f", text("v6only = false"), nil)
	if err == nil || !strings.Contains(err.Error(), "overlaps") {
		t.Errorf("got %v", err)
	}
	both := strings.Replace(text("v6only = true"), "0.0.0.0", "[::1]", 1)
	if _, err = Parse("f", both, nil); err == nil || !strings.Contains(err.Error(), "overlaps") {
		t.Errorf("got %v", err)
	}
}

// A problem with an option that shows at work has its line.
func TestProblemOfASocketOption(t *testing.T) {
	c, err := Parse("f", in("pool.p", "tcp://:1", "nodelay = true\nmark = 7"), nil)
	if err != nil {
		t.Fatal(err)
	}
	line := strings.Count(whole, "\n") + 4
	if got, want := c.Problem("pool p socket.mark", "no").String(), "f:"+strconv.Itoa(line)+": pool.p.socket.mark: no"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

func TestListenAtPaths(t *testing.T) {
	const path = "unix:/run/ebb/a.sock"
	for _, text := range []string{`"` + path + `"`, `["tcp://127.0.0.1:5432", "` + path + `"]`} {
		c, err := Parse("f", strings.Replace(whole, `"tcp://127.0.0.1:5432"`, text+"\nsocket = { mode = \"0660\" }", 1), nil)
		if err != nil {
			t.Fatal(err)
		}
		l := c.Listeners[0]
		at := l.Listen[len(l.Listen)-1]
		if at != (Endpoint{Network: "unix", Path: "/run/ebb/a.sock"}) || at.String() != path || l.Socket.Mode != 0o660 || l.Socket.Group != -1 {
			t.Errorf("%s: %+v", text, l)
		}
	}
	_, err := Parse("f", strings.Replace(whole, `"tcp://127.0.0.1:5432"`, `["`+path+`", "`+path+`"]`, 1), nil)
	problems(t, err, `f:3: listener.listen: found unix:/run/ebb/a.sock, which listener.listen on line 3 has, expected each socket once`)
	_, err = Parse("f", strings.Replace(whole, `"tcp://127.0.0.1:5432"`, `"`+path+`"`, 1)+"[admin]\nlisten = \""+path+"\"\n", nil)
	problems(t, err, `f:10: admin.listen: found unix:/run/ebb/a.sock, which listener.listen on line 3 has, expected each socket once`)
}
