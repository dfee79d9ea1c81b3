//go:build linux

package integration

import (
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
)

// reloadsUnderLoad sends SIGHUP so often, each time for another file: with another backend, other limits, another name of the listener or
// another policy. All of it under load, of which nothing may be refused or cut.
func reloadsUnderLoad(t *testing.T, plain bool, times, rate, long int, every time.Duration) {
	t.Helper()
	port := freePort(t)
	for n := byte(2); n <= 4; n++ {
		echo(t, at(n, port))
	}
	s := setup{hosts: []string{host(2), host(3)}, port: port}
	file := s.write(t)
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	e := spawn(t, plain, "-c", file)
	e.addr, e.admin = s.addr, s.admin
	e.awaitReady(t)
	l := startLoad(t, e.addr, rate, long)
	begin := time.Now()
	for i := range times {
		change := strings.NewReplacer(
			"connect_timeout = \"1s\"", fmt.Sprintf("connect_timeout = \"%ds\"", 5+i),
			"name = \"t\"", fmt.Sprintf("name = \"t%d\"", i/3),
			"roundrobin", []string{"roundrobin", "leastconn"}[i/2%2],
			host(3), host(byte(3+i%2)),
		)
		if err := os.WriteFile(file, []byte(change.Replace(string(text))), 0o600); err != nil {
			t.Fatal(err)
		}
		e.signal(t, syscall.SIGHUP)
		eventually(t, "the reload", func() bool { return len(e.logs.find("reload")) == i+1 })
		time.Sleep(every) // the load is to go on between them
	}
	l.end(time.Since(begin))
	if n := len(e.logs.find("reload failed")); n != 0 {
		t.Errorf("%d reloads failed", n)
	}
	e.soundLog(t)
	e.atRest(t) // the books were closed with each listener that had another name
	want := int(l.conns.Load()) + long
	eventually(t, "a line for each session", func() bool { return len(e.logs.ended()) == want })
	for _, s := range e.logs.ended() {
		if s.End != "client_fin" {
			t.Errorf("%+v", s)
		}
	}
}

func TestRU1ReloadsUnderLoad(t *testing.T) {
	t.Parallel()
	reloadsUnderLoad(t, false, 12, 100, 50, 50*time.Millisecond)
}

// RU-1 whole: 100 reloads at 1000 connections a second with 500 long sessions. Neither ebb nor this may have the race detector for
// that on two cores: what it says at its end is whether it came to 1000.
func TestRU1Soak(t *testing.T) {
	if *soakFor == 0 {
		t.Skip("takes a minute: make soak, or -soak 1m")
	}
	reloadsUnderLoad(t, true, 100, 1000, 500, *soakFor/100)
}
