//go:build linux

package integration

import (
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The Debian package is installed on this machine, used, upgraded, removed and purged. That is done where the machine is
// there for tests, and there it must be possible.
func TestDebianPackage(t *testing.T) {
	if os.Getenv("CI") != "true" && os.Getenv("EBB_TEST_PACKAGE") == "" {
		t.Skip("it installs a package on this machine: set EBB_TEST_PACKAGE=1")
	}
	if os.Getuid() != 0 {
		t.Fatal("dpkg wants root")
	}
	if _, err := os.Stat("/usr/bin/ebb"); err == nil {
		t.Fatal("/usr/bin/ebb is there already")
	}
	do := func(name string, args ...string) string {
		t.Helper()
		cmd := exec.CommandContext(t.Context(), name, args...)
		out, err := cmd.CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", strings.Join(cmd.Args, " "), err, out)
		}
		return string(out)
	}
	build := func(version string) string {
		t.Helper()
		dir := t.TempDir()
		cmd := exec.CommandContext(t.Context(), "./deploy/dist")
		cmd.Dir = ".."
		cmd.Env = append(os.Environ(), "VERSION="+version, "OUT="+dir, "TARGETS=linux/"+runtime.GOARCH)
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("deploy/dist: %v\n%s", err, out)
		}
		found, err := filepath.Glob(filepath.Join(dir, "*.deb"))
		if err != nil || len(found) != 1 {
			t.Fatalf("packages: %v %v", found, err)
		}
		return found[0]
	}
	there := func(want bool, paths ...string) {
		t.Helper()
		for _, p := range paths {
			if _, err := os.Stat(p); (err == nil) != want {
				t.Errorf("%s: %v", p, err)
			}
		}
	}
	const conf = "/etc/ebb/ebb.toml"
	program := []string{"/usr/bin/ebb", "/lib/systemd/system/ebb.service", "/usr/share/man/man1/ebb-run.1.gz", "/usr/share/bash-completion/completions/ebb"}

	first, second := build("9c803f1"), build("v0.0.2") // a commit, and what is newer
	version := func(deb string) string { return strings.TrimSpace(do("dpkg-deb", "-f", deb, "Version")) }
	do("dpkg", "--compare-versions", version(first), "lt", version(second))
	t.Cleanup(func() { _ = exec.Command("dpkg", "-P", "ebb").Run() })
	do("dpkg", "-i", first)
	there(true, append(program, conf)...)
	if out := do("ebb", "version"); !strings.HasPrefix(out, "ebb 9c803f1 ") {
		t.Errorf("version: %s", out)
	}
	do("ebb", "check", "-c", conf)
	if _, err := exec.LookPath("systemd-analyze"); err == nil {
		if out := do("systemd-analyze", "verify", "ebb.service"); strings.Contains(out, "ebb.service") {
			t.Errorf("the unit: %s", out)
		}
	}
	runAsEbb(t, conf)

	text, err := os.ReadFile(conf)
	if err != nil {
		t.Fatal(err)
	}
	mine := append(text, "# mine\n"...)
	if err := os.WriteFile(conf, mine, 0o644); err != nil {
		t.Fatal(err)
	}
	do("dpkg", "-i", "--force-confold", second)
	if out := do("ebb", "version"); !strings.HasPrefix(out, "ebb v0.0.2 ") {
		t.Errorf("version: %s", out)
	}
	if now, err := os.ReadFile(conf); err != nil || string(now) != string(mine) {
		t.Errorf("the upgrade changed the configuration: %v", err)
	}
	do("dpkg", "-r", "ebb")
	there(false, program...)
	there(true, conf)
	written := []string{"/var/lib/ebb", "/var/log/ebb"} // which systemd makes
	for _, dir := range written {
		if err := os.MkdirAll(dir, 0o750); err != nil {
			t.Fatal(err)
		}
	}
	do("dpkg", "-P", "ebb")
	there(false, append(written, "/etc/ebb")...)
}

// runAsEbb runs the installed binary as its own user, the way that the unit does, until it has said that it is ready.
func runAsEbb(t *testing.T, conf string) {
	t.Helper()
	u, err := user.Lookup("ebb")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	var log strings.Builder
	cmd := exec.CommandContext(t.Context(), "/usr/bin/ebb", "run", "-c", conf, "--ready-fd", "3", "--admin", "off")
	cmd.Dir, cmd.Stderr, cmd.ExtraFiles = "/", &log, []*os.File{w}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	w.Close()
	_ = r.SetReadDeadline(time.Now().Add(patience))
	if _, err := r.Read(make([]byte, 1)); err != nil {
		t.Errorf("not ready: %v", err)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Errorf("ebb: %v\n%s", err, log.String())
	}
}
