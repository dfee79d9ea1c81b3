package dnswatch

import (
	"os"
	"testing"
	"time"
)

var fileClock = time.Unix(1e9, 0)

// write writes a file with a modification time of its own, for two writes may fall into one tick of the clock.
func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	fileClock = fileClock.Add(time.Second)
	if err := os.Chtimes(path, fileClock, fileClock); err != nil {
		t.Fatal(err)
	}
}
