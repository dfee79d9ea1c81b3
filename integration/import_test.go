//go:build linux

package integration

import (
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// accepted has the program whose config it is look at it.
func accepted(t *testing.T, file string) {
	t.Helper()
	args := []string{program(t, "haproxy"), "-c", "-f", file}
	if filepath.Ext(file) == ".conf" {
		args = []string{program(t, "nginx"), "-t", "-p", filepath.Dir(file), "-c", file}
	}
	if out, err := exec.CommandContext(t.Context(), args[0], args[1:]...).CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// imported makes ebb.toml of a config that must be carried over whole.
func imported(t *testing.T, name, text string) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	accepted(t, file)
	out := filepath.Join(dir, "ebb.toml")
	if code, stdout, stderr := runEbb(t, "import", file, "-o", out); code != 0 || stdout != "" {
		t.Fatalf("ebb import: exit code %d\n%s%s", code, stdout, stderr)
	}
	if code, _, stderr := runEbb(t, "check", "-c", out); code != 0 {
		t.Fatalf("ebb check: exit code %d\n%s", code, stderr)
	}
	return out
}

// runImported runs ebb with the file until it is ready.
func runImported(t *testing.T, file string, addr netip.AddrPort) *ebb {
	t.Helper()
	return startFlags(t, addr, "-c", file)
}

// A config that HAProxy takes is carried over, and what comes out serves: the check, the backup and the limits included.
func TestImportHAProxyServes(t *testing.T) {
	port := freePort(t)
	listen := netip.AddrPortFrom(loopback, freePort(t))
	first := serve(t, at(11, port), peerConn.echo)
	second := serve(t, at(12, port), peerConn.echo)
	e := runImported(t, imported(t, "haproxy.cfg", strings.NewReplacer("LISTEN", listen.String(), "PORT", strconv.Itoa(int(port))).Replace(`
global
  maxconn 100
defaults
  mode tcp
  option tcplog
  timeout connect 2s
  timeout client 1m
  timeout server 1m
  default-server inter 200ms fall 2 rise 1 on-marked-down shutdown-sessions
frontend db
  bind LISTEN
  tcp-request connection reject if !{ src 127.0.0.0/8 }
  default_backend nodes
backend nodes
  option tcp-check
  tcp-check send ping
  tcp-check expect string ping
  server a 127.0.0.11:PORT check
  server b 127.0.0.12:PORT check backup
`)), listen)
	c := dial(t, listen)
	c.echoes(t, noise(1, 1000))
	c.Close()
	if s := e.oneSession(t); s.Peer != first.addr.String() {
		t.Errorf("the first session went to %s, expected %s", s.Peer, first.addr)
	}
	first.close()
	eventually(t, "a session on the backup", func() bool {
		_ = talk(listen)
		ended := e.logs.ended()
		return ended[len(ended)-1].Peer == second.addr.String()
	})
}

// The same of nginx, with datagrams.
func TestImportNginxServes(t *testing.T) {
	port := freePort(t)
	listen := netip.AddrPortFrom(loopback, freePort(t))
	serve(t, at(11, port), peerConn.echo)
	peer := echoUDP(t, at(11, port))
	text := strings.NewReplacer("LISTEN", listen.String(), "PORT", strconv.Itoa(int(port))).Replace(`
error_log stderr;
pid nginx.pid;
events { }
stream {
	upstream peers {
		least_conn;
		server 127.0.0.11:PORT max_fails=2;
	}
	server {
		listen LISTEN;
		proxy_pass peers;
		proxy_connect_timeout 2s;
	}
	server {
		listen LISTEN udp;
		proxy_pass peers;
		proxy_responses 1;
		proxy_timeout 5s;
	}
}
`)
	if module := "/usr/lib/nginx/modules/ngx_stream_module.so"; fileExists(module) {
		text = "load_module " + module + ";\n" + text
	}
	runImported(t, imported(t, "nginx.conf", text), listen)
	dial(t, listen).echoes(t, noise(2, 1000))
	c := listenUDP(t, netip.AddrPortFrom(loopback, 0))
	c.send(t, []byte("a question"), listen)
	if b, _ := c.recv(t); string(b) != "a question" {
		t.Errorf("got %q", b)
	}
	if len(peer.from()) != 1 {
		t.Errorf("%d datagrams at the peer", len(peer.from()))
	}
}

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// The examples that the package of the import is tested with are what the programs themselves take. Their names do not
// resolve here, which HAProxy is told not to mind.
func TestImportExamplesAreValid(t *testing.T) {
	const dir = "cmd/ebb/internal/migrate/testdata/"
	for _, name := range []string{"patroni.cfg", "galera.cfg", "redis.cfg", "dns.conf", "pg.conf"} {
		text := repoFile(t, dir+name)
		folder := t.TempDir()
		if filepath.Ext(name) == ".cfg" {
			text = strings.ReplaceAll(text, "defaults\n", "defaults\n\tdefault-server init-addr last,libc,none\n")
		} else {
			text = strings.Replace(text, "include modules-enabled/*.conf;", "", 1)
			text = "pid " + folder + "/pid;\n" + strings.Replace(text, "pid /run/nginx.pid;", "", 1)
			text = strings.Replace(text, "include pg.d/*.inc;", repoFile(t, dir+"pg.d/a.inc"), 1)
			text = strings.ReplaceAll(text, "/var/log/nginx", folder)
			if !hasIPv6() {
				text = regexp.MustCompile(`listen \[::\].*;`).ReplaceAllString(text, "")
			}
			for _, host := range []string{"db1.example.com", "db2.example.com", "cache.example.com"} {
				text = strings.ReplaceAll(text, host, "127.0.0.1")
			}
			if module := "/usr/lib/nginx/modules/ngx_stream_module.so"; fileExists(module) {
				text = "load_module " + module + ";\n" + text
			}
		}
		file := filepath.Join(folder, name)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		accepted(t, file)
	}
}
