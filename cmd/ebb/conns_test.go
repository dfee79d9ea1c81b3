package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/ebb-lb/ebb/lb/admin"
)

// TestConns lists the sessions of a running ebb and ends them.
func TestConns(t *testing.T) {
	peer, at, adminAddr := echo(t), freeAddr(t), freeAddr(t)
	c := begin(t, "run", "--listen", "tcp://"+at, "--to", peer, "--admin", adminAddr)
	defer func() { c.stop(); c.wait(t) }()
	var held []net.Conn
	for range 3 {
		var conn net.Conn
		for give := time.Now().Add(20 * time.Second); ; time.Sleep(time.Millisecond) {
			var err error
			if conn, err = net.Dial("tcp", at); err == nil {
				break
			}
			if time.Now().After(give) {
				t.Fatal(err)
			}
		}
		defer conn.Close()
		fmt.Fprintln(conn, "hello")
		if line, err := bufio.NewReader(conn).ReadString('\n'); line != "hello\n" {
			t.Fatal(line, err)
		}
		held = append(held, conn)
	}
	var list []admin.Conn
	if _, stdout, _ := runAll(t, "conns", "--json", "--peer", peer, "--source", "127.0.0.0/8", "--admin", adminAddr); json.Unmarshal([]byte(stdout), &list) != nil || len(list) != 3 {
		t.Fatalf("%s", stdout)
	}
	first := fmt.Sprint(list[0].ID)
	for _, tc := range []struct {
		code int
		args []string
		says string
	}{
		{0, []string{"conns"}, "ID  PROTO  LISTENER  POOL     CLIENT"},
		{0, []string{"conns"}, held[1].LocalAddr().String()},
		{0, []string{"conns", "--limit", "1"}, "\n1 of 3 sessions, the oldest; --limit shows more, filters show fewer\n"},
		{0, []string{"conns", "--peer", "192.0.2.1", "--json"}, "[]\n"},
		{1, []string{"conns", "--pool", "other"}, `ebb: conns: no pool is named "other", expected one of default`},
		{0, []string{"kill", first}, "1 session told to end\n"},
		{0, []string{"kill", "--peer", "192.0.2.1"}, "0 sessions told to end\n"},
		{1, []string{"kill", "--pool", "other"}, `ebb: kill: no pool is named "other", expected one of default`},
		{0, []string{"kill", "--peer", peer, "--json"}, `"killed": `},
		{1, []string{"kill", "4711"}, "ebb: kill: no session has the id 4711\n"},
		{2, []string{"kill"}, "ebb: kill: give ids, or a filter such as --peer\n"},
		{2, []string{"kill", "1", "--pool", "p"}, "found ids and filters"},
		{2, []string{"kill", "x"}, `found "x", expected the id of a session`},
		{2, []string{"conns", "--limit", "0"}, "found 0, expected 1 to 10000"},
		{2, []string{"conns", "--peer", "db"}, "expected ADDRESS:PORT or ADDRESS"},
		{2, []string{"conns", "--source", "x"}, "expected an address or a CIDR"},
	} {
		code, stdout, stderr := runAll(t, append(tc.args, "--admin", adminAddr)...)
		if code != tc.code || !strings.Contains(stdout+stderr, tc.says) {
			t.Errorf("%q: %d\n%s%s", tc.args, code, stdout, stderr)
		}
	}
	for _, conn := range held {
		conn.SetDeadline(time.Now().Add(20 * time.Second))
		if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
			t.Errorf("lives: %v", err)
		}
	}
}

func TestBytesOf(t *testing.T) {
	for n, want := range map[int64]string{0: "0", 1023: "1023", 1024: "1.0K", 1536: "1.5K", 1 << 20: "1.0M", 1<<20 - 1: "1.0M", 5 << 40: "5.0T"} {
		if got := bytesOf(n); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}
