package main

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestManualPagesOfEveryVerb(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "man1")
	var out, errs bytes.Buffer
	if code := run(context.Background(), []string{"man", dir}, &out, &errs); code != exitDone {
		t.Fatalf("exit %d: %s", code, errs.String())
	}
	for _, c := range newRootCommand().Commands() {
		page, err := os.ReadFile(filepath.Join(dir, "ebb-"+c.Name()+".1"))
		if c.IsAvailableCommand() != (err == nil) {
			t.Errorf("%s: %v", c.Name(), err)
		}
		if err == nil && !strings.Contains(string(page), c.Short) {
			t.Errorf("%s: the page does not say %q", c.Name(), c.Short)
		}
	}
	for _, args := range [][]string{{"man"}, {"man", "a", "b"}} {
		if code := run(context.Background(), args, &out, &errs); code != exitUsage {
			t.Errorf("%v: exit %d", args, code)
		}
	}
	if code := run(context.Background(), []string{"man", "/proc/nowhere"}, &out, &errs); code != exitFailed {
		t.Errorf("exit %d", code)
	}
}
