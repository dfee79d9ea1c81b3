package config

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// RU-10: mistakes among a hundred thousand lines are found with line and key, and a file that is too large is refused as that.
func TestRU10MistakesInLargeFiles(t *testing.T) {
	var b strings.Builder
	b.WriteString(whole)
	lines := strings.Count(whole, "\n")
	add := func(text string) (line int) {
		b.WriteString(text)
		lines += strings.Count(text, "\n")
		return lines
	}
	mistakes := make(map[int]string) // by line, what follows it
	words := strings.Repeat("# what is said of it\n", 50)
	for n := 0; b.Len() < 2<<20; n++ {
		add(words + fmt.Sprintf("[pool.p%d]\nbalance = \"roundrobin\"\n[[pool.p%d.backend]]\nhost = \"10.%d.%d.1\"\nport = 1\n", n, n, n>>8&255, n&255))
		switch n {
		case 100:
			mistakes[add("wieght = 3\n")] = "pool.p100.backend.wieght: unknown key"
		case 1500:
			mistakes[add("weight = \"three\"\n")] = "pool.p1500.backend.weight: found \"three\""
		}
	}
	path := filepath.Join(t.TempDir(), "large.toml")
	if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Load(path, new(Flags))
	if err == nil {
		t.Fatal("it loads")
	}
	found := strings.Split(err.Error(), "\n")
	if len(found) != len(mistakes) {
		t.Errorf("%d problems, want %d: %.500s", len(found), len(mistakes), err)
	}
	for line, what := range mistakes {
		if want := fmt.Sprintf("%s:%d: %s", path, line, what); !strings.Contains(err.Error(), want) {
			t.Errorf("%.500s\nlacks %s", err, want)
		}
	}
	if err := os.WriteFile(path, make([]byte, 10<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(path, new(Flags)); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "more than 4 MiB") {
		t.Errorf("ten megabytes: %v", err)
	}
}

// many is a config of so many listeners, each with a pool of ten backends.
func many(listeners int) string {
	var b strings.Builder
	for i := range listeners {
		fmt.Fprintf(&b, "[[listener]]\nname = \"l%d\"\nlisten = \"tcp://127.2.%d.%d:7001\"\npool = \"p%d\"\n[pool.p%d]\n", i, i>>8, i&255, i, i)
		for n := range 10 {
			fmt.Fprintf(&b, "[[pool.p%d.backend]]\nhost = \"127.1.%d.%d\"\nport = %d\n", i, i>>8, i&255, n+1)
		}
	}
	return b.String()
}

// A reload reads all of a file, and what that leaves to be collected takes time from sessions. Most of it is the library's.
func TestReadingAllocatesLittleMoreThanTheLibrary(t *testing.T) {
	text := many(100)
	library := testing.AllocsPerRun(2, func() {
		if _, err := decodeTOML(text); err != nil {
			t.Fatal(err)
		}
	})
	all := testing.AllocsPerRun(2, func() {
		if _, err := Parse("f", text, nil); err != nil {
			t.Fatal(err)
		}
	})
	if share := all / library; share > 1.4 { // 1.23
		t.Errorf("reading makes %.0f allocations, %.2f times the library's %.0f", all, share, library)
	}
}

// A config lives for months. Of the file that it came with nothing is kept, whatever it says.
func TestConfigDoesNotKeepItsFile(t *testing.T) {
	example, err := os.ReadFile(exampleFile)
	if err != nil {
		t.Fatal(err)
	}
	said := string(example) + `
[[listener]]
name = "more"
listen = ["unix:/run/ebb/more.sock", "tcp://systemd:more"]
pool = "more"
socket = { mode = "0660" }
[pool.more]
resolver = "more"
socket = { congestion = "cubic", interface = "lo" }
backend = [{ host = "db.example.com", port = 1, allow_answers = "loopback" }, { host = "_pg._tcp.example.com", type = "srv" }]
check = { kind = "redis", user = "me", tls = "verify", tls_name = "db.example.com", tls_ca_file = "/ca.pem", sentinels = ["10.0.0.1:1"], sentinel_primary = "m" }
[pool.speaks]
backend = [{ host = "speaks.example.com", port = 1 }]
check = { kind = "send_expect", steps = [{ send = "PING" }, { expect_hex = "00" }, { expect_regex = "PONG" }] }
[pool.runs]
backend = [{ host = "runs.example.com", port = 1 }]
check = { kind = "exec", command = ["/bin/true", "-x"] }
[pool.asks]
backend = [{ host = "asks.example.com", port = 1 }]
check = { kind = "dns", query = "example.com", query_type = "A" }
[pool.web]
backend = [{ host = "web.example.com", port = 1 }]
check = { kind = "http", path = "/health", host = "web", expect = "204", expect_body = "up" }
[resolver.more]
servers = ["system", "tls://10.0.0.1#dns.example.com", "https://10.0.0.1/dns-query"]
hosts_file = "/etc/hosts"
ca_file = "/ca.pem"
`
	heap := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	const size = 2 << 20 // of a comment
	before := heap()
	c, err := Parse("f", strings.Repeat("# what is said of it\n", size/21)+said, nil)
	if err != nil {
		t.Fatal(err)
	}
	if after := heap(); after > before+size/2 {
		t.Errorf("%d bytes are kept, and the file had %d", after-before, size)
	}
	runtime.KeepAlive(c)
}

// BenchmarkParse1000Listeners reads a file of 1000 listeners and 10,000 backends.
func BenchmarkParse1000Listeners(b *testing.B) {
	text := many(1000)
	b.ReportAllocs()
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := Parse("f", text, nil); err != nil {
			b.Fatal(err)
		}
	}
}
