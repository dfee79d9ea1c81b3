//go:build linux

// Package integration drives the built binary from outside: real sockets, real signals, and nothing of the program
// imported but the scripted DNS server. What it knows of ebb is what a user knows: flags, the file, log lines, metrics,
// the admin address.
//
//	e := start(t, setup{hosts: []string{"127.0.0.2"}, port: b.port()})
//	c := dial(t, e.addr)
//	...
//	oracle(t, e) // what must hold after every scenario
//
// A scenario bears its name from the list of scenarios (TestTD1..., TestHC5...), and each runs an ebb of its own. Those
// that make load run one after another; those that mostly wait for the clock are parallel. Most run the binary with the
// race detector in it; those that move much or count the CPU run the plain one.
package integration

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

var binDir string // holds the built binaries

func TestMain(m *testing.M) {
	if os.Getenv(forbidIOUring) != "" {
		fmt.Fprintln(os.Stderr, execFiltered())
		os.Exit(1)
	}
	dir, err := os.MkdirTemp("", "ebb-integration-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	binDir = dir
	// A process with the race detector sleeps for a second before it exits, for goroutines that race with its end.
	if err := os.Setenv("GORACE", "atexit_sleep_ms=50"); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	if code == 0 {
		err := goleak.Find()
		for end := time.Now().Add(patience); err != nil && time.Now().Before(end); err = goleak.Find() { // it looks for half a second itself
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "the tests themselves leak:", err)
			code = 1
		}
	}
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

// raceBinary is ebb with the race detector, plainBinary ebb as it is shipped. Each is built when first asked for.
var (
	raceBinary  = sync.OnceValues(func() (string, error) { return build("ebb-race", "-race") })
	plainBinary = sync.OnceValues(func() (string, error) { return build("ebb") })
)

func build(name string, flags ...string) (string, error) {
	path := filepath.Join(binDir, name)
	args := append([]string{"build", "-o", path}, flags...)
	out, err := exec.Command("go", append(args, "../cmd/ebb")...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}
