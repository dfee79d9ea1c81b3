package check

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func secretFile(t *testing.T, text string, mode os.FileMode) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(file, mode); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestSE10SecretIsOneLineOfAFileOfItsOwner(t *testing.T) {
	for _, c := range []struct {
		text       string
		mode       os.FileMode
		want, says string
	}{
		{"geheim", 0o600, "geheim", ""},
		{"geheim\n", 0o400, "geheim", ""},
		{"ge heim\r\n", 0o600, "ge heim", ""},
		{"geheim", 0o640, "", "its mode is 640"},
		{"geheim", 0o604, "", "its mode is 604"},
		{"", 0o600, "", "no password"},
		{"\n", 0o600, "", "no password"},
		{"geheim\nmore\n", 0o600, "", "no password"},
		{strings.Repeat("x", mostSecret+1), 0o600, "", "no password"},
	} {
		got, err := readSecret(secretFile(t, c.text, c.mode))
		switch {
		case got != c.want, (err == nil) != (c.says == ""):
			t.Errorf("%q %o: %q, %v", c.text, c.mode, got, err)
		case err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "geheim") || reason(err) != Local):
			t.Errorf("%q %o: %v", c.text, c.mode, err)
		}
	}
	if _, err := readSecret(t.TempDir()); reason(err) != Local {
		t.Errorf("a folder: %v", err)
	}
	if _, err := readSecret(filepath.Join(t.TempDir(), "none")); reason(err) != Local {
		t.Errorf("no file: %v", err)
	}
}
