package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ebb-lb/ebb/lb/config"
)

func TestLoggingGoesElsewhere(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	l := openLogging(t, at("one"))
	l.Info("first")
	conf := func(target, format, level string) *config.Config {
		return &config.Config{Log: config.Log{Level: level, Format: format, Target: target}}
	}
	if _, _, err := l.prepare(conf(at("no/such/folder"), "auto", "info")); err == nil || !strings.Contains(err.Error(), "log.target: found ") {
		t.Errorf("%v", err)
	}
	use, _, err := l.prepare(conf(at("two"), "text", "warn"))
	if err != nil {
		t.Fatal(err)
	}
	l.Info("still in the first")
	use()
	with := l.With("pool", "db") // of before or after, it is all the same
	with.Info("not at this level")
	with.Warn("in the second")
	_, drop, err := l.prepare(conf(at("three"), "json", "debug"))
	if err != nil {
		t.Fatal(err)
	}
	drop()
	use, _, err = l.prepare(conf(at("two"), "json", "debug"))
	if err != nil {
		t.Fatal(err)
	}
	use()
	with.Debug("as an object")
	l.reopen()
	l.close()
	for name, want := range map[string][]string{
		"one":   {`"msg":"first"`, `"msg":"still in the first"`},
		"two":   {`msg="in the second" pool=db`, `"msg":"as an object","pool":"db"`, `"msg":"log opened again"`},
		"three": {},
	} {
		b, err := os.ReadFile(at(name))
		lines := strings.Split(strings.TrimSuffix(string(b), "\n"), "\n")
		if len(b) == 0 {
			lines = nil
		}
		if err != nil || len(lines) != len(want) {
			t.Errorf("%s: %v %q", name, err, lines)
			continue
		}
		for i, part := range want {
			if !strings.Contains(lines[i], part) {
				t.Errorf("%s: line %d is %s", name, i, lines[i])
			}
		}
	}
	if n := l.sink.Dropped(); n != 0 {
		t.Errorf("%d lines were dropped", n)
	}
}

// A log that nobody reads is left for another at a reload of the file, and one that cannot be opened leaves all as it was.
func TestReloadMovesTheLog(t *testing.T) {
	dir := t.TempDir()
	file, one, two := filepath.Join(dir, "ebb.toml"), filepath.Join(dir, "one.log"), filepath.Join(dir, "two.log")
	listen, adminAddr, backend := freeAddr(t), freeAddr(t), echo(t)
	write := func(log string) {
		t.Helper()
		host, port, _ := strings.Cut(backend, ":")
		text := fmt.Sprintf("[admin]\nlisten = %q\n[log]\n%s\n[[listener]]\nname = \"l\"\nlisten = \"tcp://%s\"\npool = \"p\"\n[[pool.p.backend]]\nhost = %q\nport = %s\n",
			adminAddr, log, listen, host, port)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(fmt.Sprintf("target = %q", one))
	c := begin(t, "run", "-c", file)
	awaitFile(t, one, `"msg":"ready"`)
	write(fmt.Sprintf("target = %q", filepath.Join(dir, "gone", "x.log")))
	if code, _, stderr := runAll(t, "reload", "--admin", adminAddr); code != 2 || !strings.Contains(stderr, file+":4: log.target: found ") {
		t.Errorf("exit %d, %s", code, stderr)
	}
	awaitFile(t, one, `"msg":"reload failed"`)
	write(fmt.Sprintf("target = %q\nformat = \"text\"", two))
	if code, stdout, stderr := runAll(t, "reload", "--admin", adminAddr); code != 0 || stdout != "log: changed format, target\n" {
		t.Errorf("exit %d, %q %q", code, stdout, stderr)
	}
	awaitFile(t, two, "level=INFO msg=reload ")
	c.stop()
	if code := c.wait(t); code != 0 {
		t.Errorf("exit %d: %s", code, c.stderr.String())
	}
	awaitFile(t, two, "msg=stopping")
}
