//go:build linux

package integration

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"syscall"
	"testing"
)

// patroni is a member of a cluster that Patroni runs: PostgreSQL, and the REST API beside it.
type patroni struct {
	postgres
	rest string
}

// startEtcd gives the address of an etcd of one member.
func startEtcd(t *testing.T) (addr string) {
	t.Helper()
	dir, addr := t.TempDir(), fmt.Sprintf("%s:%d", host(1), freePort(t))
	s := (*account)(nil).run(t, dir, program(t, "etcd"), "--data-dir", dir, "--listen-client-urls", "http://"+addr, "--advertise-client-urls", "http://"+addr,
		"--listen-peer-urls", fmt.Sprintf("http://%s:%d", host(1), freePort(t)), "--unsafe-no-fsync", "--log-level", "error")
	awaitServer(t, s, func() bool { return httpCode("http://"+addr+"/health") == http.StatusOK })
	return addr
}

func httpCode(url string) int {
	resp, err := http.Get(url)
	if err != nil {
		return 0
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// startPatroni makes a cluster of two members on one port of two addresses, of which the first leads.
func startPatroni(t *testing.T) (list []*patroni) {
	t.Helper()
	binary, server, etcd := program(t, "patroni"), program(t, "pg_controldata"), startEtcd(t)
	port, rest := fmt.Sprint(freePort(t)), fmt.Sprint(freePort(t))
	for i, host := range []string{host(2), host(3)} {
		p := &patroni{postgres: postgres{who: anyone(t, "postgres"), psql: program(t, "psql"), host: host, port: port}, rest: host + ":" + rest}
		p.dir = p.who.folder(t)
		conf := filepath.Join(p.dir, "patroni.yml")
		if err := os.WriteFile(conf, fmt.Appendf(nil, `scope: ebb
name: m%[1]d
restapi: {listen: "%[2]s", connect_address: "%[2]s"}
etcd3: {host: "%[3]s"}
bootstrap:
  dcs: {ttl: 60, loop_wait: 1, retry_timeout: 10, postgresql: {parameters: {fsync: "off"}}}
  initdb: [{encoding: UTF8}, {locale: C}, no-sync]
  pg_hba: ["host all all 127.0.0.0/8 trust", "host replication all 127.0.0.0/8 trust"]
postgresql:
  listen: "%[4]s:%[5]s"
  connect_address: "%[4]s:%[5]s"
  data_dir: %[6]s/data
  bin_dir: %[7]s
  pgpass: %[6]s/pgpass
  authentication: {superuser: {username: postgres}, replication: {username: postgres}}
  parameters: {unix_socket_directories: ""}
  basebackup: [{checkpoint: fast}, no-sync]
`, i, p.rest, etcd, host, port, p.dir, filepath.Dir(server)), 0o644); err != nil {
			t.Fatal(err)
		}
		p.server = p.who.run(t, p.dir, binary, conf)
		t.Cleanup(func() { p.end(syscall.SIGTERM) }) // it ends PostgreSQL, which would outlive it
		list = append(list, p)
		awaitServer(t, p.server, func() bool { return httpCode("http://"+p.rest+[]string{"/primary", "/replica"}[i]) == http.StatusOK })
	}
	return list
}

// TestServersPatroni has both recipes of docs/databases.md follow a switch-over that Patroni makes: the http check of its REST API,
// and the check of PostgreSQL itself, which needs nothing of Patroni.
func TestServersPatroni(t *testing.T) {
	list := startPatroni(t)
	a, b := list[0], list[1]
	a.must(t, "CREATE TABLE written (at text)", "CREATE TABLE")
	a.must(t, "CREATE ROLE ebb LOGIN", "CREATE ROLE")
	var port, rest uint16
	if _, err := fmt.Sscan(a.port, &port); err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscanf(a.rest, host(2)+":%d", &rest); err != nil {
		t.Fatal(err)
	}
	run := func(check string) *ebb {
		return start(t, setup{hosts: []string{a.host, b.host}, port: port, check: "timeout = \"10s\"\n" + check})
	}
	asks := fmt.Sprintf("kind = \"http\"\nport = %d\nexpect = \"200\"\n", rest)
	writers := []*ebb{run(asks + `path = "/primary"`), run("kind = \"postgres\"\nuser = \"ebb\"\nwant = \"primary\"")}
	readers := run(asks + `path = "/replica?lag=10MB"`)
	// serve expects that p is written to, and the other read from.
	serve := func(p, other *patroni) {
		t.Helper()
		for i, e := range append(writers, readers) {
			up := []*patroni{p, p, other}[i]
			e.awaitState(t, up.host+":"+up.port, "up", "")
			down := []*patroni{other, other, p}[i]
			e.awaitState(t, down.host+":"+down.port, []string{"down", "unwanted", "down"}[i], "")
			sql := "SELECT host(inet_server_addr())"
			if i < 2 {
				sql = "WITH row AS (INSERT INTO written VALUES (host(inet_server_addr())) RETURNING at) SELECT at FROM row"
			}
			eventually(t, "a session that is served", func() bool { // Patroni may restart a server once more
				out, err := p.ask(t, e.addr.Addr().String(), fmt.Sprint(e.addr.Port()), sql)
				if err == nil && out != up.host {
					t.Fatalf("served by %q, expected %s", out, up.host)
				}
				return err == nil
			})
		}
	}
	serve(a, b)
	eventually(t, "a switch-over", func() bool { // Patroni refuses one while it does not know the candidate's state, and says so too if one takes 10 s
		resp, err := http.Post("http://"+a.rest+"/switchover", "application/json", bytes.NewReader([]byte(`{"leader": "m0", "candidate": "m1"}`)))
		if err != nil {
			return false
		}
		defer resp.Body.Close()
		if said, _ := io.ReadAll(resp.Body); resp.StatusCode != http.StatusOK {
			t.Logf("switchover: %s %s", resp.Status, said)
		}
		return resp.StatusCode == http.StatusOK || httpCode("http://"+b.rest+"/primary") == http.StatusOK
	})
	serve(b, a)
	for _, e := range append(writers, readers) {
		oracle(t, e)
	}
}
