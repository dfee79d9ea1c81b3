//go:build linux

package integration

import (
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// activated runs ebb as a service manager does that has made sockets for it: they are the descriptors from 3 on, and the
// environment names them.
func activated(t *testing.T, names string, sockets []*os.File, args ...string) (stop func()) {
	t.Helper()
	path, err := raceBinary()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/bin/sh", append([]string{"-c", `LISTEN_PID=$$ exec "$@"`, "sh", path, "run"}, args...)...)
	cmd.Env = append(os.Environ(), "LISTEN_FDS="+string('0'+rune(len(sockets))), "LISTEN_FDNAMES="+names)
	cmd.ExtraFiles = sockets
	return running(t, cmd)
}

// running starts a program that ends by two signals, with exit code 0.
func running(t *testing.T, cmd *exec.Cmd) (stop func()) {
	t.Helper()
	var stderr strings.Builder
	cmd.Stderr = &stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stopped := false
	stop = func() {
		t.Helper()
		if stopped {
			return
		}
		stopped = true
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Process.Signal(syscall.SIGINT) // the second signal: a UDP flow would be waited for
		if err := cmd.Wait(); err != nil {
			t.Errorf("%v\n%s", err, stderr.String())
		}
	}
	t.Cleanup(stop)
	return stop
}

// A restart under socket activation refuses nobody: who comes meanwhile waits in the socket, which is not ebb's.
func TestActivationRestartRefusesNobody(t *testing.T) {
	t.Parallel()
	if _, err := raceBinary(); err != nil { // now: to build it takes longer than a client waits
		t.Fatal(err)
	}
	ln, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	pc, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	tcp, err := ln.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer tcp.Close()
	udp, err := pc.(*net.UDPConn).File()
	if err != nil {
		t.Fatal(err)
	}
	defer udp.Close()
	addr, udpAddr := netip.MustParseAddrPort(ln.Addr().String()), pc.LocalAddr().String()
	ln.Close()
	pc.Close()
	port := freePort(t)
	echo(t, at(2, port))
	serveUDP(t, at(2, port), func(b []byte) []byte { return b })
	run := func() (stop func()) {
		return activated(t, "pg:dns", []*os.File{tcp, udp}, "--listen", "tcp://systemd:pg", "--listen", "udp://systemd:dns",
			"--to", at(2, port).String(), "--admin", "off")
	}
	for range 3 {
		c := dial(t, addr) // nobody serves it yet
		d, err := net.Dial("udp", udpAddr)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := d.Write([]byte("ping")); err != nil {
			t.Fatal(err)
		}
		stop := run()
		c.echoes(t, []byte("hello"))
		_ = d.SetDeadline(time.Now().Add(patience))
		b := make([]byte, 16)
		if n, err := d.Read(b); err != nil || string(b[:n]) != "ping" {
			t.Errorf("%q %v", b[:n], err)
		}
		c.Close()
		d.Close()
		stop()
	}
}

// systemd's own tool passes a socket on, and starts ebb with the first client.
func TestActivationBySystemd(t *testing.T) {
	t.Parallel()
	tool := program(t, "systemd-socket-activate")
	path, err := raceBinary()
	if err != nil {
		t.Fatal(err)
	}
	port, addr := freePort(t), netip.AddrPortFrom(loopback, freePort(t))
	echo(t, at(2, port))
	running(t, exec.Command(tool, "--listen", addr.String(), "--fdname", "pg", path,
		"run", "--listen", "tcp://systemd:pg", "--to", at(2, port).String(), "--admin", "off"))
	var c client
	eventually(t, "the tool listens", func() bool {
		var err error
		c, err = dialFrom(netip.AddrPort{}, addr)
		return err == nil
	})
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(patience))
	if err := c.said("hello"); err != nil {
		t.Error(err)
	}
}

// The units in deploy are what systemd takes, and the service is as closed as the documents say.
func TestUnits(t *testing.T) {
	t.Parallel()
	tool := program(t, "systemd-analyze")
	path, err := raceBinary()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	for _, name := range []string{"ebb.service", "ebb.socket"} {
		text := string(slurp(t, "../deploy/systemd/"+name))
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "/usr/bin/ebb", path)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out, err := exec.CommandContext(t.Context(), tool, "verify", "--man=no", filepath.Join(dir, "ebb.service"), filepath.Join(dir, "ebb.socket")).CombinedOutput()
	if err != nil || strings.Contains(string(out), "ebb.s") {
		t.Errorf("verify: %v\n%s", err, out)
	}
	out, err = exec.CommandContext(t.Context(), tool, "security", "--offline=yes", "--threshold=20", filepath.Join(dir, "ebb.service")).CombinedOutput()
	if err != nil {
		t.Errorf("security: %v\n%s", err, out)
	}
}
