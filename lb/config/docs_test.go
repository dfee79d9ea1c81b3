package config

import (
	"os"
	"regexp"
	"testing"
)

// What docs/dns.md shows must load as it stands, beside the listener and the pool that it leaves out.
func TestDocsLoad(t *testing.T) {
	text, err := os.ReadFile("../../docs/dns.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := regexp.MustCompile("(?ms)^```toml\n(.*?)^```").FindAllStringSubmatch(string(text), -1)
	if len(blocks) < 5 {
		t.Fatalf("%d configs in docs/dns.md", len(blocks))
	}
	for _, b := range blocks {
		pool, config := "p", b[1]
		if m := regexp.MustCompile(`(?m)^\[+pool\.(\w+)`).FindStringSubmatch(config); m != nil {
			pool = m[1]
		} else {
			config += "[[pool.p.backend]]\nhost = \"db.test\"\nport = 1\n"
		}
		config += "[[listener]]\nname = \"l\"\nlisten = \"tcp://127.0.0.1:1\"\npool = \"" + pool + "\"\n"
		if _, err := parse("dns.md", config, new(Flags)); err != nil {
			t.Errorf("%v\n%s", err, config)
		}
	}
}
