package config

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// What the docs show must load as it stands, beside the listener and the pool that they leave out. Secrets stand in a
// file of the test.
func TestDocsLoad(t *testing.T) {
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, least := range map[string]int{"admin.md": 1, "first-hour.md": 1, "databases.md": 9, "dns.md": 5, "health.md": 7, "production.md": 1, "proxy.md": 2, "sockets.md": 2} {
		text, err := os.ReadFile("../../docs/" + file)
		if err != nil {
			t.Fatal(err)
		}
		blocks := regexp.MustCompile("(?ms)^```toml\n(.*?)^```").FindAllStringSubmatch(string(text), -1)
		if len(blocks) < least {
			t.Fatalf("%d configs in docs/%s", len(blocks), file)
		}
		for _, b := range blocks {
			pool, config := "p", regexp.MustCompile(`"/etc/ebb/.*?"`).ReplaceAllLiteralString(b[1], `"`+secret+`"`)
			if m := regexp.MustCompile(`(?m)^\[+pool\.([\w-]+)`).FindStringSubmatch(config); m != nil {
				pool = m[1]
			}
			if !strings.Contains(config, ".backend]]") {
				config += "[[pool." + pool + ".backend]]\nhost = \"db.test\"\nport = 1\n"
			}
			config += "[[listener]]\nname = \"l\"\nlisten = \"tcp://127.0.0.1:1\"\npool = \"" + pool + "\"\n"
			if _, err := Parse(file, config, new(Flags)); err != nil {
				t.Errorf("%v\n%s", err, config)
			}
		}
	}
}
