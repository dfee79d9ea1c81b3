package config

import (
	"fmt"
	"os"
	"path/filepath"
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
