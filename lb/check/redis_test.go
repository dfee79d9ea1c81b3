package check

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// redisServer answers each command, written as words with spaces, by what stands for it, or with an error.
func redisServer(t *testing.T, replies map[string]string) netip.AddrPort {
	t.Helper()
	return listen(t, func(c net.Conn) {
		_ = c.SetDeadline(time.Now().Add(10 * time.Second))
		r := bufio.NewReader(c)
		for {
			items := 0
			reply, err := readResp(r, &items, 0)
			if err != nil {
				return
			}
			var words []string
			for _, w := range reply.([]any) {
				words = append(words, w.(string))
			}
			answer, ok := replies[strings.Join(words, " ")]
			if !ok {
				answer = "-ERR unknown command\r\n"
			}
			if _, err := io.WriteString(c, answer); err != nil {
				return
			}
		}
	})
}

// list is a reply: a list of strings.
func list(words ...string) string {
	out := fmt.Sprintf("*%d\r\n", len(words))
	for _, w := range words {
		out += fmt.Sprintf("$%d\r\n%s\r\n", len(w), w)
	}
	return out
}

const master = "*3\r\n$6\r\nmaster\r\n:3129659\r\n*1\r\n*3\r\n$9\r\n127.0.0.1\r\n$4\r\n9001\r\n$7\r\n3129242\r\n"

func slave(state string) string {
	return "*5\r\n$5\r\nslave\r\n$9\r\n127.0.0.1\r\n:9000\r\n" + fmt.Sprintf("$%d\r\n%s\r\n", len(state), state) + ":3167038\r\n"
}

func info(text string) string { return fmt.Sprintf("$%d\r\n%s\r\n", len(text), text) }

func TestRedisProbe(t *testing.T) {
	file := secretFile(t, "geheim\n", 0o600)
	primary := Result{Alive: true, Reason: OK, Role: Primary, LagKnown: true}
	for _, c := range []struct {
		name    string
		options Options
		replies map[string]string
		want    Result
	}{
		{"master", Options{}, map[string]string{"ROLE": master}, primary},
		{"master, with a password", Options{PasswordFile: file}, map[string]string{"AUTH geheim": "+OK\r\n", "ROLE": master}, primary},
		{"master, with a name too", Options{User: "ebb", PasswordFile: file}, map[string]string{"AUTH ebb geheim": "+OK\r\n", "ROLE": master}, primary},
		{"wrong password", Options{PasswordFile: file}, map[string]string{"AUTH geheim": "-WRONGPASS invalid\r\n"}, Result{Reason: Denied, Detail: "WRONGPASS"}},
		{"wrong password, of old", Options{PasswordFile: file}, map[string]string{"AUTH geheim": "-ERR invalid password\r\n"}, Result{Reason: Denied, Detail: "invalid"}},
		{"no password", Options{}, map[string]string{"ROLE": "-NOAUTH Authentication required.\r\n"}, Result{Reason: Denied, Detail: "NOAUTH"}},
		{"no privilege", Options{}, map[string]string{"ROLE": "-NOPERM this user\r\n"}, Result{Reason: Denied, Detail: "NOPERM"}},
		{"loading", Options{}, map[string]string{"ROLE": "-LOADING Redis is loading the dataset in memory\r\n"}, Result{Reason: Unready, Detail: "LOADING"}},
		{"full", Options{}, map[string]string{"ROLE": "-ERR max number of clients reached\r\n"}, Result{Alive: true, Full: true, Reason: TooBusy, Detail: "max number"}},
		{"no such command", Options{}, nil, Result{Reason: Unexpected, Detail: "unknown command"}},
		{"replica in step", Options{}, map[string]string{"ROLE": slave("connected"), "INFO replication": info("role:slave\r\nmaster_last_io_seconds_ago:10\r\n")}, Result{Alive: true, Reason: OK, Role: Replica, LagKnown: true}},
		{"replica behind", Options{}, map[string]string{"ROLE": slave("connected"), "INFO replication": info("master_last_io_seconds_ago:11\r\n")}, Result{Alive: true, Reason: OK, Role: Replica, Lag: 11 * time.Second, LagKnown: true}},
		{"replica that will not say", Options{}, map[string]string{"ROLE": slave("connected"), "INFO replication": "-NOPERM no\r\n"}, Result{Alive: true, Reason: OK, Role: Replica, Detail: "lag unknown"}},
		{"replica that says nothing of it", Options{}, map[string]string{"ROLE": slave("connected"), "INFO replication": info("role:slave\r\nmaster_last_io_seconds_ago:-1\r\n")}, Result{Alive: true, Reason: OK, Role: Replica}},
		{"replica on its own", Options{}, map[string]string{"ROLE": slave("connect")}, Result{Alive: true, Reason: OK, Role: Replica, Detail: `"connect"`}},
		{"a sentinel", Options{}, map[string]string{"ROLE": "*2\r\n$8\r\nsentinel\r\n*0\r\n"}, Result{Reason: Unexpected, Detail: "Sentinel"}},
		{"no role", Options{}, map[string]string{"ROLE": "+OK\r\n"}, Result{Reason: Garbled, Detail: "ROLE gave"}},
		{"half a role", Options{}, map[string]string{"ROLE": list("slave", "x")}, Result{Reason: Garbled, Detail: "ROLE gave"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.options.Kind = "redis"
			r := probeOnce(t, c.options, redisServer(t, c.replies))
			if !strings.Contains(r.Detail, c.want.Detail) || strings.Contains(r.Detail, "geheim") {
				t.Errorf("detail %q, want %q in it", r.Detail, c.want.Detail)
			}
			detail := r.Detail
			r.Latency, r.Detail, c.want.Detail = 0, "", ""
			if r != c.want {
				t.Errorf("%+v (%s), want %+v", r, detail, c.want)
			}
		})
	}
	wrongs(t, Options{Kind: "redis"})
	wrongs(t, Options{Kind: "redis", TLS: TLS{Mode: "require"}})
}

