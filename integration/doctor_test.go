//go:build linux

package integration

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// ebb doctor says what was found, what it costs and the command that mends it, and changes nothing: it opens no file to write,
// makes, moves and removes none, and starts no program.
func TestDoctorChangesNothing(t *testing.T) {
	t.Parallel()
	s := setup{hosts: []string{host(2)}, port: 1, listener: "max_conns = 5000"}
	file := s.write(t)
	binary, err := plainBinary()
	if err != nil {
		t.Fatal(err)
	}
	trace := filepath.Join(t.TempDir(), "trace")
	cmd := exec.Command(program(t, "strace"), "-f", "-qq", "-e", "signal=none", "-o", trace, "-e", "trace=open,openat,openat2,creat,mkdirat,unlinkat,renameat,renameat2,linkat,symlinkat,truncate,ftruncate,fchmodat,fchownat,mount,sethostname,execve",
		program(t, "prlimit"), "--nofile=256:256", binary, "doctor", "-c", file)
	out, err := cmd.CombinedOutput()
	if code := exitCode(err); code != 0 {
		t.Fatalf("exit %d: %s", code, out)
	}
	found := regexp.MustCompile(`(?m)^warn +descriptors +256 of at most 256, 5000 sessions need \d+\n +cost: .+\n +mend: LimitNOFILE=\d+ in the unit, or: ulimit -n \d+$`)
	if !found.Match(out) {
		t.Errorf("ebb doctor:\n%s", out)
	}
	read := regexp.MustCompile(`open(at)?\(.*\bO_RDONLY\b`)
	started := 0
	for line := range strings.Lines(string(slurp(t, trace))) {
		switch {
		case strings.Contains(line, "resumed>") || strings.Contains(line, "+++"):
		case strings.Contains(line, "execve("):
			if started++; started > 2 { // prlimit, ebb
				t.Errorf("it starts a program: %s", line)
			}
		case !read.MatchString(line) || strings.Contains(line, "O_CREAT"):
			t.Errorf("it changes something: %s", line)
		}
	}
	if started != 2 {
		t.Errorf("%d programs in the trace", started)
	}
}
