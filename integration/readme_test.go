//go:build linux

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// blocks gives the fenced blocks of a language in Markdown.
func blocks(text, language string) (list []string) {
	for _, m := range regexp.MustCompile("(?ms)^```([a-z]*)\n(.*?)^```").FindAllStringSubmatch(text, -1) {
		if m[1] == language {
			list = append(list, m[2])
		}
	}
	return list
}

// commands gives the lines of a text's blocks of a language, without comments.
func commands(text, language string) (list []string) {
	for _, b := range blocks(text, language) {
		for line := range strings.Lines(b) {
			line, _, _ = strings.Cut(line, " #")
			if line = strings.TrimSpace(line); line != "" {
				list = append(list, line)
			}
		}
	}
	return list
}

func repoFile(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each command of the README is run as it stands: those of Go in the repository, the others where they find the binary and
// the README's config as ebb.toml. Only those that would go on for long, or want what a test machine lacks, are run as
// their nearest that does not: run as check, which reads the same flags and config, make as make -n, and a shorter demo.
func TestReadmeCommandsRun(t *testing.T) {
	if testing.Short() {
		t.Skip("the demo takes its time")
	}
	readme := repoFile(t, "README.md")
	configs := blocks(readme, "toml")
	if len(configs) != 1 {
		t.Fatalf("%d configs in the README, expected one", len(configs))
	}
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "ebb.toml"), []byte(configs[0]), 0o600); err != nil {
		t.Fatal(err)
	}
	ran := make(map[string]bool)
	for _, line := range commands(readme, "sh") {
		words := strings.Fields(line)
		as, want, in := line, "", dir
		switch {
		case words[0] == "make":
			as, in = "make -n "+strings.Join(words[1:], " "), ".."
		case strings.HasPrefix(line, "./ebb run "):
			as, want = strings.Replace(line, " run ", " check ", 1), ": ok ("
		case line == "./ebb status":
			as, want = "./ebb status --help", "Usage:"
		case strings.HasPrefix(line, "./ebb check "):
			want = ": ok ("
		case strings.HasPrefix(line, "go run ./cmd/ebb demo "):
			as, want, in = strings.Replace(line, "--for 15s", "--for 5s", 1), " failed=0 ", ".."
		case strings.HasPrefix(line, "go build -o ebb "):
			as, in = strings.Replace(line, "-o ebb ", "-o "+filepath.Join(dir, "ebb")+" ", 1), ".."
		default:
			t.Errorf("no rule to run %q", line)
			continue
		}
		cmd := exec.CommandContext(t.Context(), "sh", "-c", as)
		cmd.Dir = in
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), want) {
			t.Errorf("%s (from %q): %v, expected %q in\n%s", as, line, err, want, out)
		}
		ran[strings.Join(words[:min(2, len(words))], " ")] = true
	}
	for _, c := range []string{"go run", "go build", "make test", "./ebb run", "./ebb check", "./ebb status"} {
		if !ran[c] {
			t.Errorf("the README does not show %s", c)
		}
	}
}

// usages are the help texts of ebb's verbs.
func usages(t *testing.T) map[string]string {
	t.Helper()
	code, out, _ := runEbb(t, "--help")
	if code != 0 {
		t.Fatalf("ebb --help: exit code %d", code)
	}
	usage := make(map[string]string)
	for _, m := range regexp.MustCompile(`(?m)^  ([a-z]+) `).FindAllStringSubmatch(out, -1) {
		if code, help, _ := runEbb(t, m[1], "--help"); code == 0 {
			usage[m[1]] = help
		}
	}
	return usage
}

// spans gives what a text sets in backticks outside of fenced blocks, on one line each. It may go over the end of a line,
// also in a comment of TOML.
func spans(text string) (list []string) {
	text = regexp.MustCompile("(?ms)^```.*?^```").ReplaceAllString(text, "")
	for _, m := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(text, -1) {
		list = append(list, strings.ReplaceAll(m[1], "\n#", " "))
	}
	return list
}

// unknownIn names what a command line has that ebb has not; "" where there is nothing to complain of. What is neither a
// command of ebb nor begins with a flag is not looked at.
func unknownIn(line string, usage map[string]string) (unknown string, command bool) {
	words := strings.Fields(strings.NewReplacer("go run ./cmd/ebb", "ebb", "./ebb", "ebb").Replace(line))
	flags := ""
	switch {
	case len(words) > 1 && words[0] == "ebb":
		if flags = usage[words[1]]; flags == "" {
			return words[1], true
		}
		command = true
	case len(words) > 0 && strings.HasPrefix(words[0], "--"):
		for _, u := range usage {
			flags += u
		}
	default:
		return "", false
	}
	for _, w := range words {
		name := regexp.MustCompile(`^(--[a-z][a-z-]*|-[a-z])\b`).FindString(w)
		if name != "" && !regexp.MustCompile(`(^|[\s,])`+name+`([\s,]|$)`).MatchString(flags) {
			return name, command
		}
	}
	return "", command
}

// What the texts name exists: verbs, and flags of the verb, or of any verb where none is named.
func TestDocumentedCommandsExist(t *testing.T) {
	usage := usages(t)
	found := 0
	for _, page := range append(pages(t), "../config.example.toml") {
		file := strings.TrimPrefix(page, "../")
		text := repoFile(t, file)
		for _, line := range slices.Concat(commands(text, "sh"), commands(text, ""), spans(text)) {
			unknown, command := unknownIn(line, usage)
			if unknown != "" {
				t.Errorf("%s: %q: ebb knows no %s", file, line, unknown)
			}
			if command {
				found++
			}
		}
	}
	if found < 100 {
		t.Errorf("only %d commands found", found)
	}
	for _, wrong := range []string{"ebb walk", "./ebb run --loud", "go run ./cmd/ebb demo --fr 15s", "--lisen", "ebb check -x FILE"} {
		if unknown, _ := unknownIn(wrong, usage); unknown == "" {
			t.Errorf("%q passes", wrong)
		}
	}
}