// A master is primary if a quorum of sentinels names it.
func TestRedisProbeAsksSentinels(t *testing.T) {
	target := redisServer(t, map[string]string{"ROLE": master})
	file := secretFile(t, "geheim\n", 0o600)
	names := func(primary netip.AddrPort) string {
		return redisServer(t, map[string]string{
			"AUTH geheim":                           "+OK\r\n",
			"SENTINEL GET-MASTER-ADDR-BY-NAME main": list(primary.Addr().String(), fmt.Sprint(primary.Port())),
		}).String()
	}
	other := netip.MustParseAddrPort("192.0.2.7:6379")
	silent := listen(t, func(c net.Conn) { _, _ = io.Copy(io.Discard, c) }).String()
	ignorant := redisServer(t, map[string]string{"SENTINEL GET-MASTER-ADDR-BY-NAME main": "*-1\r\n"}).String()
	us, them := names(target), names(other)
	for _, c := range []struct {
		name   string
		addrs  []string
		quorum int
		want   Role
		words  string
	}{
		{"all name it", []string{us, us, us}, 0, Primary, ""},
		{"most name it, one is silent", []string{silent, us, us}, 0, Primary, ""},
		{"most name another", []string{us, them, them}, 0, Replica, "2 sentinels name 192.0.2.7:6379"},
		{"no majority", []string{us, them}, 0, RoleUnknown, "no 2 sentinels agree"},
		{"one is enough if that is said", []string{us, ignorant, silent}, 1, Primary, ""},
		{"too few speak", []string{us, ignorant, silent}, 2, RoleUnknown, `knows no "main"`},
		{"nobody speaks", []string{silent, silent, silent}, 0, RoleUnknown, "timeout"},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := probeOnce(t, Options{Kind: "redis", Timeout: time.Second, Sentinel: Sentinel{Addrs: c.addrs, Primary: "main", Quorum: c.quorum, PasswordFile: ""}}, target)
			if !r.Alive || r.Role != c.want || !strings.Contains(r.Detail, c.words) || r.LagKnown != (c.want == Primary) {
				t.Errorf("%+v, want %v, %q", r, c.want, c.words)
			}
		})
	}
	r := probeOnce(t, Options{Kind: "redis", Sentinel: Sentinel{Addrs: []string{us}, Primary: "main", PasswordFile: file}}, target)
	if r.Role != Primary {
		t.Errorf("with a password: %+v", r)
	}
	if _, err := newRedis(Options{Sentinel: Sentinel{Addrs: []string{us}, Primary: "main", Quorum: 2}}); err == nil {
		t.Error("a quorum of two of one is taken")
	}
}

func FuzzResp(f *testing.F) {
	for _, s := range []string{master, slave("connected"), "-ERR x\r\n", "+OK\r\n", "*-1\r\n", "$-1\r\n", ":1\r\n", "$999999999999\r\n", "*999999999\r\n", "*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n", "$3\r\nab"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		items := 0
		reply, err := readResp(bufio.NewReaderSize(bytes.NewReader(b), mostRespLine), &items, 0)
		if err != nil && reply != nil || items > mostRespItems {
			t.Errorf("%v, %v, %d items", reply, err, items)
		}
		if err != nil {
			redisFailed(err)
		}
		redisLag(string(b))
	})
}
