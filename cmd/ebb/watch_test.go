package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestFileWatch(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "ebb.toml")
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	rename := func(from, to string) {
		t.Helper()
		if err := os.Rename(filepath.Join(dir, from), filepath.Join(dir, to)); err != nil {
			t.Fatal(err)
		}
	}
	link := func(to, name string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	stamp := func(age time.Duration) { // the bubble's clock is not that of the files
		t.Helper()
		at := time.Unix(1e9, 0).Add(age)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	write("ebb.toml", "one")
	stamp(0)
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		var changes atomic.Int64
		w := newFileWatch(path)
		go w.run(ctx, func() { changes.Add(1) })
		after := func(what string, looks, want int) {
			t.Helper()
			time.Sleep(time.Duration(looks) * watchEvery)
			synctest.Wait()
			if n := changes.Swap(0); n != int64(want) {
				t.Errorf("%s: %d changes, want %d", what, n, want)
			}
		}
		time.Sleep(watchEvery / 2) // between two looks
		after("nothing", 5, 0)
		write("ebb.toml", "tw")
		stamp(1)
		after("half of it", 1, 0)
		write("ebb.toml", "two")
		stamp(2)
		after("the rest", 1, 0)
		after("left alone", 5, 1)
		for i := range 20 {
			stamp(time.Duration(10 + i))
			after("written again and again", 1, 0)
		}
		after("left alone", 5, 1)
		write("new", "two")
		rename("new", "ebb.toml")
		after("a file renamed over it", 1, 0)
		after("left alone", 5, 1)
		rename("ebb.toml", "away")
		after("gone", 5, 1)
		rename("away", "ebb.toml")
		after("back", 5, 1)
		rename("ebb.toml", "away")
		after("gone for a moment", 1, 0)
		rename("away", "ebb.toml")
		after("back", 5, 0)

		// As Kubernetes has it: the name is a link through a link to a folder, which is exchanged.
		for _, version := range []string{"v1", "v2"} {
			if err := os.Mkdir(filepath.Join(dir, version), 0o700); err != nil {
				t.Fatal(err)
			}
			write(version+"/ebb.toml", version)
		}
		link("v1", "data")
		link("data/ebb.toml", "linked")
		rename("linked", "ebb.toml")
		after("a link", 5, 1)
		link("v2", "data2")
		rename("data2", "data")
		after("another folder", 5, 1)
		stop()
	})
}

// With --watch a file that is renamed over the config is taken, and a broken one is one line of the log.
func TestRunWatch(t *testing.T) {
	dir := t.TempDir()
	file, listen, adminAddr := filepath.Join(dir, "ebb.toml"), freeAddr(t), freeAddr(t)
	host, port, _ := strings.Cut(echo(t), ":")
	write := func(key string) {
		t.Helper()
		text := fmt.Sprintf("[admin]\nlisten = %q\n[[listener]]\nname = \"l\"\nlisten = \"tcp://%s\"\npool = \"p\"\n[pool.p]\n%s\n[[pool.p.backend]]\nhost = %q\nport = %s\n",
			adminAddr, listen, key, host, port)
		if err := os.WriteFile(file+".new", []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(file+".new", file); err != nil {
			t.Fatal(err)
		}
	}
	write("connect_attempts = 3")
	c := begin(t, "run", "-c", file, "--watch")
	c.stderr.await(t, `"msg":"ready"`)
	write("conect_attempts = 4")
	c.stderr.await(t, file+":8: pool.p.conect_attempts: unknown key")
	write("connect_attempts = 4")
	c.stderr.await(t, `"changes":["pool p: changed connect_attempts"]`)
	if n := strings.Count(c.stderr.String(), "reload failed"); n != 1 {
		t.Errorf("%d lines of a failed reload: %s", n, c.stderr.String())
	}
	c.stop()
	if code := c.wait(t); code != 0 {
		t.Errorf("exit %d", code)
	}
	if code, _, stderr := runAll(t, "run", "--watch", "--listen", "tcp://"+listen, "--to", host+":"+port); code != 2 || !strings.Contains(stderr, "--watch wants -c FILE") {
		t.Errorf("exit %d: %s", code, stderr)
	}
}
