package check

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
)

// mostSecret is the size of a file that may be a password, in bytes.
const mostSecret = 4096

// readSecret gives what a file holds, without the line break at its end; "" for no file. A file that others than its owner
// may read is refused: what is in it may be no secret any more. All its errors are this host's, and none has the content.
func readSecret(file string) (string, error) {
	if file == "" {
		return "", nil
	}
	text, err := secretOf(file)
	if err != nil {
		return "", &failure{Local, err}
	}
	return text, nil
}

func secretOf(file string) (string, error) {
	f, err := os.Open(file)
	if err != nil {
		return "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", err
	}
	if !info.Mode().IsRegular() {
		return "", errors.New(file + ": no plain file")
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return "", fmt.Errorf("%s: others may read it, its mode is %o; chmod 600 makes it a secret", file, mode)
	}
	text, err := io.ReadAll(io.LimitReader(f, mostSecret+1))
	if err != nil {
		return "", err
	}
	secret := strings.TrimSuffix(strings.TrimSuffix(string(text), "\n"), "\r")
	if secret == "" || len(text) > mostSecret || strings.ContainsAny(secret, "\n\x00") {
		return "", fmt.Errorf("%s: no password, which is one line of 1 to %d bytes", file, mostSecret)
	}
	return secret, nil
}
